"""Figures of each agent by day, week or month, as files."""

import io
import zipfile
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from audit.models import Entry
from conversations.errors.periods import in_iso
from conversations.exports.tables import text as number_text
from conversations.problems import kinds
from overview import figures, links, periods, quarters
from overview.models import Cell
from overview.summaries import files
from overview.summaries.buckets import buckets

from ..conversations.test_recorded import RECORDED, recorded, recorded_database  # noqa: F401
from ..support.expected_figures import run_sql, runs_sql
from ..support.exports import read_csv
from ..support.factories import make_agent, make_message, make_model_call, make_run, make_session
from ..support.figures import last_quarter, listed, make_edges, roll_up
from ..support.limited import let_in_limited
from ..support.pages import text

pytestmark = pytest.mark.django_db
# Numbers that may be added up over agents: each conversation is of one agent.
ADDED = ("conversations", "conversations_without_answer", "conversations_with_problem", "messages",
         "runs", "runs_without_answer", "answers", "model_calls", "tokens")  # fmt: skip


def download(client, form="csv", **parameters):
    return client.get(f"/summaries.{form}", parameters)


def rows(client, **parameters) -> list[dict[str, str]]:
    response = download(client, **parameters)
    assert response.status_code == 200, text(response)
    return read_csv(response.content)


def span_of(row) -> periods.Span:
    return periods.Span(*(datetime.fromisoformat(row[end]) for end in ("from", "until")))


@pytest.mark.thorough
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_agents_add_up_to_home(support_client, zone):
    with timezone.override(zone):
        make_edges(last_quarter(), every=2)
    roll_up()
    found = defaultdict(list)
    for row in rows(support_client, tz=zone):
        found[span_of(row)].append(row)
    assert len(found) > 20
    for span, of_span in found.items():
        with timezone.override(zone):
            [home] = figures.of_periods([span])
        told = {name: sum(int(row[name]) for row in of_span) for name in ADDED}
        assert told == {
            "conversations": home.conversations,
            "conversations_without_answer": home.unanswered,
            "conversations_with_problem": home.troubled,
            "messages": home.messages,
            "runs": home.runs,
            "runs_without_answer": home.runs_without_answer,
            "answers": home.answers,
            "model_calls": home.calls,
            "tokens": home.tokens,
        }
        for kind in kinds.problems():
            told = sum(int(row[f"conversations_with_{kind.name}"]) for row in of_span)
            assert told == home.by_kind[kind.name]
        assert sum(Decimal(row["cost_usd"]) for row in of_span) == home.money.amount
        assert sum(int(row["calls_without_price"]) for row in of_span) == home.money.unpriced
        if len(of_span) == 1:
            assert of_span[0]["people_without_answer"] == str(home.unanswered_people)
            assert of_span[0]["seconds_to_answer_p95"] == (number_text(home.seconds(95)) or "")
    # The model calls are of no agent.
    none = [row for each in found.values() for row in each if not row["agent_id"]]
    assert sum(int(row["model_calls"]) for row in none) > 20
    assert {row["messages"] for row in none} == {"0"}


@pytest.mark.thorough
@pytest.mark.skipif(not RECORDED.exists(), reason="The recorded databases are not here.")
@pytest.mark.parametrize("by", ["day", "month"])
def test_recorded_figures_agree_with_the_list_and_with_sql(recorded, support_client, by):  # noqa: F811
    roll_up()
    first = run_sql("SELECT min(created_at) FROM sessions")[0][0].date()
    found = rows(support_client, by=by, active_from=str(first), tz="UTC")
    assert found
    for row in found:
        span, agent = span_of(row), row["agent_id"]
        told = {
            "conversations": links.conversations(span, agent=agent),
            "conversations_without_answer": links.conversations(span, agent=agent, outcome="none"),
            "conversations_with_problem": links.conversations(
                span, links.PROBLEM, agent=agent, problem="any"
            ),
        }
        for name, link in told.items():
            assert int(row[name]) == listed(support_client, link), (row, name)
        within = f"created_at >= '{row['from']}' AND created_at < '{row['until']}'"
        of_agent = f"session_id IN (SELECT id FROM sessions WHERE agent_id = '{agent}')"
        begun = f"run.created_at >= '{row['from']}' AND run.created_at < '{row['until']}'"
        [people] = run_sql(
            "SELECT count(DISTINCT external_id) FROM sessions AS s"
            f" WHERE agent_id = '{agent}' AND external_id NOT LIKE 'eval:%' AND ("
            f" EXISTS (SELECT FROM chat_messages m WHERE m.session_id = s.id AND {within})"
            f" OR EXISTS (SELECT FROM runs r WHERE r.session_id = s.id AND {within}))"
        )[0]
        assert row["people"] == str(people)
        [messages] = run_sql(f"SELECT count(*) FROM chat_messages WHERE {within} AND {of_agent}")[0]
        assert row["messages"] == str(messages)
        [begun] = run_sql(
            f"SELECT count(*) FROM {runs_sql()} WHERE {begun} AND agent_id = '{agent}'"
        )[0]
        assert row["runs"] == str(begun)
        calls = run_sql(
            f"SELECT count(*) FROM model_call_stats WHERE {within} AND agent_id = '{agent}'"
        )[0]
        assert row["model_calls"] == str(calls[0])


