"""Small random histories, and plain Python that computes what the list should find in them."""

import random
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.db import connections
from django.utils import timezone
from psycopg.types.json import Jsonb

from conversations.indexes import catalogue, state
from conversations.selection.pagination import Cursor

FIRST_DAY = datetime(2026, 6, 1, tzinfo=UTC)
DAYS = 10
# The runtime sets a session's updated_at before the last messages are written.
MESSAGES_AFTER = timedelta(hours=2)
AGENTS = [uuid.UUID(int=number) for number in (1, 2, 3)]
NAMES = [None, "user-1", "user-10", "user-2", "eval:a", "eval:b", "User-1"]
WORDS = {"alpha": 0.8, "beta": 0.08, "gamma": 0.01}
PROBLEMS = {
    "failed": 0.08,
    "running": 0.04,
    "interrupted": 0.03,
    "model_error": 0.06,
    "tool_error": 0.06,
    "task_error": 0.03,
}
ERRORS = ["device SN-1 is off", "device SN-22 is off", "the gamma of beta", "lost"]
# What the first two of these become when they are normalised.
SAME_ERROR = "step: device SN-… is off"


@dataclass
class Made:
    """A conversation, with what is said in it and what went wrong."""

    id: uuid.UUID
    agent_id: uuid.UUID
    external_id: str | None
    created_at: datetime
    updated_at: datetime
    words: list[str]
    # {kind of problem: its message}
    problems: dict[str, str] = field(default_factory=dict)
    tool: str = ""

    @property
    def place(self) -> Cursor:
        return Cursor(self.updated_at, self.id)


def key(place: Cursor):
    return place.updated_at, place.id.int


def make_history(seed: int, size: int) -> list[Made]:
    """Write a random history to the agent database. Many conversations share their updated_at."""
    chance = random.Random(seed)
    made = [make_one(chance) for _ in range(size)]
    write(made)
    return made


