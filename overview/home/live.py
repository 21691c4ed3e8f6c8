"""What home reads of the agent database at once, as the list and the page Errors do."""

from dataclasses import dataclass

from django.conf import settings
from django.http import QueryDict

from conversations.errors import groups, periods
from conversations.errors.views import group_row
from conversations.listing import counts, open_page
from conversations.listing.row_texts import add_texts
from conversations.models import Session
from conversations.problems import kinds
from conversations.selection.filters import ConversationFilter
from conversations.selection.find import SHARE_OF_TIMEOUT, find
from conversations.summaries import summaries

ROWS = 5
RISING_PERIOD = "today"


@dataclass(frozen=True)
class Newest:
    """The newest conversations under a filter; `query` is the list's that shows all of them."""

    query: str
    rows: list[Session]
    # Whether there are more, or older ones that could not be looked at in time.
    has_more: bool


def newest(problem: str) -> Newest:
    filters = ConversationFilter(QueryDict(f"problem={problem}"), queryset=Session.objects.all())
    seconds = settings.STATEMENT_TIMEOUT_SECONDS * SHARE_OF_TIMEOUT
    places, reached = find(filters.matching, None, ROWS + 1, seconds)
    rows = summaries([place.id for place in places[:ROWS]])
    add_texts(rows, filters)
    # Nothing on home is followed while it is open.
    open_page.note_runs(rows, {})
    return Newest(filters.query(), rows, bool(reached) or len(places) > ROWS)


def running() -> tuple[Newest, dict] | None:
    """(the newest, how many there are as the list counts them); None before revision 0006."""
    if not kinds.RUNNING.is_known():
        return None
    found = newest(kinds.RUNNING.name)
    if not found.has_more:
        return found, {"exact": len(found.rows)}
    filters = ConversationFilter(QueryDict(found.query), queryset=Session.objects.all())
    return found, counts.full_total(filters.matching)


@dataclass(frozen=True)
class Rising:
    shown: periods.Shown
    rows: list[dict]


def rising() -> Rising:
    shown = periods.named(RISING_PERIOD)
    seconds = settings.STATEMENT_TIMEOUT_SECONDS * SHARE_OF_TIMEOUT
    found = groups.errors(seconds, shown=shown, order="rising").groups
    risen = [group for group in found if group.is_rising]
    return Rising(shown, [group_row(group, None, shown) for group in risen[:ROWS]])
