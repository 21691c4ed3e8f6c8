"""
Conditions on conversations that depend on other tables: problems, errors, steps, and when something
happened. Those on words are in `words`.

A condition can be checked for one conversation at a time (a probe), or all matching rows can be
collected first. Which is faster depends on how common they are, and where; see `find`.
"""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import BooleanField, DateTimeField, OuterRef, Q, QuerySet
from django.db.models.expressions import RawSQL

from privacy import masking

from ..agentdb import compiled
from ..agentdb.sql import Template, any_of
from ..agentdb.step_names import IS_TOOL_CALL, MODEL_NAME, NAME_LENGTH, TASK_NAME
from ..indexes import catalogue, state
from ..models import ChatMessage, ModelCall, Run, Session, Task
from ..problems import kinds, outcomes
from ..problems.kinds import Kind
from ..problems.messages import ANY_WHO, NO_REASON
from ..problems.outcomes import Outcome
from . import estimates

# How many conversations are probed before collecting is tried. A probe takes a microsecond if an
# index holds only matching rows, and ten or more if messages have to be read.
QUICK_PROBES = 5_000
SLOW_PROBES = 200

# More rows than any table has.
MOST_ROWS = 10**12

UNINDEXED_TIME = "{created_at} + interval '0'"


@dataclass(frozen=True)
class Condition:
    """
    A conversation matches if any of the `sources()` has a row with its session_id.

    `indexed`: our indexes find all these rows. `probes`: how many conversations are probed before
    the rows are collected. `named`: ids of conversations that match in any case. `covered_by`: the
    names of indexes that have all these rows and few others. `until`: all these rows are from
    before this time. `candidates`: all of these rows and more, faster to find.
    """

    sources: Callable[[], tuple[QuerySet, ...]]
    indexed: bool
    probes: int = SLOW_PROBES
    named: tuple[uuid.UUID, ...] = ()
    covered_by: tuple[str, ...] = ()
    until: datetime | None = None
    candidates: Callable[[], tuple[QuerySet, ...]] | None = None

    @property
    def is_quick(self) -> bool:
        """Whether a probe reads no more than an index has."""
        return self.probes == QUICK_PROBES

    def as_subquery(self) -> Q:
        """Leaves the choice between the two forms below to PostgreSQL's planner."""
        return Q(pk__in=self.session_ids(self.sources()))

    def as_collected(self) -> Q:
        """Collects all rows first: the LIMIT keeps the planner from probing each conversation."""
        return Q(pk__in=self.session_ids(self.sources())[:MOST_ROWS])

    def candidate_ids(self) -> QuerySet:
        """The sessions of the candidates: as_probe() must tell which of them match."""
        return self.session_ids((self.candidates or self.sources)())

    def as_candidate(self, among: QuerySet | None = None) -> Q:
        """
        Collects the candidates, or only those among these sessions if hardly any has one. Those
        that match must still be told apart, by as_probe().
        """
        rows = (self.candidates or self.sources)()
        if among is not None:
            within = {"session_id__in": among.order_by().values("pk")}
            rows = tuple(each.filter(**within) for each in rows)
        return Q(pk__in=self.session_ids(rows))

    def as_probe(self) -> Q:
        """Probes one conversation after another."""
        found = is_one_of(self.named) if self.named else Q()
        for source in self.sources():
            found |= any_of(source.filter(session_id=OuterRef("pk")))
        return found

    def expected_rows(self) -> float:
        planned = sum(estimates.expected_rows(source.order_by()) for source in self.sources())
        # The planner cannot tell how many tool calls failed, and expects a hundred times too many.
        indexed = estimates.entries(self.covered_by) if self.covered_by else None
        return planned if indexed is None else min(planned, indexed)

    def session_ids(self, sources: tuple[QuerySet, ...]) -> QuerySet:
        first, *others = (source.order_by().values("session_id") for source in sources)
        # A UNION, because with OR PostgreSQL would go through all conversations.
        if self.named:
            others.append(Session.objects.filter(is_one_of(self.named)).order_by().values("pk"))
        return first.union(*others, all=True) if others else first


def are_candidates_of(conditions: Iterable[Condition]) -> Q:
    """
    Candidates of all these conditions. INTERSECT reads those of each condition once, where a join
    may read them again and again if the planner expects fewer.
    """
    first, *others = (each.candidate_ids() for each in conditions)
    ids = first.intersection(*others) if others else first
    return Q(pk__in=ids[:MOST_ROWS])


