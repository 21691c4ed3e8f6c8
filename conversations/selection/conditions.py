"""
Conditions on conversations that other tables decide: words, problems, errors.

Such a condition can be probed one conversation after the other, or all rows that meet it can be
collected first. Which is quicker depends on how common they are, and where; see `find`.
"""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db import connections
from django.db.models import OuterRef, Q, QuerySet
from django.db.models.expressions import RawSQL

from privacy import hits, masking

from ..access import agent_limits
from ..agentdb import compiled, normal_form, revision
from ..agentdb.search_terms import Term, terms, whole
from ..agentdb.sql import any_of
from ..indexes import catalogue, state
from ..models import ChatMessage, Run, Session, Task
from ..problems import kinds, outcomes
from ..problems.kinds import Kind
from ..problems.messages import ANY_WHO, NO_REASON
from ..problems.outcomes import Outcome

# Conversations that are probed one by one before collecting is tried: a microsecond each if an
# index holds only such rows, ten or more if messages are read.
QUICK_PROBES = 5_000
SLOW_PROBES = 200

# pg_trgm needs three letters of a word, or two at its beginning or end, to look anything up.
TRIGRAM = re.compile(r"[^\W_]{3}|[\W_][^\W_]{2}|[^\W_]{2}[\W_]")
# More than any table has.
MOST_ROWS = 10**12

# With more tools than this, every task is searched.
MOST_TOOLS = 1_000
NEXT_TOOL = "SELECT min(tool_uri) FROM tasks WHERE tool_uri > %s"


@dataclass(frozen=True)
class Condition:
    """
    A conversation meets it if any of the `sources()` has a row with its session_id.

    `indexed`: indexes of ours find all these rows. `probes`: how many conversations are probed
    one by one before the rows are collected. `named`: ids of conversations that meet it anyway.
    """

    sources: Callable[[], tuple[QuerySet, ...]]
    indexed: bool
    probes: int = SLOW_PROBES
    named: tuple[uuid.UUID, ...] = ()

    def as_subquery(self) -> Q:
        """Lets PostgreSQL's planner choose between the two forms below."""
        return Q(pk__in=self.session_ids())

    def as_collected(self) -> Q:
        """Collects all rows first: with a LIMIT, the planner cannot probe each conversation."""
        return Q(pk__in=self.session_ids()[:MOST_ROWS])

    def as_probe(self) -> Q:
        """Probes one conversation after the other."""
        found = is_one_of(self.named) if self.named else Q()
        for source in self.sources():
            found |= any_of(source.filter(session_id=OuterRef("pk")))
        return found

    def session_ids(self) -> QuerySet:
        first, *others = (source.order_by().values("session_id") for source in self.sources())
        # With OR instead, PostgreSQL would go through all conversations.
        if self.named:
            others.append(Session.objects.filter(is_one_of(self.named)).order_by().values("pk"))
        return first.union(*others, all=True) if others else first


def is_one_of(ids: tuple[uuid.UUID, ...]) -> Q:
    # As one parameter: a thousand take Django milliseconds each time.
    return Q(pk__in=RawSQL("SELECT unnest(%s::uuid[])", [list(ids)]))


@dataclass(frozen=True)
class Problem(Condition):
    """Holds no search words, so its SQL is built once and reused."""

    kinds: tuple[Kind, ...] = ()

    def as_probe(self) -> Q:
        return Q(compiled.condition(probed_sessions, self.kinds))


def rows_of(found: tuple[Kind, ...]) -> tuple[QuerySet, ...]:
    return tuple(kind.rows() for kind in found)


def probed_sessions(found: tuple[Kind, ...]) -> QuerySet:
    return Session.objects.filter(Condition(lambda: rows_of(found), indexed=False).as_probe())


@dataclass(frozen=True)
class Period:
    """From `since` on, and before `until`; without either, it has no such end."""

    since: datetime | None = None
    until: datetime | None = None

    def within(self) -> dict[str, datetime]:
        bounds = {"created_at__gte": self.since, "created_at__lt": self.until}
        return {name: moment for name, moment in bounds.items() if moment}