def test_weeks_and_months_are_those_of_the_calendar_and_end_with_the_figures():
    with timezone.override("Europe/Tallinn"):
        # Thursday, after the clocks have gone back on Sunday the 25th.
        span = periods.Span(
            periods.day_start(date(2026, 10, 15)), datetime(2026, 10, 29, 9, 15, tzinfo=UTC)
        )
        weeks = [(timezone.localtime(each.since), each.until) for each in buckets("week", span)]
        assert [f"{since:%a %d %H:%M}" for since, _ in weeks] == [
            "Thu 15 00:00", "Mon 19 00:00", "Mon 26 00:00",
        ]  # fmt: skip
        assert [until for _, until in weeks] == [
            datetime(2026, 10, 18, 21, tzinfo=UTC),
            datetime(2026, 10, 25, 22, tzinfo=UTC),
            span.until,
        ]
        days = Counter(each.until - each.since for each in buckets("day", span))
        assert days[timedelta(hours=25)] == 1
        [month] = buckets("month", span)
        assert month == span


def test_it_ends_with_the_last_full_quarter(support_client):
    session = make_session(make_agent("Shop"), external_id="ann")
    make_message(session, created_at=last_quarter() - timedelta(minutes=1))
    roll_up()
    [row] = rows(support_client, tz="UTC", period="last-2-days")
    assert row["until"] == in_iso(min(last_quarter(), figures.known().until))
    assert (row["agent"], row["conversations"], row["people"]) == ("Shop", "1", "1")
    assert rows(support_client, period="last-year") == []


def test_a_limited_user_gets_only_their_agents(client, support_client):
    mine, other = make_agent("Mine"), make_agent("Other")
    for agent in (mine, other):
        at = last_quarter() - timedelta(minutes=5)
        make_run(make_session(agent, updated_at=at), created_at=at)
    make_model_call(created_at=last_quarter() - timedelta(minutes=5))
    roll_up()
    assert {row["agent"] for row in rows(support_client)} == {"Mine", "Other", ""}
    limited = let_in_limited(client, "Support", [str(mine.id)])
    assert {row["agent"] for row in rows(limited)} == {"Mine"}
    refused = download(limited, agent=str(other.id))
    assert refused.status_code == 400
    assert "There is no such agent." in text(refused)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"by": "hour"}, "By: Select a valid choice"),
        ({"period": "lately"}, "Period: Enter a period like last-7-days"),
        ({"period": "today", "active_from": "today"}, "Period: Give a period or dates, not both."),
        ({"active_from": "2026-11-01T12:00"}, "Active from: A summary has whole days"),
        ({"active_from": "today", "active_until": "yesterday"}, "The end is before the start."),
        ({"active_from": "1-1-1"}, "Active from: Enter a date like"),
        ({"active_from": "0001-01-01"}, "ask for fewer"),
        ({"active_until": "0001-01-15"}, "The calendar has no such days."),
        (
            {"active_from": "0001-01-01T00:00Z", "tz": "America/New_York"},
            "The calendar has no such days.",
        ),
        ({"agent": "nobody"}, "Agent: "),
        ({"tz": "Mars"}, "There is no time zone called “Mars”."),
        ({"separator": "pipe"}, "Separator: "),
        ({"search": "x"}, "There is no filter called “search”."),
        ({"active_from": "2020-01-01", "by": "month", "tz": "Asia/Tokyo"}, "with tz=UTC"),
    ],
)
def test_bad_input_says_what_is_wrong(support_client, query, words):
    roll_up()
    response = download(support_client, **query)
    assert response.status_code == 400
    assert words in text(response)
    with pytest.raises((CommandError, TypeError)):
        call_command("export_summaries", **query, output="/nowhere/file")


