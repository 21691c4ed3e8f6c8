"""The page Slow and failing: what it says of each node, tool and model, and its files."""

import uuid
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Permission
from django.db import connections
from django.utils import timezone

from audit.models import Act, Entry
from overview.models import Progress
from overview.slow import tables

from ..support.exports import read_csv, read_xlsx
from ..support.factories import (
    Json,
    make_agent,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..support.figures import last_quarter, list_links, listed, make_edges, roll_up
from ..support.histories import build_indexes
from ..support.limited import let_in_limited
from ..support.masking import EMAIL, masking_on
from ..support.pages import HTMX, get, text
from ..support.signing_in import let_in, make_user

pytestmark = pytest.mark.django_db
SLOW = "/slow/"
FAILED = Json({"result": "Error: gone"})
USED = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}


def make_week(agent=None):
    """22 quick searches, 3 slow orders of which 2 failed, a node, and two models."""
    at = last_quarter() - timedelta(hours=1)
    times = {"created_at": at, "updated_at": at}
    session = make_session(agent, **times)
    run = make_run(session, **times)
    for _ in range(22):
        make_task(run, session, "search", "tool_call", duration_seconds=0.2, **times)
    for output in (FAILED, FAILED, None):
        slow = {"duration_seconds": 8, "output": output, **times}
        make_task(run, session, "order", "tool_call", **slow)
    make_task(run, session, "answer", duration_seconds=2, **times)
    whose = {"agent_id": session.agent_id, **times}
    make_model_call(session, run, model="openai/gpt-4o", **USED, **whose)
    make_model_call(session, run, model="nobody-knows", response_code=500, **whose)
    # Of a conversation that is gone.
    make_model_call(model="nobody-knows", **USED, **whose)
    roll_up()
    return session


def table(page, name: str) -> tables.Table:
    return next(table for table, _ in page.context["tables"] if table.kind.name == name)


def said(row: tables.Row) -> list[str]:
    return [f"{cell.words} {cell.note}".strip() for cell in row.cells]


def names(page, name: str) -> list[str]:
    return [row.label for row in table(page, name).rows]


def test_it_says_how_each_was_called(support_client):
    make_week()
    page = get(support_client, SLOW, period="7d")
    search, order = table(page, "tools").rows
    assert said(search) == ["22", "0", "0%", "200 ms of 22", "200 ms of 22"]
    assert said(order) == ["3", "2", "67%", "8.0 s of 3", "8.0 s of 3"]
    assert [cell.is_faint for cell in search.cells[3:]] == [False, False]
    assert [cell.is_faint for cell in order.cells[3:]] == [True, True]
    assert said(table(page, "tools").total) == ["25", "2", "8%", "200 ms of 25", "8.0 s of 25"]
    [node] = table(page, "nodes").rows
    assert (node.label, said(node)[0]) == ("answer", "1")
    unknown, known = table(page, "models").rows
    assert said(known) == ["1", "0", "0%", "–", "–", "1,000,000", "$2.50"]
    assert said(unknown)[:3] == ["2", "1", "50%"]
    assert said(unknown)[-1].startswith("n/a 1 of 2 calls has no price")
    assert said(table(page, "models").total)[-2:] == [
        "2,000,000",
        "at least $2.50 1 of 3 calls has no price",
    ]


def test_the_trend_has_the_last_full_days(support_client):
    today = datetime.combine(timezone.now().date(), time(), ZoneInfo("UTC"))
    session = make_session(created_at=today - timedelta(days=40))
    for back, number in ((0, 5), (1, 3), (30, 2), (31, 4)):
        times = dict.fromkeys(("created_at", "updated_at"), today - timedelta(days=back))
        run = make_run(session, **times)
        for _ in range(number):
            make_task(run, session, "search", "tool_call", **times)
    roll_up()
    [row] = table(get(support_client, SLOW, tz="Asia/Kathmandu"), "tools").rows
    assert row.trend.numbers == [2, *[0] * 28, 3]
    assert row.trend.words.startswith("Calls per day: 2 (")


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("", "search order"),
        ("calls", "search order"),
        ("-calls", "order search"),
        ("name", "order search"),
        ("-name", "search order"),
        ("failures", "order search"),
        ("rate", "order search"),
        ("-median", "search order"),
        ("p95", "order search"),
    ],
)
def test_each_table_is_sorted_by_each_column(support_client, sort, order):
    make_week()
    page = get(support_client, SLOW, tools=sort, nodes="-p95")
    assert names(page, "tools") == order.split()
    assert page.content.decode().count("aria-sort") == 3