def make_one(chance) -> Made:
    updated = FIRST_DAY + timedelta(hours=chance.randrange(DAYS * 24 // 4) * 4)
    lasted = timedelta(hours=chance.choice([0, 0, 0, 1, 4, 30, 100]))
    if chance.random() < 0.1:
        # As if two clocks differed.
        lasted = -lasted
    return Made(
        uuid.UUID(int=chance.getrandbits(128)),
        chance.choice(AGENTS),
        chance.choice(NAMES),
        updated - lasted,
        updated,
        [word for word, often in WORDS.items() if chance.random() < often],
        {k: chance.choice(ERRORS) for k, often in PROBLEMS.items() if chance.random() < often},
        chance.choice(["", "", "python://alpha", "python://beta"]),
    )


def write(made: list[Made]):
    now = timezone.now()
    rows = {"agents": [], "sessions": [], "runs": [], "chat_messages": [], "tasks": [],
            "model_call_stats": []}  # fmt: skip

    def add(table, **values):
        at = {"created_at": now - timedelta(days=1), "updated_at": now - timedelta(days=1)}
        rows[table].append({"id": uuid.uuid4(), **at, **values})

    for agent in AGENTS:
        add("agents", id=agent, name="Agent")
    for each in made:
        add("sessions", id=each.id, agent_id=each.agent_id, external_id=each.external_id,
            created_at=each.created_at, updated_at=each.updated_at)  # fmt: skip
        whose = {"session_id": each.id, "agent_id": each.agent_id}
        for word in each.words:
            add("chat_messages", **whose, role="user", content=f"It says {word.upper()} here",
                created_at=each.updated_at + MESSAGES_AFTER)  # fmt: skip
        run = uuid.uuid4()
        add("runs", id=run, session_id=each.id, output_data=Jsonb("Hi"), duration_seconds=1,
            created_at=each.created_at)  # fmt: skip
        step = {**whose, "run_id": run, "name": "step"}
        if each.tool:
            add("tasks", **step, node_type="tool_call", tool_uri=each.tool,
                output=Jsonb({"result": "fine"}), errors=Jsonb(None))  # fmt: skip
        for kind, said in each.problems.items():
            if kind == "failed":
                add("runs", session_id=each.id, output_data=None, duration_seconds=1)
            elif kind == "interrupted":
                add("runs", session_id=each.id, output_data=Jsonb(None), duration_seconds=None)
            elif kind == "running":
                add("runs", session_id=each.id, output_data=None, duration_seconds=None,
                    updated_at=now + timedelta(hours=1))  # fmt: skip
            elif kind == "model_error":
                response = Jsonb({"error": {"message": said}})
                add("model_call_stats", **whose, run_id=run, call_type="llm", model="step",
                    response_code=500, response_data=response)  # fmt: skip
            elif kind == "tool_error":
                add("tasks", **step, node_type="tool_call", tool_uri=None,
                    output=Jsonb({"result": f"Error: {said}"}), errors=Jsonb([]))  # fmt: skip
            else:
                add("tasks", **step, node_type="llm", tool_uri=None,
                    output=None, errors=Jsonb([said]))  # fmt: skip
    with connections["agents_write"].cursor() as cursor:
        for table, values in rows.items():
            if values:
                columns = ", ".join(values[0])
                places = ", ".join(["%s"] * len(values[0]))
                cursor.executemany(
                    f"INSERT INTO {table} ({columns}) VALUES ({places})",
                    [list(each.values()) for each in values],
                )


def says(each: Made, term: str, everywhere: bool) -> bool:
    texts = [f"it says {word} here" for word in each.words]
    if everywhere:
        told = ("model_error", "tool_error", "task_error")
        texts += [each.problems.get(kind, "").lower() for kind in told]
        texts.append(each.tool)
    return any(term.lower() in text for text in texts)


def has(each: Made, problem: str) -> bool:
    return (
        bool(each.problems.keys() - {"running"}) if problem == "any" else problem in each.problems
    )


def failed_with(each: Made, error: str, problem: str) -> bool:
    told = ("model_error", "tool_error", "task_error")
    kinds = [problem] if problem in told else told
    # The message of a failed model call begins with its status.
    folded = {
        f"step: {'500: ' if kind == 'model_error' else ''}"
        + each.problems[kind].replace("SN-1 ", "SN-… ").replace("SN-22 ", "SN-… ")
        for kind in kinds
        if kind in each.problems
    }
    return error in folded


def used(each: Made, filters: dict) -> bool:
    """Everything that was called has the name "step"."""
    failed, of = "step" in filters, {"node": "task_error", "model": "model_error"}
    tool = "tool_error" in each.problems or (each.tool and not failed)
    return all(
        filters.get(name, "step") == "step" and (name not in filters or problem in each.problems)
        for name, problem in of.items()
    ) and ("tool" not in filters or bool(tool and filters["tool"] == "step"))


def is_active(each: Made, filters: dict) -> bool:
    """Messages and runs from yesterday are later than every range used here."""
    end, whole_day = moment(filters["active_until"])
    if whole_day:
        end += timedelta(days=1)
    start = moment(filters.get("active_from", "2000-01-01"))[0]
    times = [each.created_at] + [each.updated_at + MESSAGES_AFTER] * bool(each.words)
    return any(start <= at < end for at in times)


def moment(text: str) -> tuple[datetime, bool]:
    """(the time, whether the text is a whole day)"""
    found = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return found, "T" not in text


def expected(made: list[Made], filters: dict) -> list[Cursor]:
    """The cursors of the conversations that match, newest first."""

    def matches(each: Made) -> bool:
        if "start_date" in filters and each.created_at < moment(filters["start_date"])[0]:
            return False
        if "end_date" in filters:
            end, whole_day = moment(filters["end_date"])
            if each.created_at > end and not whole_day:
                return False
            if whole_day and each.created_at >= end + timedelta(days=1):
                return False
        if "active_until" in filters and not is_active(each, filters):
            return False
        name = each.external_id or ""
        return (
            filters.get("agent", each.agent_id) == each.agent_id
            and name.lower().startswith(filters.get("external_id", "").lower())
            and not ("evals" in filters and name.startswith("eval:"))
            and ("search" not in filters or says(each, filters["search"], "scope" in filters))
            and used(each, filters)
            and ("problem" not in filters or has(each, filters["problem"]))
            and (
                "error" not in filters
                or failed_with(each, filters["error"], filters.get("problem", ""))
            )
        )

    return sorted((each.place for each in made if matches(each)), key=key, reverse=True)


def build_indexes(chosen=lambda index: True):
    """Build the chosen indexes inside the test's transaction, and return their names."""
    wanted = [index for index in catalogue.indexes() if chosen(index)]
    with connections["agents_write"].cursor() as cursor:
        # The time limit of a page that the test has opened lasts until its transaction ends.
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public")
        for index in wanted:
            cursor.execute(index.create(concurrently=False))
            cursor.execute(index.describe())
        cursor.execute("ANALYZE")
    state.forget()
    names = {index.name for index in wanted}
    assert state.ready() == names
    return names
