"""`scope=all` also searches errors and tool names, at every revision."""

import pytest

from conversations.problems import kinds

from ..support.factories import (
    Json,
    make_agent,
    make_conversation,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..support.listing import COUNTS, be_patient, listed, match, shown_counts
from ..support.pages import get, text

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
REVISIONS = ["0002", "0003", "0004", "0005", "0006"]

# Shapes of errors, each with the words needle and "a%b" in its sentence.
SENTENCE = 'A needle, a%b and "more"'
ERRORS = {
    "string": SENTENCE,
    "error.message": {"error": {"message": SENTENCE, "type": "sibling"}},
    "message": {"message": SENTENCE, "type": "sibling"},
    "error": {"error": SENTENCE},
    "detail": {"detail": SENTENCE},
    "preview": {"truncated": True, "bytes": 9, "preview": SENTENCE},
    "error without a message": {"error": {"text": SENTENCE}},
    "anything else": {"choices": [{"deep": {"er": SENTENCE}}]},
    "a message that is no text": {"message": {"text": [SENTENCE]}},
    "a key": {SENTENCE: 1},
}


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    be_patient(monkeypatch)


def only(client, session, term):
    """Searched everywhere, the term finds only this conversation; in messages it finds none."""
    assert match(client, search=term, scope="all") == [session.id], term
    assert match(client, search=term) == [], term


@pytest.fixture
def session():
    agent = make_agent()
    make_conversation(agent=agent)
    return make_session(agent)


# What is searched


@pytest.mark.parametrize("shape", ERRORS)
def test_the_words_of_a_failed_model_call(support_client, session, shape):
    make_model_call(session, response_code=500, response_data=Json(ERRORS[shape]))
    for term in ("NEEDLE", "a%b"):
        only(support_client, session, term)
    assert match(support_client, search="a%%b", scope="all") == []


@pytest.mark.parametrize("shape", ERRORS)
def test_the_words_of_a_task_error(support_client, session, shape):
    make_task(make_run(session), session, errors=Json(ERRORS[shape]))
    only(support_client, session, "NEEDLE")


@pytest.mark.parametrize("shape", ERRORS)
def test_the_first_of_a_list_of_errors(support_client, session, shape):
    make_task(make_run(session), session, errors=Json([ERRORS[shape], 1]))
    only(support_client, session, "NEEDLE")


@pytest.mark.parametrize(
    ("errors", "term"), [(42.5, "42.5"), (True, "true"), ([["deep"]], "deep"), (["tief"], "ti")]
)
def test_the_words_of_errors_that_are_not_text(support_client, session, errors, term):
    make_task(make_run(session), session, errors=Json(errors))
    only(support_client, session, term)


@pytest.mark.parametrize("errors", [[], {}, [None], None, "", False, [[]], [{}]])
def test_errors_that_say_nothing_break_nothing(support_client, session, errors):
    make_task(make_run(session), session, errors=Json(errors))
    make_model_call(session, response_code=None, response_data=Json(errors))
    assert match(support_client, search="needle", scope="all") == []


def test_the_words_of_a_failed_tool_call(support_client, session):
    result = "Error: Error executing tool 'restart': device 100% offline"
    output = Json({"result": result})
    make_task(make_run(session), session, node_type="tool_call", output=output)
    only(support_client, session, "100% OFF")
    # The runtime's own prefix would match every failed tool call.
    assert match(support_client, search="Error executing", scope="all") == []


def test_the_name_of_a_tool(support_client, session):
    uri = "python://shop.tools/restart_device"
    make_task(make_run(session), session, "call", node_type="tool_call", tool_uri=uri)
    for term in ("RESTART_dev", "shop.tools/", "python://"):
        only(support_client, session, term)
    assert match(support_client, search="restartxdevice", scope="all") == []


def test_many_tools_are_told_apart(support_client):
    agent = make_agent()
    made = []
    for number in range(20):
        made.append(session := make_session(agent))
        uri = f"python://tool_{number:02}"
        for _ in range(3):
            make_task(make_run(session), session, node_type="tool_call", tool_uri=uri)
    ids = [session.id for session in made]
    assert match(support_client, search="tool_1", scope="all") == ids[:9:-1]
    assert match(support_client, search="tool_07", scope="all") == [ids[7]]


@pytest.mark.parametrize("kind", ["message", "tool", "task", "model", "name"])
def test_a_term_found_twice_shows_the_conversation_once(support_client, session, kind):
    run = make_run(session)
    for _ in range(2):
        make_message(session, content="needle")
        make_task(run, session, errors=Json(["needle"]), node_type="tool_call", tool_uri="needle",
                  output=Json({"result": "Error: needle"}))  # fmt: skip
        make_model_call(session, run, response_code=500, response_data=Json("needle"))
    assert match(support_client, search="needle", scope="all") == [session.id]


# What is not searched


def test_messages_are_searched_too(support_client, session):
    make_message(session, content="a NEEDLE")
    assert match(support_client, search="needle", scope="all") == [session.id]
    assert match(support_client, search="needle", scope="") == [session.id]


def test_healthy_tasks_and_calls_are_not_searched(support_client, session):
    run = make_run(session, input_data=Json("needle"), output_data=Json("needle"))
    make_task(run, session, "needle", prompt="needle", inputs=Json("needle"))
    fine = Json({"result": "needle"})
    make_task(run, session, node_type="tool_call", output=fine)
    # Not a tool call, so not a failed one either.
    make_task(run, session, output=Json({"result": "Error: needle"}))
    make_model_call(session, run, response_data=Json("needle"), request_data=Json("needle"))
    make_model_call(response_code=500, response_data=Json("needle"))
    assert match(support_client, search="needle", scope="all") == []


def test_an_unknown_scope_is_explained(support_client, session):
    response = get(support_client, search="needle", scope="some")
    assert listed(response) == []
    assert "some is not one of the available choices" in text(response)


def test_the_scope_without_a_search_narrows_nothing(support_client, session):
    assert len(match(support_client, scope="all")) == 2


# Older revisions


def at_least(number: str, since: str) -> bool:
    return number >= since


@pytest.fixture
def troubled():
    """One conversation for each kind of problem, made at 0006."""
    agent = make_agent()
    made = {name: make_session(agent) for name in ("tool", "task", "model", "failed", "fine")}
    run = make_run(made["tool"])
    failed = Json({"result": "Error: needle in the tool"})
    make_task(run, made["tool"], "haystack", "tool_call", output=failed, tool_uri="mcp://hay")
    make_task(make_run(made["task"]), made["task"], "pin", errors=Json(["needle in the task"]))
    run = make_run(made["model"])
    make_model_call(made["model"], run, response_code=500, response_data=Json("needle, said it"))
    make_run(made["failed"], output_data=None)
    make_message(made["fine"], content="a needle")
    return {name: session.id for name, session in made.items()}


@pytest.mark.parametrize("number", REVISIONS)
def test_every_revision_finds_the_errors_that_it_records(
    support_client, at_revision, troubled, number
):
    at_revision(number)
    names = {pk: name for name, pk in troubled.items()}
    assert {names[pk] for pk in match(support_client)} == set(troubled)
    found = {names[pk] for pk in match(support_client, search="needle", scope="all")}
    linked = {"model"} if at_least(number, "0005") else set()
    assert found == {"tool", "task", "fine", *linked}
    by_tool = "hay" if at_least(number, "0004") else "haystack"
    assert match(support_client, search=by_tool, scope="all") == [troubled["tool"]]
    # Tools are found by their address from 0004 on, and by the task's name before.
    haystack = match(support_client, search="haystack", scope="all")
    assert haystack == ([] if at_least(number, "0004") else [troubled["tool"]])


@pytest.mark.parametrize("number", REVISIONS)
def test_every_revision_shows_and_counts_its_problems(
    support_client, at_revision, troubled, number
):
    at_revision(number)
    page = get(support_client)
    newest_problems = {row.pk: row.newest_problem for row in page.context["rows"]}
    assert newest_problems[troubled["tool"]] == "tool haystack: needle in the tool"
    assert newest_problems[troubled["task"]] == "task pin: needle in the task"
    counts = shown_counts(get(support_client, COUNTS))
    expected = {"Any problem": 3, "Tool call failed": 1, "Task error": 1}
    if at_least(number, "0005"):
        assert newest_problems[troubled["model"]] == "model some-model: 500: needle, said it"
        expected |= {"Any problem": 4, "Model call failed": 1}
    if at_least(number, "0006"):
        expected |= {"Run failed": 1, "Run interrupted": 0, "Run still running": 0}
    else:
        expected |= {"Run incomplete": 1}
    assert counts == {label: str(value) for label, value in expected.items()}
    for name in ("any", *(kind.name for kind in kinds.problems())):
        assert len(match(support_client, problem=name)) <= expected["Any problem"]
