"""Links around the list's filters: chips that remove one, and recent days to choose."""

from datetime import timedelta

from django.utils import timezone

from ..problems import kinds
from ..problems.messages import shown_message
from ..selection.filters import ConversationFilter
from ..selection.forms import ACTIVE, DATES, moment_words

# Links to recent activity: (label, first day, last day), both as days before today.
ACTIVITY = (("Today", 0, 0), ("Yesterday", 1, 1), ("Last 7 days", 6, 0), ("Last 30 days", 29, 0))


def chips(filters: ConversationFilter) -> list[dict]:
    """The active filters, each with the query string of the list without it."""
    filters.is_valid()
    found = []
    for name, form_field in filters.form.fields.items():
        # If one filter is invalid, the valid ones can still be removed.
        value = filters.form.cleaned_data.get(name)
        if value in (None, "") or name == "tz":
            continue
        if name == "scope" and not filters.data.get("search"):
            continue
        text = filters.data.get(name)
        if name in ("external_id_is", "external_id_of"):
            text = filters.person or text
        elif name == "agent":
            text = filters.agent_labels.get(value.pk, str(value))
        elif name == "problem":
            text = kinds.label(value)
        elif name in ("scope", "outcome", "step"):
            text = dict(form_field.choices)[value]
        elif name in DATES:
            text = moment_words(text, value[0])
        elif name == "error" and filters.message not in (None, text):
            # Text that the user typed is not masked: its stand-in would reveal whose it is.
            text = shown_message(filters.message)
        found.append({"label": form_field.label, "text": text, "without": filters.query(name)})
    return found


def activity_links(filters: ConversationFilter) -> list[dict]:
    """Links to recent days, in the other dates' time zone or, without dates, the viewer's."""
    form = filters.form
    has_others = any(filters.data.get(name) for name in DATES if name not in ACTIVE)
    zone = form.zone if has_others else form.viewer_zone
    today = timezone.localdate(timezone=zone)
    chosen = [filters.data.get(name, "") for name in ACTIVE]
    links = []
    for label, first, last in ACTIVITY:
        days = [str(today - timedelta(days=back)) for back in (first, last)]
        query = filters.query(*ACTIVE, "tz", **dict(zip(ACTIVE, days, strict=True)), tz=str(zone))
        links.append(
            {
                "label": label,
                "chosen": days == chosen and str(zone) == filters.data.get("tz"),
                "query": query,
            }
        )
    return links