def test_models_without_a_price_come_last_either_way(support_client):
    make_week()
    for sort in ("cost", "-cost", "median"):
        labels = names(get(support_client, SLOW, models=sort), "models")
        assert labels[-1] == ("openai/gpt-4o" if sort == "median" else "nobody-knows")
    assert names(get(support_client, SLOW, models="tokens"), "models")


def test_a_click_on_the_sorted_column_turns_the_order_round(support_client):
    make_week()
    page = get(support_client, SLOW, nodes="name", period="7d")
    columns = {kind.kind.name: columns for kind, columns in page.context["tables"]}
    by_label = {column["label"]: column for column in columns["nodes"]}
    assert by_label["Node"]["sorted"] == "ascending"
    assert "nodes=-name" in by_label["Node"]["query"]
    assert "period=7d" in by_label["Calls"]["query"]
    assert by_label["Calls"]["sorted"] is False
    assert "nodes=name&tools=-calls" in columns["tools"][1]["query"]
    assert columns["tools"][1]["sorted"] == "descending"


def test_more_than_25_are_added_up_in_one_row(support_client):
    at = last_quarter() - timedelta(hours=1)
    times = {"created_at": at, "updated_at": at}
    session = make_session(**times)
    run = make_run(session, **times)
    for number in range(1, 31):
        for _ in range(number):
            make_task(run, session, f"tool-{number:02}", "tool_call", duration_seconds=1, **times)
    roll_up()
    found = table(get(support_client, SLOW), "tools")
    assert (len(found.rows), found.rows[0].label) == (25, "tool-30")
    assert (found.others.label, said(found.others)[0]) == ("5 other tools", "15")
    whole = sum(int(said(row)[0]) for row in [*found.rows, found.others])
    assert said(found.total)[0] == str(whole) == "465"
    rows = read_csv(get(support_client, f"{SLOW}tools.csv").content)
    assert len(rows) == 30


# Links


def rows_of(page) -> list[tuple[str, tables.Row]]:
    return [(table.kind.filter, row) for table, _ in page.context["tables"] for row in table.rows]


CALLED = {
    "node": "SELECT count(DISTINCT session_id) FROM tasks WHERE name = %s"
    " AND node_type IS DISTINCT FROM 'tool_call'",
    "tool": "SELECT count(DISTINCT session_id) FROM tasks WHERE name = %s"
    " AND node_type = 'tool_call'",
    "model": "SELECT count(DISTINCT session_id) FROM model_call_stats WHERE model = %s",
}
WENT_WRONG = {
    "node": " AND errors NOT IN ('null', '[]')",
    "tool": " AND output ->> 'result' LIKE 'Error:%%'",
    "model": " AND (response_code IS NULL OR response_code >= 400)",
}


def called(of: str, name: str, since, until, *, failed: bool = False) -> int:
    sql = f"{CALLED[of]} AND created_at >= %s AND created_at < %s"
    with connections["agents"].cursor() as cursor:
        cursor.execute(sql + (WENT_WRONG[of] if failed else ""), [name, since, until])
        [number] = cursor.fetchone()
    return number


@pytest.mark.parametrize(
    ("period", "zone"),
    [
        ("today", "UTC"),
        pytest.param("7d", "Asia/Kathmandu", marks=pytest.mark.slow),
        pytest.param("30d", "America/New_York", marks=pytest.mark.slow),
    ],
)
def test_each_row_leads_to_the_conversations_that_it_counts(support_client, period, zone):
    with timezone.override(ZoneInfo(zone)):
        make_edges(last_quarter())
    build_indexes()
    roll_up()
    page = get(support_client, SLOW, period=period, tz=zone)
    since, until = page_span(period, zone)
    followed = set()
    for of, row in rows_of(page):
        number = called(of, row.label, since, until)
        assert number
        assert listed(support_client, row.link) == number, row.link
        followed.add(row.link)
        if failures := row.cells[1].link:
            number = called(of, row.label, since, until, failed=True)
            assert listed(support_client, failures) == number, failures
            followed.add(failures)
    assert {of for of, _ in rows_of(page)} == {"node", "tool", "model"}
    assert any("step=failed" in link for link in followed)
    assert list_links(page) == followed


