"""Conversations by what was called in them: a node, a tool or a model."""

from datetime import UTC, datetime, timedelta

import pytest

from conversations.models import Session
from conversations.selection.conditions import Period, has_step

from ..support.exports import ids
from ..support.factories import (
    Json,
    make_agent,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..support.histories import build_indexes
from ..support.limited import let_in_limited
from ..support.listing import COUNTS, NEW, match, shown_counts
from ..support.pages import get

pytestmark = pytest.mark.django_db
DAY = datetime(2026, 6, 3, tzinfo=UTC)
NEXT = DAY + timedelta(days=1)
TICK = timedelta(microseconds=1)
FAILED = Json({"result": "Error: gone"})
LONG = "a" * 250


@pytest.fixture(params=["walked", "indexed"])
def _found(request):
    if request.param == "indexed":
        build_indexes()


def make_call(of: str, name: str, session=None, **fields):
    """A conversation that called this node, tool or model."""
    session = session or make_session()
    run = make_run(session)
    if of == "model":
        make_model_call(session, run, model=name, **fields)
    else:
        make_task(run, session, name, "tool_call" if of == "tool" else "llm", **fields)
    return session


def found(of: str, name: str, **options) -> set:
    """Every form of the condition finds the same."""
    condition = has_step(of, name, **options)
    forms = [
        set(Session.objects.filter(form).values_list("pk", flat=True))
        for form in (condition.as_subquery(), condition.as_collected(), condition.as_probe())
    ]
    assert forms == [forms[0]] * 3
    return forms[0]


@pytest.mark.usefixtures("_found")
def test_nodes_tools_and_models_of_the_same_name_are_told_apart(support_client):
    made = {of: make_call(of, "search") for of in ("node", "tool", "model")}
    make_call("node", "Search")
    make_call("tool", "search ")
    for of, session in made.items():
        assert found(of, "search") == {session.id}
        assert match(support_client, **{of: "search"}) == [session.id]


def test_a_task_without_a_type_is_a_node(support_client):
    session = make_session()
    make_task(make_run(session), session, "search", None)
    assert match(support_client, node="search") == [session.id]
    assert match(support_client, tool="search") == []


@pytest.mark.usefixtures("_found")
@pytest.mark.parametrize("of", ["node", "tool", "model"])
def test_the_bounds_are_half_open_and_those_of_the_step(support_client, of):
    times = {"before": DAY - TICK, "first": DAY, "last": NEXT - TICK, "after": NEXT}
    made = {}
    for name, at in times.items():
        made[name] = make_session(created_at=DAY, updated_at=DAY + len(made) * TICK)
        make_call(of, "search", made[name], created_at=at)
    moments = {"step_from": DAY.isoformat(), "step_until": NEXT.isoformat()}
    for dates in (moments, {"step_from": "2026-06-03", "step_until": "2026-06-03"}):
        on_the_day = match(support_client, **{of: "search"}, **dates)
        assert on_the_day == [made["last"].id, made["first"].id]
    assert found(of, "search", period=Period(until=DAY)) == {made["before"].id}


@pytest.mark.usefixtures("_found")
def test_failed_ones_failed_under_this_name(support_client):
    tool = make_call("tool", "search", output=FAILED)
    node = make_call("node", "answer", errors=Json(["boom"]))
    model = make_call("model", "gpt", response_code=None)
    other = make_call("tool", "search")
    make_call("tool", "other", other, output=FAILED)
    make_call("node", "answer")
    make_call("model", "gpt")
    for of, name, session in (
        ("tool", "search", tool),
        ("node", "answer", node),
        ("model", "gpt", model),
    ):
        assert found(of, name, failed=True) == {session.id}
        assert match(support_client, **{of: name}, step="failed") == [session.id]


def test_each_given_name_must_have_been_called(support_client):
    both = make_call("node", "answer")
    make_call("tool", "search", both)
    make_call("node", "answer")
    make_call("tool", "search")
    asked = {"node": "answer", "tool": "search"}
    assert match(support_client, **asked) == [both.id]
    assert match(support_client, **asked, model="gpt") == []
    assert match(support_client, **asked, agent=make_agent().id) == []
    assert match(support_client, **asked, problem="any") == []


@pytest.mark.parametrize("of", ["node", "tool", "model"])
def test_names_are_compared_letter_by_letter_up_to_their_200th(support_client, of):
    for name in ("a%", "a_c", "=a()", "ab", "<b>é</b>\n", LONG):
        session = make_call(of, name)
        assert match(support_client, **{of: name[:200]}) == [session.id], name
    assert match(support_client, **{of: LONG[:199]}) == []


def test_files_counts_and_new_arrivals_use_the_filter(support_client):
    made = make_call("tool", "search", output=FAILED, created_at=DAY)
    make_call("tool", "other", output=FAILED, created_at=DAY)
    asked = {"tool": "search", "step_from": "2026-06-03", "tz": "UTC"}
    assert ids(support_client, **asked) == [str(made.id)]
    page = get(support_client, COUNTS, **asked)
    assert page.context["total"] == {"exact": 1}
    assert shown_counts(page)["Tool call failed"] == "1"
    since = "0.00000000000000000000000000000000"
    assert get(support_client, NEW, since=since, **asked).json()["new"] == "1"


def test_each_is_a_chip_and_the_last_name_takes_its_details_along(support_client):
    asked = {"node": "answer", "tool": "search", "step": "failed", "step_until": "2026-06-03"}
    page = get(support_client, **asked)
    chips = {chip["label"]: (chip["text"], chip["without"]) for chip in page.context["chips"]}
    assert chips == {
        "Node": ("answer", "tool=search&step=failed&step_until=2026-06-03&tz=UTC"),
        "Tool": ("search", "node=answer&step=failed&step_until=2026-06-03&tz=UTC"),
        "Step": ("failed", "node=answer&tool=search&step_until=2026-06-03&tz=UTC"),
        "Step before": ("3 Jun 2026", "node=answer&tool=search&step=failed"),
    }
    assert "answer · search · Conversations" in page.content.decode()
    one = get(support_client, tool="search", step="failed", step_from="2026-06-03", search="needle")
    assert one.context["chips"][1] == {
        "label": "Tool", "text": "search", "without": "search=needle"
    }  # fmt: skip
    # It found nothing.
    offered = {offer.label: offer.query for offer in one.context["offers"]}
    assert offered["Search without the other filters"] == "search=needle"


def test_a_name_is_shown_as_text(support_client):
    html = get(support_client, node="<script>alert(1)</script>").content.decode()
    assert "<script>alert" not in html
    assert '<span>Node</span> <b dir="auto">&lt;script&gt;alert(1)&lt;/script&gt;</b>' in html


@pytest.mark.parametrize("number", ["0002", "0003", "0004", "0005"])
def test_every_revision_finds_nodes_and_tools(support_client, at_revision, number):
    tool = make_call("tool", "search", output=FAILED)
    node = make_call("node", "search")
    make_call("model", "search")
    at_revision(number)
    build_indexes()
    assert match(support_client, tool="search", step="failed") == [tool.id]
    assert match(support_client, node="search") == [node.id]
    page = get(support_client, model="search")
    if number < "0005":
        [error] = page.context["filter"].errors["model"]
        assert error == "This database does not record which conversation called a model."
        assert not page.context["rows"]
    else:
        assert len(page.context["rows"]) == 1


def test_an_agent_limit_applies(client, db):
    ours, theirs = (make_session(make_agent(name)) for name in ("Ours", "Theirs"))
    for session in (ours, theirs):
        for of in ("node", "tool", "model"):
            make_call(of, "search", session)
    let_in_limited(client, "Support", [ours.agent_id])
    for of in ("node", "tool", "model"):
        assert match(client, **{of: "search"}) == [ours.id]
