"""How an open list learns what has changed, and fetches changed rows again."""

import json
import re
import uuid
from datetime import timedelta
from html import unescape

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.models import Act, Entry
from conversations.agentdb.conventions import INTERRUPTED_AFTER
from conversations.indexes import catalogue, state
from conversations.listing import open_page
from conversations.problems import kinds
from conversations.selection.pagination import Cursor

from ..support.factories import NULL, Json, make_agent, make_message, make_run, make_session
from ..support.limited import let_in_limited
from ..support.listing import slowed
from ..support.masking import masking_on
from ..support.pages import HTMX, LIST, get, words
from ..support.runtime import LiveRun, new_session
from ..support.tables import sql

pytestmark = pytest.mark.django_db

NEW, ROWS = "/conversations/new/", "/conversations/rows/"
EPOCH = Cursor(timezone.now() - timedelta(days=9), uuid.UUID(int=0))
REVISIONS = ["0002", "0003", "0004", "0005", "0006"]


@pytest.fixture
def shop():
    return make_agent("Shop")


def build_index():
    [index] = [each for each in catalogue.indexes() if each.name == kinds.unfinished().index_name]
    sql(index.create(concurrently=False))
    sql(index.describe())
    state.forget()


def shown_runs(html: str) -> dict[str, str]:
    """{run: state} from all rows."""
    found = re.findall(r'data-runs="([^"]*)"', html)
    return {run: state for each in found for run, state in json.loads(unescape(each)).items()}


def states_after_first_request(client) -> dict[str, str]:
    """{run: state} for all rows of the list once the open page has fetched them again."""
    listed = get(client)
    ids = [row.pk for row in listed.context["rows"]]
    states = shown_runs(rows(client, *ids))
    # The list itself does not know the states.
    assert shown_runs(listed.content.decode()) == dict.fromkeys(states, "")
    return states


def awaited(client, **filters) -> list[uuid.UUID]:
    found = get(client, **filters).context["awaited"]
    return [uuid.UUID(run) for run in found.split(",") if run]


def ask(client, runs=(), awaiting=(), status=200, **query) -> dict:
    names = {"X-Shown-Runs": runs, "X-Awaited-Runs": awaiting}
    headers = {name: ",".join(map(str, ids)) for name, ids in names.items() if ids}
    query = query or {"since": EPOCH}
    response = get(
        client, NEW, headers={**HTMX, "X-Refresh": "1", **headers}, status=status, **query
    )
    return response.json() if status == 200 else {}


def rows(client, *ids, status=200, **filters) -> str:
    headers = {**HTMX, "X-Refresh": "1", "X-Rows": ",".join(map(str, ids))}
    return get(client, ROWS, headers=headers, status=status, **filters).content.decode()


# What the page waits for


def test_rows_have_their_unfinished_runs_with_states(support_client, shop):
    make_run(make_session(shop))
    assert states_after_first_request(support_client) == {}
    run = LiveRun(new_session(shop))
    assert states_after_first_request(support_client) == {str(run.id): "running 1 0 1"}
    run.step("look-up")
    run.model_call()
    assert states_after_first_request(support_client) == {str(run.id): "running 2 1 1"}
    run.end()
    assert states_after_first_request(support_client) == {}


def test_the_answer_has_the_current_states(support_client, shop):
    run = LiveRun(new_session(shop))
    before = states_after_first_request(support_client)
    assert ask(support_client, runs=before)["states"] == before
    run.tool("refund", "Error: no such order")
    assert ask(support_client, runs=before)["states"] == {str(run.id): "running 2 0 1"}
    run.end()
    assert ask(support_client, runs=before)["states"] == {str(run.id): "completed 2 0 2"}
    sql("DELETE FROM runs")
    assert ask(support_client, runs=before)["states"] == {}


def test_the_state_changes_when_a_run_is_interrupted(support_client, shop):
    run = LiveRun(new_session(shop))
    before = states_after_first_request(support_client)
    for table in ("runs", "tasks"):
        sql(f"UPDATE {table} SET updated_at = now() - %s", [INTERRUPTED_AFTER])
    assert ask(support_client, runs=before)["states"] == {str(run.id): "interrupted 1 0 1"}


@pytest.mark.parametrize("number", REVISIONS)
def test_the_state_changes_when_a_run_ends_at_every_revision(
    support_client, shop, at_revision, number
):
    session = new_session(shop)
    run = make_run(session, output_data=NULL, duration_seconds=None, updated_at=timezone.now())
    at_revision(number)
    before = states_after_first_request(support_client)
    status = "running" if number == "0006" else "incomplete"
    assert before == {str(run.id): f"{status} 0 0 0"}
    sql("UPDATE runs SET output_data = '{\"a\": 1}', updated_at = now()")
    assert ask(support_client, runs=before)["states"] == {str(run.id): "completed 0 0 0"}