def page_span(period: str, zone: str):
    """From the first midnight of the period in the zone."""
    until, days = last_quarter(), {"today": 1, "7d": 7, "30d": 30}[period]
    local = (until - timedelta(microseconds=1)).astimezone(ZoneInfo(zone))
    first = local.date() - timedelta(days=days - 1)
    return datetime.combine(first, time(), ZoneInfo(zone)), until


def test_of_one_agent_links_and_figures_are_its_own(support_client):
    ours = make_week(make_agent("Shop"))
    make_week(make_agent("Bank"))
    page = get(support_client, SLOW, agent=ours.agent_id)
    assert said(table(page, "tools").total)[0] == "25"
    for _, row in rows_of(page):
        assert f"agent={ours.agent_id}" in row.link
        assert listed(support_client, row.link) == 1 or row.label == "nobody-knows"
    assert said(table(get(support_client, SLOW), "tools").total)[0] == "50"


def test_a_limit_to_certain_agents_applies(client, db):
    ours = make_week(make_agent("Shop"))
    theirs = make_week(make_agent("Bank"))
    let_in_limited(client, "Support", [ours.agent_id])
    page = get(client, SLOW)
    assert said(table(page, "tools").total)[0] == "25"
    assert "Bank" not in page.content.decode()
    assert [row["calls"] for row in read_csv(get(client, f"{SLOW}tools.csv").content)] == [
        "22",
        "3",
    ]
    assert client.get(SLOW, {"agent": theirs.agent_id}).status_code == 404


# Names


def make_named(name: str):
    at = last_quarter() - timedelta(hours=1)
    times = {"created_at": at, "updated_at": at}
    session = make_session(**times)
    run = make_run(session, **times)
    make_task(run, session, name, "tool_call", output=FAILED, **times)
    roll_up()


def test_hostile_names_stay_text(support_client):
    make_named("<script>alert(1)</script>")
    page = get(support_client, SLOW)
    assert "<script>alert" not in page.content.decode()
    [row] = table(page, "tools").rows
    assert listed(support_client, row.link) == 1


def test_a_masked_name_is_in_no_address(viewer_client, settings):
    make_named(f"ask {EMAIL}")
    with masking_on(settings):
        page = get(viewer_client, SLOW)
        assert EMAIL not in page.content.decode()
        assert EMAIL.replace("@", "%40") not in page.content.decode()
        [row] = table(page, "tools").rows
        assert (row.link, row.cells[1].link) == ("", "")


def test_a_missing_name_leads_nowhere(support_client):
    make_named("")
    [row] = table(get(support_client, SLOW), "tools").rows
    assert (row.label, row.link) == ("(no name)", "")


# States


def test_without_figures_it_says_so(support_client):
    assert "There are no figures yet." in text(get(support_client, SLOW))
    assert get(support_client, f"{SLOW}nodes.csv", status=503)


def test_with_nothing_called_it_says_so(support_client):
    roll_up()
    page = text(get(support_client, SLOW))
    for what in ("node", "tool", "model"):
        assert f"No {what} was called in this period." in page


@pytest.mark.parametrize(
    "query",
    [
        "agent=x",
        "period=3d",
        "tz=Mars/Base",
        "nodes=tokens",
        "tools=cost",
        "typo=1",
        "nodes=a&nodes=b",
    ],
)
def test_an_address_that_makes_no_sense_shows_nothing(support_client, query):
    make_week()
    page = get(support_client, f"{SLOW}?{query}")
    assert "<table" not in page.content.decode()
    assert 'class="error"' in page.content.decode()
    assert get(support_client, f"{SLOW}tools.csv?{query}", status=400)


def test_an_unknown_agent_is_not_found(support_client):
    roll_up()
    for path in (SLOW, f"{SLOW}tools.csv"):
        assert support_client.get(path, {"agent": uuid.UUID(int=7)}).status_code == 404


def test_old_figures_say_how_old_they_are(support_client):
    roll_up()
    Progress.objects.update(as_of=timezone.now() - timedelta(hours=3))
    assert "These figures are from 3 hours ago" in text(get(support_client, SLOW))


