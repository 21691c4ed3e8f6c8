"""What the browser calls the list: "3 failed · Conversations"."""

from django.utils.text import Truncator

from privacy import masking
from privacy.personal_data import mask

from ..problems import kinds
from ..problems.messages import shown_message

LONGEST = 60


def title(filters, total: dict) -> str:
    return " · ".join([*(cut(part) for part in parts(filters, total)), "Conversations"])


def cut(text: str) -> str:
    shown = mask(text) if masking.is_active() else text
    return Truncator(" ".join(shown.split())).chars(LONGEST)


def parts(filters, total: dict):
    """The filters that say most, each in a few words; `total` as the list shows it."""
    given = filters.form.cleaned_data if filters.is_valid() else {}
    if filters.person:
        yield filters.person
    elif beginning := given.get("external_id"):
        yield f"{beginning.strip()}…"
    if search := given.get("search"):
        yield f"“{search.strip()}”"
    if problem := given.get("problem"):
        number = total.get("exact")
        label = kinds.label(problem)
        status = label.removeprefix("Run ")
        if number is None:
            yield label
        else:
            yield f"{label}: {number:,}" if status == label else f"{number:,} {status}"
    if given.get("error") and filters.message:
        yield shown_message(filters.message)
    if agent := given.get("agent"):
        yield filters.agent_labels.get(agent.pk, str(agent))
