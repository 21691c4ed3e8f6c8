"""A new kind of problem needs just one object in the registry."""

import pytest

from conversations.agentdb import compiled
from conversations.indexes import catalogue, state
from conversations.problems import kinds
from conversations.problems.kinds import Kind
from conversations.problems.messages import Words

from ..support.exports import rows
from ..support.factories import Json, make_conversation, make_run, make_session, make_task
from ..support.histories import build_indexes
from ..support.listing import COUNTS, listed, match, shown_counts
from ..support.pages import get, text

pytestmark = pytest.mark.django_db
ERRORS = "/conversations/errors/"
SLOW = Kind(
    name="slow_task",
    label="Slow task",
    one="slow task",
    many="slow tasks",
    meaning="The task took longer than a minute.",
    model="Task",
    predicate="{duration_seconds} > 60",
    purpose="tasks that took longer than a minute",
    words=Words(columns=("name", "output"), who="{name}", said="{output} ->> 'why'"),
    noun="step",
)


@pytest.fixture
def another(monkeypatch):
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, SLOW))
    compiled.forget()
    yield SLOW
    compiled.forget()


@pytest.fixture
def slow(another):
    make_conversation()
    session = make_session(external_id="slow-one")
    run = make_run(session)
    make_task(
        run, session, "think", duration_seconds=61, output=Json({"why": "Waited 58 s for a lock"})
    )
    return session


@pytest.mark.parametrize("indexed", [False, True])
def test_a_new_kind_shows_up_everywhere(slow, support_client, indexed):
    session = slow
    if indexed:
        build_indexes()
        assert {SLOW.index_name, SLOW.message_index_name, SLOW.words_index_name} <= state.ready()
    assert match(support_client, problem="slow_task") == [session.id]
    assert match(support_client, problem="any") == [session.id]
    counted = shown_counts(get(support_client, COUNTS))
    assert (counted["Slow task"], counted["Any problem"]) == ("1", "1")
    page = get(support_client)
    assert listed(page)[0] == session.id
    assert page.context["rows"][0].problems == [("slow_task", 1)]
    assert "1 slow task" in text(page)
    assert "step think: Waited 58 s for a lock" in text(page)
    found = get(support_client, search="58 s for", scope="all")
    assert listed(found) == [session.id]
    assert "step think" in text(found)
    [group] = get(support_client, ERRORS, kind="slow_task").context["found"].groups
    assert (group.kind, group.message) == ("slow_task", "think: Waited … s for a lock")
    assert match(support_client, problem="slow_task", error=group.link) == [session.id]
    assert "1 problem" in text(get(support_client, f"/conversations/{session.id}/"))
    [row] = rows(support_client, problem="slow_task")
    assert (row["session_id"], row["problems"]) == (str(session.id), "slow_task:1")
    [row] = rows(support_client, "conversations.jsonl", problem="slow_task")
    assert row["problems"] == {"slow_task": 1}


def test_its_indexes_are_listed_and_may_be_dropped(another):
    names = {another.index_name, another.message_index_name, another.words_index_name}
    assert names <= {index.name for index in catalogue.indexes()}
    assert names <= catalogue.known_names()


def test_names_are_unique_and_every_kind_of_run_has_a_status():
    names = [kind.name for kind in kinds.KINDS]
    assert len(set(names)) == len(names)
    assert "any" not in names
    assert all(bool(kind.status) == (kind.model == "Run") for kind in kinds.KINDS)