ANY_TIME = Period()


def has_problem(name: str, period: Period = ANY_TIME) -> Condition:
    """A problem of this kind or, for "any", of any kind, that happened in the period."""
    found = tuple(kinds.problems()) if name == "any" else (kinds.named(name),)
    indexed = all(state.is_ready(kind.index_name) for kind in found)
    probes = QUICK_PROBES if indexed else SLOW_PROBES
    if within := period.within():
        rows = tuple(each.filter(**within) for each in rows_of(found))
        return Condition(lambda: rows, indexed, probes)
    return Problem(lambda: rows_of(found), indexed, probes, kinds=found)


@dataclass(frozen=True)
class GotOutcome(Condition):
    """Rows of a few kinds tell which conversations may have the outcome, their runs which do."""

    outcome: Outcome = outcomes.ALL_ANSWERED

    def as_subquery(self) -> Q:
        if not self.sources():
            return self.as_probe()
        return super().as_subquery() & self.outcome.condition_where_known()

    def as_collected(self) -> Q:
        if not self.sources():
            return self.as_probe()
        return super().as_collected() & self.outcome.condition_where_known()

    def as_probe(self) -> Q:
        return Q(compiled.condition(sessions_that_got, self.outcome))


def sessions_that_got(outcome: Outcome) -> QuerySet:
    return Session.objects.filter(outcome.condition())


def got_outcome(name: str) -> GotOutcome:
    """What the customer got, by its name among the outcomes."""
    outcome = outcomes.named(name)
    found = outcome.kinds()
    # Most conversations were answered: there is nothing to collect.
    indexed = bool(found) and all(state.is_ready(kind.index_name) for kind in kinds.known("Run"))
    probes = QUICK_PROBES if indexed else SLOW_PROBES
    return GotOutcome(lambda: rows_of(tuple(found)), indexed, probes, outcome=outcome)


def is_active(since: datetime | None, until: datetime | None) -> Condition:
    """
    A message was written, or a run began, at `since` or later and before `until`.

    The session's own times cannot narrow it: `updated_at` is that of its last run's start, before
    that run's last message, and in imported conversations `created_at` may follow the messages.
    """
    within = Period(since, until).within()
    indexed = all(state.is_ready(index.name) for index in catalogue.OF_ACTIVITY)
    return Condition(
        lambda: (ChatMessage.objects.filter(**within), Run.objects.filter(**within)),
        indexed,
        QUICK_PROBES if indexed else SLOW_PROBES,
    )


def message_contains(text: str, everywhere: bool, named: tuple[uuid.UUID, ...] = ()) -> Condition:
    """
    All words of the text are in a message or, `everywhere`, in an error or a tool's name; or the
    conversation is one of those `named`.
    """
    sources = [with_hits(ChatMessage.objects.all(), "content", text)]
    indexed = state.is_ready(catalogue.TRIGRAMS.name) and any(map(TRIGRAM.search, terms(text)))
    if everywhere:
        for kind in kinds.with_words():
            failing = kind.rows().annotate(words=kind.words.as_said())
            sources.append(with_hits(failing, "words", text))
            indexed = indexed and state.is_ready(kind.words_index_name)
        calls, by_name = tool_calls(text)
        sources.append(calls)
        indexed = indexed and by_name
    return Condition(lambda: tuple(sources), indexed, named=named)


def with_hits(rows: QuerySet, field: str, text: str) -> QuerySet:
    """
    Rows in which all words of the text are found. For somebody who does not see personal data, a
    hit in what is masked does not count.
    """
    words = terms(text)
    if not words:
        return rows.none()
    found = rows.filter(**{f"{field}__holds": words})
    if masking.is_active():
        found = found.filter(**{f"{field}__holds_openly": countings(text)})
    return found