@pytest.mark.parametrize("number", REVISIONS)
def test_unfinished_runs_that_do_not_match_yet_are_awaited(
    support_client, shop, at_revision, number
):
    session = new_session(shop)
    run = make_run(session, output_data=NULL, duration_seconds=None, updated_at=timezone.now())
    make_message(session, content="a needle", run_id=run.id)
    at_revision(number)
    build_index()
    assert awaited(support_client) == []
    assert awaited(support_client, search="needle") == []
    assert awaited(support_client, search="found") == [run.id]
    since = Cursor(timezone.now() + timedelta(hours=1), uuid.UUID(int=0))
    query = {"since": since, "search": "found"}
    assert ask(support_client, awaiting=[run.id], **query)["new"] == ""
    make_message(session, "assistant", "It was found.", run_id=run.id)
    assert ask(support_client, awaiting=[run.id], **query)["new"] == "1"


def test_only_runs_that_came_to_match_are_new(support_client, shop):
    build_index()
    earlier = new_session(shop)
    make_run(earlier, output_data=NULL)
    LiveRun(earlier)
    late, fine = LiveRun(new_session(shop)), LiveRun(new_session(shop))
    runs = awaited(support_client, problem="any")
    assert sorted(runs) == sorted([late.id, fine.id])
    since = Cursor(timezone.now() + timedelta(hours=1), uuid.UUID(int=0))
    query = {"since": since, "problem": "any"}
    fine.end()
    assert ask(support_client, awaiting=runs, **query)["new"] == ""
    late.tool("refund", "Error: no such order")
    assert ask(support_client, awaiting=runs, **query)["new"] == "1"
    late.fail()
    assert ask(support_client, awaiting=runs, **query)["new"] == "1"
    # A conversation that has moved as well counts once.
    assert ask(support_client, awaiting=runs, problem="any", since=EPOCH)["new"] == "2"
    assert (
        ask(support_client, awaiting=runs, problem="failed", agent=make_agent().id, since=EPOCH)[
            "new"
        ]
        == ""
    )


def test_only_conversations_that_match_the_other_filters_are_awaited(support_client, shop):
    build_index()
    ours = LiveRun(new_session(shop, external_id="a-1"))
    LiveRun(new_session(make_agent("Bank"), external_id="a-2"))
    LiveRun(new_session(shop, external_id="b-1"))
    filters = {"agent": shop.id, "external_id": "a-", "problem": "failed"}
    assert awaited(support_client, **filters) == [ours.id]


def test_the_newest_two_hundred_runs_are_awaited(support_client, shop):
    build_index()
    runs = [LiveRun(new_session(shop)) for _ in range(205)]
    found = awaited(support_client, problem="failed")
    assert sorted(found) == sorted(run.id for run in runs[5:])
    assert ask(support_client, awaiting=found, runs=found, since=EPOCH)["new"] == "99+"


def test_without_the_index_the_page_says_what_it_does_not_announce(support_client, shop):
    LiveRun(new_session(shop))
    said = "only match once a run has ended aren’t announced here"
    assert said in get(support_client, problem="failed").content.decode()
    assert said not in get(support_client).content.decode()
    build_index()
    assert said not in get(support_client, problem="failed").content.decode()


# Cost


def statements(client, **asked) -> int:
    with CaptureQueriesContext(connections["agents"]) as queries:
        ask(client, **asked)
    # In a test's transaction, setting a time limit takes statements of its own.
    return len([query for query in queries if "FROM" in query["sql"]])


def test_each_question_is_one_statement_in_the_agent_database(support_client, shop):
    session = new_session(shop)
    runs = [LiveRun(session).id for _ in range(3)]
    ask(support_client)
    assert statements(support_client, since=EPOCH) == 1
    assert statements(support_client, session=session.id) == 1
    assert statements(support_client, runs=runs, since=EPOCH) == 2
    assert statements(support_client, run=runs[0]) == 1
    problem = {"since": EPOCH, "problem": "failed"}
    ask(support_client, **problem)
    assert statements(support_client, awaiting=runs, **problem) == 2
    assert statements(support_client, awaiting=runs, runs=runs, **problem) == 3


# Rows


def test_fetched_rows_are_the_same_as_in_the_list(support_client, shop):
    first = new_session(shop, external_id="a&b")
    second = new_session(shop)
    run = LiveRun(first, "a needle")
    LiveRun(second)
    page = get(support_client, search="needle").content.decode()
    [row] = re.findall(r"<li id=.*?</li>", page.replace("\n", ""), re.DOTALL)
    again = rows(support_client, first.id, search="needle").replace("\n", "")
    again = again.replace(' hx-swap-oob="outerMorph"', "").replace("running 1 0 1", "")
    assert row in again
    assert f'id="row-{second.id}"' not in again
    assert str(run.id) in again


def test_the_row_of_an_erased_conversation_says_so(support_client, shop):
    session = new_session(shop)
    missing = uuid.uuid4()
    found = rows(support_client, session.id, missing)
    assert found.count("<li id=") == 2
    assert f'<li id="row-{missing}" hx-swap-oob="outerMorph">' in found
    assert words(found).endswith("was erased, or you no longer have access to it.")


