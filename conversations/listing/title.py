"""The list's title in the browser, such as "3 failed · Conversations"."""

from django.utils.text import Truncator

from ..problems import kinds
from ..problems.messages import shown_message
from ..selection.forms import STEPS

LONGEST = 60


def title(filters, total: dict) -> str:
    return " · ".join([*(cut(part) for part in parts(filters, total)), "Conversations"])


def cut(text: str) -> str:
    return Truncator(" ".join(text.split())).chars(LONGEST)


def parts(filters, total: dict):
    """
    The most telling filters, each in a few words. `total` is the one that the list shows. Text that
    the user typed is not masked, since its stand-in would reveal whose it is.
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
    for name in STEPS:
        if called := given.get(name):
            yield called
    if agent := given.get("agent"):
        yield filters.agent_labels.get(agent.pk, str(agent))
