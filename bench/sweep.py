"""Random combinations of the list's filters, far back in the history and near its end."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median
from urllib.parse import urlencode

import psycopg

from conversations.problems import kinds, outcomes
from conversations.problems.messages import NO_REASON
from conversations.selection.forms import ACTIVE, CREATED, PERIOD, STEP_PERIOD

from .history import PREFIX, SMALL_AGENT
from .list_cases import LIST, NOTHING, SEARCHES
from .measuring import Case, measure
from .others import p95
from .site import Site
from .tables import failures, goal_row, measured, table

SEED = 1
NUMBER = 200
MOST_AT_ONCE = 4
ROUNDS = 3
DAYS = 730
# How many of the slowest combinations the table lists.
SLOWEST = 10
ERRORS = ("restart_device: device SN-… is offline", NO_REASON)

Filters = dict[str, str]


@dataclass
class Known:
    """What the combinations need to know about a history."""

    newest: date
    agents: list[str]
    person: str
    conversation: str

    @classmethod
    def about(cls, connection: psycopg.Connection):
        def one(statement: str, *values: str):
            return connection.execute(statement, values).fetchone()

        [newest] = one("SELECT max(updated_at) FROM sessions")
        agents = [one("SELECT id FROM agents WHERE name = %s", each) for each in
                  (SMALL_AGENT, "Agent 7")]  # fmt: skip
        person, conversation = one("""
            SELECT external_id, id FROM sessions WHERE external_id LIKE 'user-%%'
            ORDER BY updated_at LIMIT 1
        """)
        return cls(newest.date(), [str(pk) for [pk] in agents], person, str(conversation))


def agent(chance: random.Random, known: Known) -> Filters:
    return {"agent": chance.choice(known.agents)}


def external_id(chance: random.Random, known: Known) -> Filters:
    return chance.choice([
        {"external_id": PREFIX},
        {"external_id": "user-1"},
        {"external_id": known.person},
        {"external_id_is": known.person},
        {"external_id_of": known.conversation},
    ])  # fmt: skip


def search(chance: random.Random, known: Known) -> Filters:
    words = {"search": chance.choice(list(SEARCHES.values()))}
    return words | chance.choice([{}, {"scope": "all"}])


def problem(chance: random.Random, known: Known) -> Filters:
    return {"problem": chance.choice([name for name, _ in kinds.choices()])}


def error(chance: random.Random, known: Known) -> Filters:
    return {"error": chance.choice(ERRORS)}


def outcome(chance: random.Random, known: Known) -> Filters:
    return {"outcome": chance.choice([name for name, _ in outcomes.choices()])}


def step(chance: random.Random, known: Known) -> Filters:
    name = chance.choice([
        {"node": "route"},
        {"node": "missing"},
        {"tool": "restart_device"},
        {"model": "openai/gpt-5.4-mini"},
    ])  # fmt: skip
    more = chance.choice([{}, {"step": "failed"}, dates(*STEP_PERIOD)(chance, known)])
    return name | more


def without_evaluations(chance: random.Random, known: Known) -> Filters:
    return {"evals": "hidden"}


def dates(first: str, last: str) -> Callable[[random.Random, Known], Filters]:
    """A range of a day up to half a year, or only its beginning or its end, anywhere."""

    def pick(chance: random.Random, known: Known) -> Filters:
        begins = known.newest - timedelta(chance.randrange(DAYS))
        ends = begins + timedelta(chance.choice([0, 6, 29, 180]))
        both = {first: f"{begins}", last: f"{ends}"}
        return chance.choice([both, both, {first: both[first]}, {last: both[last]}])

    return pick


FILTERS = (
    agent,
    external_id,
    search,
    problem,
    error,
    outcome,
    step,
    without_evaluations,
    dates(*CREATED),
    dates(*ACTIVE),
    dates(*PERIOD),
)


def combinations(known: Known) -> list[Filters]:
    """Different combinations of one filter or more, always the same for the same history."""
    chance = random.Random(SEED)  # noqa: S311
    found: list[Filters] = []
    while len(found) < NUMBER:
        filters: Filters = {}
        for pick in chance.sample(FILTERS, chance.randint(1, MOST_AT_ONCE)):
            filters |= pick(chance, known)
        if filters not in found:
            found.append(filters)
    return found


def sweep_tables(site: Site, say: Callable[[str], None]) -> tuple[str, str, list[Case]]:
    """(a table of the goals, one of the slowest combinations, all cases)"""
    cases = [
        Case(site, "sweep", query, f"{LIST}?{query}", NOTHING)
        for query in map(urlencode, combinations(Known.about(site.database)))
    ]
    measure(cases, ROUNDS, say)
    limited = [case for case in measured(cases) if case.reached]
    others = [case for case in measured(cases) if not case.reached]
    times = [case.page_ms for case in others]
    goals = [
        goal_row("median", "", f"{median(times):.0f} ms", True),
        goal_row("95th percentile", "at most 60 ms", f"{p95(times):.0f} ms", p95(times) <= 60),
        goal_row("slowest", "at most 300 ms", f"{max(times):.0f} ms", max(times) <= 300),
        goal_row("over 100 ms", "", f"{sum(each > 100 for each in times)} of {len(times)}", True),
    ]
    slowest = sorted(others, key=lambda case: -case.page_ms)[:SLOWEST]
    rows = [row(case) for case in (*slowest, *limited)]
    listed = table(["filters", "rows", "page, ms"], rows, 1) + failures(cases)
    return table(["figure", "goal", "reached", "met"], goals, 4), listed, cases


def row(case: Case) -> list[str]:
    limit = f", to {case.reached}" if case.reached else ""
    return [f"`{case.kind}`", f"{case.conversations}{limit}", f"{case.page_ms:,.0f}"]