def is_one_of(ids: Iterable[uuid.UUID]) -> Q:
    # A single parameter: a thousand parameters would cost Django milliseconds each time.
    return Q(pk__in=RawSQL("SELECT unnest(%s::uuid[])", [list(ids)]))


@dataclass(frozen=True)
class Problem(Condition):
    """Contains no search words, so its SQL is built once and reused."""

    kinds: tuple[Kind, ...] = ()

    def as_probe(self) -> Q:
        return Q(compiled.condition(probed_sessions, self.kinds))


def rows_of(found: tuple[Kind, ...]) -> tuple[QuerySet, ...]:
    return tuple(kind.rows() for kind in found)


def probed_sessions(found: tuple[Kind, ...]) -> QuerySet:
    return Session.objects.filter(Condition(lambda: rows_of(found), indexed=False).as_probe())


@dataclass(frozen=True)
class Period:
    """From `since` (inclusive) to `until` (exclusive); None means no limit on that side."""

    since: datetime | None = None
    until: datetime | None = None

    def within(self, column: str = "created_at") -> dict[str, datetime]:
        bounds = {f"{column}__gte": self.since, f"{column}__lt": self.until}
        return {name: moment for name, moment in bounds.items() if moment}


ANY_TIME = Period()


def covered_rows(found: Iterable[Kind], period: Period = ANY_TIME) -> tuple[QuerySet, ...]:
    """All rows of the period that our indexes on these kinds have."""
    by_index = {kind.index_name: kind for kind in found}
    return tuple(kind.covered_rows().filter(**period.within()) for kind in by_index.values())


def has_problem(name: str, period: Period = ANY_TIME) -> Condition:
    """A problem of this kind or, with "any", of any kind, that happened in the period."""
    found = tuple(kinds.problems()) if name == "any" else (kinds.named(name),)
    # A run that failed may have answered all the same, so the others are told apart faster.
    found = tuple(sorted(found, key=lambda kind: kind.model == "Run"))
    names = tuple({kind.index_name for kind in found})
    indexed = all(map(state.is_ready, names))
    probes = QUICK_PROBES if indexed else SLOW_PROBES
    if within := period.within():
        rows = tuple(each.filter(**within) for each in rows_of(found))
        return Condition(
            lambda: rows,
            indexed,
            probes,
            covered_by=names,
            # How many problems the period has is hardly known, so they are collected.
            until=None if period.since else period.until,
            candidates=lambda: covered_rows(found, period),
        )
    return Problem(
        lambda: rows_of(found),
        indexed,
        probes,
        covered_by=names,
        candidates=lambda: covered_rows(found),
        kinds=found,
    )


@dataclass(frozen=True)
class GotOutcome(Condition):
    """Rows of a few kinds give conversations that may match; their runs tell which do."""

    outcome: Outcome = outcomes.ALL_ANSWERED

    def as_subquery(self) -> Q:
        if not self.sources():
            return self.as_probe()
        return super().as_subquery() & self.outcome.condition_where_known()

    def as_collected(self) -> Q:
        if not self.sources():
            return self.as_probe()
        return are_candidates_of([self]) & self.outcome.condition_where_known()

    def as_probe(self) -> Q:
        return Q(compiled.condition(sessions_that_got, self.outcome))


def sessions_that_got(outcome: Outcome) -> QuerySet:
    return Session.objects.filter(outcome.condition())


def got_outcome(name: str) -> GotOutcome:
    """The condition for an outcome, given its name."""
    outcome = outcomes.named(name)
    found = outcome.kinds()
    # Most conversations were answered, so collecting them makes no sense.
    indexed = bool(found) and all(state.is_ready(kind.index_name) for kind in kinds.known("Run"))
    probes = QUICK_PROBES if indexed else SLOW_PROBES
    return GotOutcome(
        lambda: rows_of(tuple(found)),
        indexed,
        probes,
        candidates=lambda: covered_rows(found),
        outcome=outcome,
    )


def is_active(period: Period) -> Condition:
    """
    A message was written or a run began in the period.

    The session's own times do not help: `updated_at` is when its last run began, which is before
    that run's last message, and in imported conversations `created_at` may be after the messages.
    """
    within = period.within()
    indexed = all(state.is_ready(index.name) for index in catalogue.OF_ACTIVITY)
    return Condition(
        lambda: (ChatMessage.objects.filter(**within), Run.objects.filter(**within)),
        indexed,
        QUICK_PROBES if indexed else SLOW_PROBES,
        until=period.until,
    )