def test_days_that_are_kept_whole_are_read_in_utc(support_client, monkeypatch):
    at = quarters.day_of(timezone.now()) - timedelta(days=40)
    make_message(make_session(created_at=at, updated_at=at), created_at=at)
    monkeypatch.setattr(quarters, "KEPT", timedelta(days=30))
    roll_up()
    assert not Cell.objects.filter(grain="quarter").exists()
    day = f"{at:%Y-%m-%d}"
    [row] = rows(support_client, active_from=day, active_until=day, tz="UTC")
    assert (row["starts"], row["messages"]) == (day, "1")
    response = download(support_client, active_from=day, tz="Asia/Kolkata")
    assert response.status_code == 400


def test_without_figures_there_is_no_file(support_client):
    response = download(support_client)
    assert response.status_code == 503
    assert "manage.py rollup" in text(response)


def test_names_are_no_formulas_and_a_workbook_holds_them_too(support_client):
    at = last_quarter() - timedelta(minutes=5)
    make_message(make_session(make_agent("=1+1"), updated_at=at), created_at=at)
    roll_up()
    [row] = rows(support_client)
    assert row["agent"] == "'=1+1"
    workbook = download(support_client, "xlsx")
    assert workbook.status_code == 200
    sheet = zipfile.ZipFile(io.BytesIO(workbook.content)).read("xl/worksheets/sheet1.xml")
    assert b">=1+1<" in sheet
    assert b"<f>" not in sheet


def test_too_many_rows_are_refused(support_client, monkeypatch):
    for name in ("Shop", "Bank"):
        at = last_quarter() - timedelta(minutes=5)
        make_message(make_session(make_agent(name), updated_at=at), created_at=at)
    roll_up()
    monkeypatch.setattr(files, "MOST_ROWS", 1)
    response = download(support_client)
    assert response.status_code == 400
    assert "this one would have more" in text(response)


def test_a_summary_counts_as_an_export_while_it_is_made(support_client, settings):
    roll_up()
    settings.EXPORTS_AT_ONCE = 0
    assert download(support_client).status_code == 429
    with pytest.raises(CommandError, match="limit of exports"):
        call_command("export_summaries", output="/nowhere/file")


def test_a_workbook_with_too_many_rows_is_refused(support_client, settings):
    for name in ("Shop", "Bank"):
        at = last_quarter() - timedelta(minutes=5)
        make_message(make_session(make_agent(name), updated_at=at), created_at=at)
    roll_up()
    settings.XLSX_MAX_ROWS = 1
    response = download(support_client, "xlsx")
    assert response.status_code == 400
    assert "Too many rows for an XLSX file" in text(response)
    assert download(support_client).status_code == 200


def test_the_command_writes_the_same_file_and_both_are_told(support_client, tmp_path):
    at = last_quarter() - timedelta(minutes=5)
    make_message(make_session(make_agent("Shop"), updated_at=at), created_at=at)
    roll_up()
    path = tmp_path / "week.csv"
    call_command("export_summaries", by="week", period="last-14-days", tz="UTC", output=str(path))
    asked = {"by": "week", "period": "last-14-days", "tz": "UTC"}
    assert path.read_bytes() == download(support_client, **asked).content
    entries = Entry.objects.filter(details__file="summaries.csv")
    assert {entry.details["rows"] for entry in entries} == {1}
    assert entries.count() == 2


def test_it_asks_a_bounded_number_of_statements(support_client):
    for name in ("Shop", "Bank", "Pub"):
        at = last_quarter() - timedelta(minutes=5)
        make_message(make_session(make_agent(name), updated_at=at), created_at=at)
    roll_up()
    counted = []
    for period in ("today", "last-10-days"):
        before = len(connections["default"].queries_log)
        connections["default"].force_debug_cursor = True
        rows(support_client, period=period, tz="UTC")
        counted.append(len(connections["default"].queries_log) - before)
        connections["default"].force_debug_cursor = False
    # Conversations are counted for ten days at once, and sums are read day by day.
    assert counted[1] - counted[0] <= 2 * 9