def test_fetching_rows_of_a_search_is_recorded_as_a_search(support_client, shop):
    session = new_session(shop)
    LiveRun(session, "a needle")
    assert "<mark>needle</mark>" in rows(support_client, session.id, search="needle")
    rows(support_client, session.id, search="needle")
    [entry] = Entry.objects.filter(act=Act.SEARCHED)
    assert entry.details["by"] == "an open page"
    rows(support_client, session.id)
    ask(support_client, session=session.id)
    assert not Entry.objects.filter(act=Act.VIEWED).exists()


def test_rows_are_masked(support_client, shop, settings):
    session = new_session(shop)
    LiveRun(session, "Write to jane@example.com.")
    with masking_on(settings):
        assert "jane@" not in rows(support_client, session.id)
        assert "[e-mail " in rows(support_client, session.id)


def test_users_learn_nothing_about_agents_they_may_not_see(client, shop):
    ours, theirs = new_session(shop), new_session(make_agent("Bank"), external_id="secret")
    run = LiveRun(theirs)
    limited = let_in_limited(client, "Support", [shop.id])
    assert "secret" not in rows(limited, theirs.id)
    answer = ask(limited, runs=[run.id], awaiting=[run.id], session=theirs.id, since=EPOCH)
    assert answer == {
        "new": "1",
        "moved": {str(ours.id): ours.updated_at.timestamp()},
        "states": {},
        "signature": None,
    }


# The conversation


def test_a_signature_changes_with_everything_the_runtime_writes(support_client, shop):
    session = new_session(shop)
    told = [get(support_client, f"{LIST}{session.id}/").context["conversation"].signature]

    def changed():
        told.append(ask(support_client, session=session.id)["signature"])
        page = get(support_client, f"{LIST}{session.id}/")
        assert page.context["conversation"].signature == told[-1]
        return told[-1] not in told[:-1]

    assert not changed()
    run = LiveRun(session)
    assert changed()
    for write in (
        lambda: run.step("look-up"),
        lambda: run.model_call(),
        lambda: make_message(session, "system", "Wait."),
        lambda: run.end(),
        lambda: LiveRun(session).fail(),
    ):
        write()
        assert changed()
    LiveRun(session)
    assert changed()
    for table in ("runs", "tasks", "model_call_stats"):
        sql(f"UPDATE {table} SET updated_at = now() - interval '1 hour'")
    assert changed()
    for table in ("chat_messages", "tasks", "runs"):
        sql(f"DELETE FROM {table}")
    sql("DELETE FROM sessions WHERE id = %s", [session.id])
    assert ask(support_client, session=session.id)["signature"] is None


@pytest.mark.parametrize("number", REVISIONS)
def test_every_revision_has_signatures(support_client, shop, at_revision, number):
    session = new_session(shop)
    run = make_run(session, output_data=Json({"a": 1}))
    at_revision(number)
    page = get(support_client, f"{LIST}{session.id}/")
    shown = page.context["conversation"].signature
    assert ask(support_client, session=session.id)["signature"] == shown
    run_page = get(support_client, f"{LIST}{session.id}/runs/{run.id}/")
    assert ask(support_client, run=run.id)["signature"] == run_page.context["run"].signature
    assert ask(support_client, run=uuid.uuid4())["signature"] is None


# Invalid requests


@pytest.mark.parametrize("header", ["X-Shown-Runs", "X-Awaited-Runs"])
@pytest.mark.parametrize("ids", ["x", "1,2", "é", ",".join([str(uuid.UUID(int=1))] * 201)])
def test_malformed_ids_get_a_400(support_client, header, ids):
    get(support_client, NEW, headers={header: ids}, status=400, since=EPOCH, problem="any")


@pytest.mark.parametrize("ids", ["x", ",".join([str(uuid.UUID(int=1))] * 201)])
def test_malformed_ids_of_rows_get_a_400(support_client, ids):
    rows(support_client, ids, status=400)


def test_rows_with_an_invalid_filter_get_a_400(support_client, shop):
    rows(support_client, new_session(shop).id, status=400, agnet="1")


@pytest.mark.parametrize("name", ["session", "run"])
@pytest.mark.parametrize("pk", ["", "x", "\0"])
def test_a_malformed_conversation_or_run_gets_a_400(support_client, name, pk):
    ask(support_client, status=400, **{name: pk})


def test_the_list_has_no_filter_for_a_conversation(support_client, shop):
    session = new_session(shop)
    response = get(support_client, session=session.id)
    assert response.context["rows"] == []


def test_the_list_does_not_wait_for_a_slow_search_for_unfinished_runs(
    support_client, shop, monkeypatch
):
    build_index()
    LiveRun(new_session(shop))
    monkeypatch.setattr(open_page, "SECONDS", 0.02)
    with slowed("unfinished_run") as slow:
        assert not get(support_client, problem="failed").context["awaits"]
    assert slow