@dataclass(frozen=True)
class HasStep(Condition):
    """`probed`: the same rows as the sources, in a form that no index on names or times helps."""

    probed: tuple[QuerySet, ...] = ()

    def as_probe(self) -> Q:
        found = Q()
        for rows in self.probed:
            found |= any_of(rows.filter(session_id=OuterRef("pk")))
        return found


def has_step(of: str, name: str, period: Period = ANY_TIME, *, failed: bool = False) -> HasStep:
    """
    A step of the period by this name: of a "node", "tool" or "model", as `agentdb.step_names` tells
    them apart. With `failed`, one that had a problem.
    """
    is_model = of == "model"
    model = ModelCall if is_model else Task
    column, comparison = "model" if is_model else "name", "exact"
    if len(name) == NAME_LENGTH:
        comparison = "startswith"
    cut = Template(MODEL_NAME if is_model else TASK_NAME)

    def by_column(rows: QuerySet) -> QuerySet:
        return rows.filter(**{f"{column}__{comparison}": name})

    def by_cut(rows: QuerySet) -> QuerySet:
        return rows.annotate(step_name=cut).filter(step_name=name)

    # One source for each kind of problem: with OR, a probe would read some index as a whole.
    sources = rows_of(tuple(kinds.problems(model.__name__))) if failed else (model.objects.all(),)
    if not is_model:
        called = Q(Template(IS_TOOL_CALL, BooleanField()))
        sources = tuple(rows.filter(called if of == "tool" else ~called) for rows in sources)
    # The runtime's index is on models as they are, ours on names that are cut.
    to_collect, to_probe = (by_column, by_cut) if is_model else (by_cut, by_column)
    collected = tuple(to_collect(rows).filter(**period.within()) for rows in sources)
    # For each conversation, the planner would read all entries of the name or of the period.
    moment = Template(UNINDEXED_TIME, DateTimeField())
    probed = tuple(
        to_probe(rows).annotate(moment=moment).filter(**period.within("moment")) for rows in sources
    )
    indexed = is_model or state.is_ready(catalogue.TASK_NAMES.name)
    return HasStep(
        lambda: collected,
        indexed,
        QUICK_PROBES if indexed else SLOW_PROBES,
        until=period.until,
        probed=probed,
    )


def normalised_message(text: str) -> str | None:
    """
    The message itself, or the message of the problem whose id is given; None if there is none. URLs
    contain an id if the message has personal data; a message never looks like an id. With ANY_WHO
    before the id, the message applies whatever failed.
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
    Problems of the period with this message, of the kind `problem` or else of all kinds that have
    error texts. With ANY_WHO in the message, whatever failed. NO_REASON finds runs without one.
    """
    if message == NO_REASON:
        return no_reason(problem, period)
    who, colon, words = message.partition(": ")
    all_kinds = kinds.with_words()
    found = [kind for kind in all_kinds if kind.name == problem] or all_kinds

    def rows(kind: Kind) -> QuerySet:
        same = kind.rows().filter(**period.within())
        same = same.annotate(words=kind.words.as_message()).filter(words=words)
        if who != ANY_WHO:
            same = same.annotate(who=kind.words.as_name()).filter(who=who)
        return same if colon else same.none()

    indexed = all(state.is_ready(kind.message_index_name) for kind in found)
    return Condition(lambda: tuple(map(rows, found)), indexed)


@dataclass(frozen=True)
class NoReason(Condition):
    """Nearly every run that failed has a reason, so its answer is only looked up if it has none."""

    def as_collected(self) -> Q:
        return are_candidates_of([self]) & self.as_probe()


def no_reason(problem: str, period: Period) -> NoReason:
    """Runs of this kind, or else of any problem kind, for which no reason was recorded."""
    runs = kinds.without_words()
    found = [kind for kind in runs if kind.name == problem] or runs
    rows = tuple(kind.rows_without_reason().filter(**period.within()) for kind in found)
    covered = tuple(
        kind.rows_without_reason(kind.covered_rows()).filter(**period.within()) for kind in found
    )
    needed = (*found, *kinds.with_words())
    return NoReason(
        lambda: rows,
        all(state.is_ready(kind.index_name) for kind in needed),
        candidates=lambda: covered,
    )
