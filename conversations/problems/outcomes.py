"""
What the customer got: an answer, no answer, an answer after more tries, or nothing yet.

A conversation's history is a string with one letter per run, in the order in which they began, and
one more letter if the agent wrote something afterwards outside a run. Filters, rows, pages and
files derive the outcome from this string, with the same patterns in SQL and Python.
"""

import re
from dataclasses import dataclass

from django.contrib.postgres.aggregates import StringAgg
from django.db.models import Case, CharField, Exists, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Concat
from django.db.models.lookups import Regex

from ..agentdb.sql import any_of, rows
from . import kinds
from .kinds import Kind

ANSWERED, UNANSWERED, RUNNING, SAID_LATER = "a", "u", "r", "s"
# The trailing runs without an answer, after the last run that had one.
LAST_TRIES = re.compile(f"[{UNANSWERED}{RUNNING}]*{UNANSWERED}(?=[^{UNANSWERED}]*$)")


@dataclass(frozen=True)
class Outcome:
    """
    One of the things that a customer can get. `name` is its key in URLs and files, `meaning` a
    sentence for the page Help.
    """

    name: str
    label: str
    meaning: str
    # Matches the histories with this outcome, in Python and PostgreSQL; no history matches two.
    pattern: str

    def condition(self) -> Q:
        """Matches sessions."""
        return Q(Regex(history("pk"), self.pattern))

    def condition_where_known(self) -> Q:
        """Matches sessions that have runs of these kinds(), slightly faster."""
        return Q(Regex(whole_history("pk"), self.pattern))

    def kinds(self) -> list[Kind]:
        """The kinds of run that such a conversation has; empty if it may have none of them."""
        if self is WAITING:
            return [kinds.RUNNING]
        return [] if self is ALL_ANSWERED else kinds.problems("Run")


ALL_ANSWERED = Outcome("answered", "Answered", "Every run gave an answer.", "^a+s?$")
NONE = Outcome("none", "No answer", "The last run ended or stopped without one.", "^[^r]*u$")
LATER = Outcome(
    "later",
    "Answered later",
    "A run gave no answer, and a later one of the same conversation did.",
    "^[^r]*u[^r]*[as]$",
)
WAITING = Outcome("waiting", "Waiting for an answer", "A run has not ended yet.", "r")
OUTCOMES = (ALL_ANSWERED, NONE, LATER, WAITING)


def named(name: str) -> Outcome:
    return next(outcome for outcome in OUTCOMES if outcome.name == name)


def known() -> list[Outcome]:
    """Before revision 0006, we cannot tell whether a run is still running."""
    return [each for each in OUTCOMES if each is not WAITING or kinds.RUNNING.is_known()]


def choices() -> list[tuple[str, str]]:
    return [(outcome.name, outcome.label) for outcome in known()]


def outcome_of(history: str) -> Outcome | None:
    """None for a conversation without runs."""
    return next((each for each in OUTCOMES if re.search(each.pattern, history)), None)


def last_tries(history: str) -> range:
    """The positions of the runs that LAST_TRIES matches."""
    found = LAST_TRIES.search(history)
    return range(*found.span()) if found else range(0)


def sentence(history: str) -> str:
    """What the customer got, for a conversation with problems."""
    outcome, tries = outcome_of(history), last_tries(history)
    if outcome is ALL_ANSWERED:
        return "The customer got an answer all the same."
    if outcome is WAITING:
        return "The customer is waiting for an answer: the agent is still working on it."
    if outcome is NONE:
        return f"The customer got no answer{f' in {len(tries)} tries' if tries[1:] else ''}."
    if outcome is LATER:
        more = len(tries) - 1 + (history[tries.stop] == ANSWERED)
        if not more:
            return "The customer got no answer at first. The agent wrote later, outside a run."
        return (
            f"The customer got an answer later, after {more} more {'tries' if more > 1 else 'try'}."
        )
    return "There were no runs, so we cannot tell what the customer got."


# In SQL


def letter() -> Case:
    """The letter of a run."""
    said, ended, alive = kinds.run_signs()
    answered = [
        When(output_data__has_value=True, then=Value(ANSWERED)),
        When(said, then=Value(ANSWERED)),
    ]
    running = [When(~ended & alive, then=Value(RUNNING))] if kinds.RUNNING.is_known() else []
    return Case(*answered, *running, default=Value(UNANSWERED), output_field=CharField())


def history(session: str) -> Case:
    """The history of the session in this column; for a healthy session, just "a"."""
    runs = rows("Run").filter(session_id=OuterRef(session))
    # Our indexes cover the runs without a result: if there are none, no run has to be read.
    by_index = {kind.index_name: kind.by_predicate() for kind in kinds.known("Run")}
    without_result = Q()
    for predicate in by_index.values():
        without_result |= any_of(runs.filter(predicate))
    return Case(
        When(without_result, then=whole_history(session)),
        When(any_of(runs), then=Value(ANSWERED)),
        default=Value(""),
        output_field=CharField(),
    )


def whole_history(session: str) -> Concat:
    """The same, by reading each run."""
    runs = rows("Run").filter(session_id=OuterRef(session)).order_by().values("session_id")
    letters = runs.annotate(letters=StringAgg(letter(), "", order_by=("created_at", "id")))
    later_runs = rows("Run").filter(
        session_id=OuterRef("session_id"), created_at__gte=OuterRef("created_at")
    )
    said = rows("ChatMessage").filter(
        ~Exists(later_runs), session_id=OuterRef(session), run_id=None, role="assistant"
    )
    end = Case(When(any_of(said), then=Value(SAID_LATER)), default=Value(""))
    return Concat(Subquery(letters.values("letters")), end, output_field=CharField())


def name_sql(history: str) -> str:
    """SQL for the outcome's name, from SQL for the history; NULL for conversations without runs."""
    whens = (f"WHEN {history} ~ '{each.pattern}' THEN '{each.name}'" for each in OUTCOMES)
    return f"CASE {' '.join(whens)} END"