def countings(text: str) -> list[list[str]]:
    """
    Lists of regular expressions; hits count if all of one list match: those of the words, or that
    of all that was typed, since a phone number that somebody knows is several words.
    """
    return [[hits.pattern(term) for term in found] for found in (terms(text), [whole(text)])]


def holds(name: str, text: str) -> bool:
    """The same as with_hits() for a text that was read."""
    found = terms(text)
    normal = normal_form.normalised(masking.raw(name))
    if not found or not all(term in normal for term in found):
        return False
    return not masking.is_active() or any(
        all(has_counting_hit(masking.raw(name), term) for term in each)
        for each in (found, [whole(text)])
    )


def has_counting_hit(name: str, term: Term) -> bool:
    return any(hits.counts(name, *span) for span in normal_form.spans(name, [term]))


def tool_uris() -> list[str] | None:
    """
    The tools that tasks have called; None if there are more than MOST_TOOLS. Each takes one step in
    the runtime's index; on a sharded database a recursive query would have to name a session.
    """
    found = [""]
    # No user sees these. Without an agent limit each tool takes one step; with one, many.
    with agent_limits.lifted(), connections[Task.objects.db].cursor() as cursor:
        while len(found) <= MOST_TOOLS:
            cursor.execute(NEXT_TOOL, [found[-1]])
            [name] = cursor.fetchone()
            if name is None:
                return found[1:]
            found.append(masking.raw(name))
    return None


def tool_calls(text: str) -> tuple[QuerySet, bool]:
    """(calls of tools whose name holds the text, whether the runtime's index finds them)"""
    if not revision.has_task_order():
        return with_hits(Task.objects.filter(node_type="tool_call"), "name", text), False
    uris = tool_uris()
    if uris is None:
        return with_hits(Task.objects.all(), "tool_uri", text), False
    return Task.objects.filter(tool_uri__in=[uri for uri in uris if holds(uri, text)]), True


def normalised_message(text: str) -> str | None:
    """
    The message itself, or that of the problem whose id is given; None if there is none. A URL
    holds an id if the message has personal data: a message never looks like an id. With ANY_WHO in
    front of the id, whatever failed with these words.
    """
    anything = text.startswith(f"{ANY_WHO}: ")
    try:
        row_id = uuid.UUID(text.removeprefix(f"{ANY_WHO}: "))
    except ValueError:
        return text
    for kind in kinds.with_words():
        same = kind.rows().filter(pk=row_id)
        parts = {"who": kind.words.as_name(), "words": kind.words.as_message()}
        if found := same.annotate(**parts).values_list("who", "words").first():
            who, words = map(masking.raw, found)
            return f"{ANY_WHO if anything else who}: {words}"
    return None


def problem_is(message: str, problem: str, period: Period = ANY_TIME) -> Condition:
    """
    Problems of the period with this message, of kind `problem` or else of all with words. With
    ANY_WHO in front of the words, whatever failed with them; NO_REASON finds runs without words.
    """
    if message == NO_REASON:
        return no_reason(problem, period)
    who, colon, words = message.partition(": ")
    told = kinds.with_words()
    found = [kind for kind in told if kind.name == problem] or told

    def rows(kind: Kind) -> QuerySet:
        same = kind.rows().filter(**period.within())
        same = same.annotate(words=kind.words.as_message()).filter(words=words)
        if who != ANY_WHO:
            same = same.annotate(who=kind.words.as_name()).filter(who=who)
        return same if colon else same.none()

    indexed = all(state.is_ready(kind.message_index_name) for kind in found)
    return Condition(lambda: tuple(map(rows, found)), indexed)


def no_reason(problem: str, period: Period) -> Condition:
    """Runs of this kind, or else of any that is a problem, for which no reason was recorded."""
    runs = kinds.without_words()
    found = [kind for kind in runs if kind.name == problem] or runs
    rows = tuple(kind.rows_without_reason().filter(**period.within()) for kind in found)
    needed = (*found, *kinds.with_words())
    return Condition(lambda: rows, all(state.is_ready(kind.index_name) for kind in needed))