@pytest.mark.parametrize("number", ["0002", "0005"])
def test_before_0005_a_model_leads_nowhere(support_client, at_revision, number):
    at_revision(number)
    at = last_quarter() - timedelta(hours=1)
    with connections["agents_write"].cursor() as cursor:
        cursor.execute(
            "INSERT INTO model_call_stats (id, call_type, model, created_at, updated_at)"
            " VALUES (gen_random_uuid(), 'llm', 'gpt', %s, %s)",
            [at, at],
        )
    roll_up()
    page = get(support_client, SLOW)
    [row] = table(page, "models").rows
    assert bool(row.link) == (number == "0005")


@pytest.mark.parametrize("number", [1, 40])
def test_queries_do_not_depend_on_how_much_there_is(
    support_client, django_assert_num_queries, number
):
    at = last_quarter() - timedelta(hours=1)
    times = {"created_at": at, "updated_at": at}
    for place in range(number):
        session = make_session(make_agent(f"Agent {place}"), **times)
        make_task(make_run(session, **times), session, f"node {place}", **times)
    roll_up()
    get(support_client, SLOW)
    # The names of agents, and when those of the same name were last active.
    with django_assert_num_queries(1, connection=connections["agents"]):
        get(support_client, SLOW)
    # Besides who is signed in: until when there are figures, totals and trends.
    with django_assert_num_queries(3 + 2, connection=connections["default"]):
        get(support_client, SLOW)


def test_htmx_gets_the_page_to_choose_from(support_client):
    make_week()
    assert 'id="browse"' in get(support_client, SLOW, headers=HTMX).content.decode()


# Files


def test_files_have_all_rows_as_numbers(support_client):
    make_week()
    rows = read_csv(get(support_client, f"{SLOW}tools.csv", tools="p95").content)
    assert [row["tool"] for row in rows] == ["order", "search"]
    order = {name: float(value) for name, value in rows[0].items() if name != "tool"}
    assert order["median_seconds"] == pytest.approx(8, rel=0.005)
    order.pop("median_seconds"), order.pop("p95_seconds")
    assert order == {"calls": 3, "failures": 2, "failure_rate": 0.666667, "timed_calls": 3}
    models = read_xlsx(get(support_client, f"{SLOW}models.xlsx", models="name").content)
    assert [row["model"] for row in models] == ["nobody-knows", "openai/gpt-4o"]
    assert [models[1][name] for name in ("tokens", "cost", "calls_without_price")] == [
        1_000_000, 2.5, 0,
    ]  # fmt: skip
    assert (models[0]["median_seconds"], models[0]["calls_without_price"]) == (None, 1)


def test_no_name_runs_as_a_formula_in_a_file(support_client):
    make_named('=HYPERLINK("http://evil")')
    [row] = read_csv(get(support_client, f"{SLOW}tools.csv").content)
    assert row["tool"].startswith("'=")
    [row] = read_xlsx(get(support_client, f"{SLOW}tools.xlsx").content)
    assert row["tool"].startswith("=HYPERLINK")


def test_a_file_has_masked_names_as_the_page(client, settings):
    user = make_user("analyst", "Viewer")
    user.user_permissions.add(Permission.objects.get(codename="export_session"))
    let_in(client, user)
    make_named(f"ask {EMAIL}")
    with masking_on(settings):
        [row] = read_csv(get(client, f"{SLOW}tools.csv").content)
    assert row["tool"].startswith("ask ")
    assert EMAIL not in row["tool"]


def test_downloads_are_recorded(support_client):
    make_week()
    response = get(support_client, f"{SLOW}tools.xlsx", period="7d", tz="UTC")
    assert response["Content-Disposition"].startswith('attachment; filename="slow-tools-20')
    [entry] = Entry.objects.filter(act=Act.EXPORTED)
    assert entry.details == {
        "file": "slow-tools.xlsx",
        "query": "period=7d&tz=UTC",
        "rows": 2,
        "complete": True,
    }


def test_viewers_may_not_download(viewer_client):
    make_week()
    assert viewer_client.get(f"{SLOW}tools.csv").status_code == 403
    assert "tools.csv" not in get(viewer_client, SLOW).content.decode()


@pytest.mark.parametrize("path", ["agents.csv", "tools.jsonl", "tools.pdf"])
def test_other_files_do_not_exist(support_client, path):
    roll_up()
    assert support_client.get(f"{SLOW}{path}").status_code == 404
