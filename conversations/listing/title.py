"""What the browser calls the list: "3 failed · Conversations"."""

from django.utils.text import Truncator

from ..problems import kinds
from ..problems.messages import shown_message

LONGEST = 60


def title(filters, total: dict) -> str:
    return " · ".join([*(cut(part) for part in parts(filters, total)), "Conversations"])


def cut(text: str) -> str:
    return Truncator(" ".join(text.split())).chars(LONGEST)


def parts(filters, total: dict):
    """
    The filters that say most, each in a few words; `total` as the list shows it. What was typed
    stays as it was typed: a stand-in would tell whose it is.
    """
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
    if (error := given.get("error")) and filters.message:
        yield error if filters.message == error else shown_message(filters.message)
    if agent := given.get("agent"):
        yield filters.agent_labels.get(agent.pk, str(agent))
