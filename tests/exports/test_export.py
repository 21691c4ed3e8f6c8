"""The contents of exported files."""

import csv
import io
import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.conf import settings
from django.db import connections
from django.http import QueryDict
from django.utils import timezone

from conversations.exports.files import export_file
from conversations.exports.lines import Kind
from conversations.models import Session
from conversations.selection.filters import ConversationFilter
from conversations.sessions import get_session_details, get_sessions_summary

from ..support.exports import FORMULA, export, ids, original, read_csv, read_jsonl, rows
from ..support.factories import (
    NULL,
    Json,
    make_agent,
    make_conversation,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)

pytestmark = pytest.mark.django_db
FORMS = ("csv", "jsonl")
FILES = ("conversations", "messages", "tasks")
COLUMNS = {
    "conversations": [
        *("session_id", "agent_id", "agent_name", "external_id", "runs_count", "tasks_count"),
        *("messages_count", "first_message", "last_message", "errors_count", "created_at"),
        *("updated_at", "status", "outcome", "problems", "failed", "interrupted", "incomplete"),
        *("model_error", "tool_error", "task_error", "model_calls_count", "tokens_count"),
        *("seconds", "link", "cost", "created_on"),
    ],
    "messages": [
        *("id", "session_id", "agent_id", "agent_name", "external_id", "run_id", "role"),
        *("content", "created_at", "updated_at", "created_on"),
    ],
    "tasks": [
        *("id", "session_id", "agent_id", "agent_name", "external_id", "run_id", "seq"),
        *("parent_task_name", "name", "node_type", "tool_uri", "duration_seconds", "errors"),
        *("created_at", "updated_at", "created_on"),
    ],
}
PAYLOADS = ["inputs", "output", "prompt"]
FORMULAS = [
    *("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠x", "="),
    *("'=1", "''+1", "'''-", "=cmd|' /C calc'!A0", '=HYPERLINK("http://evil.example","a")'),
]
HARMLESS = [
    *("plain", "'quoted'", "'", "''", "a=1", " =1", ";=1", 'say "hi", ok', '"', ",", "a\nb"),
    *("a\r\nb", "a\rb", "trailing \n", "\\.", "\\N", "NULL", "null", "\x01\x02\x03", "\x7f"),
    *("é😀", "\u202egnp.exe", "\ufeff=1", "\u2028", "100% %s %%", "{}", "a\\nb", "x" * 100_000),
    *("a,=1", 'a,"=1', 'a",\'+1,"', "a,\n-1", "…,'=,\""),
]
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def copied(file) -> bytes:
    with (
        connections["agents"].cursor() as cursor,
        cursor.cursor.copy(file.statement, file.params) as copy,
    ):
        return file.head + b"".join(map(file.line, copy))


def test_the_columns_have_the_contracts_names(support_client):
    make_conversation()
    for name, columns in COLUMNS.items():
        assert list(rows(support_client, f"{name}.csv")[0]) == columns
        assert list(rows(support_client, f"{name}.jsonl")[0]) == columns
    for form in FORMS:
        assert list(rows(support_client, f"tasks.{form}", payloads="1")[0]) == [
            *COLUMNS["tasks"][:-1],
            *PAYLOADS,
            "created_on",
        ]


def test_docs_name_every_column():
    page = (settings.BASE_DIR / "docs/export.md").read_text()
    for name, columns in COLUMNS.items():
        [told] = re.findall(rf"^\| `{name}` \| (.*?) \|$", page, re.MULTILINE)
        more = PAYLOADS if name == "tasks" else []
        expected = [*columns[:-1], *more, columns[-1]]
        assert re.findall(r"`(\w+)`", told.replace("`payloads=1`", "")) == expected


def test_a_conversations_row_is_the_contracts_summary_and_more(support_client):
    session = make_conversation(
        messages=3, runs=2, tasks=2, agent=make_agent("Shop"), external_id="ticket-7"
    )
    run = make_run(session, output_data=None)
    make_task(run, session, node_type="tool_call", output=Json({"result": "Error: gone"}))
    make_task(run, session, errors=Json(["boom"]))
    make_model_call(session, run, total_tokens=120, response_code=500)
    make_model_call(session, run, total_tokens=3)
    [row] = rows(support_client)
    [same] = rows(support_client, "conversations.jsonl")
    [expected] = get_sessions_summary()["sessions"]
    for name, value in vars(expected).items():
        if isinstance(value, datetime):
            assert datetime.fromisoformat(row[name]) == value
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", row[name])
            assert same[name] == row[name]
        else:
            assert row[name] == str(value)
            assert same[name] == (str(value) if isinstance(value, uuid.UUID) else value)
    state = {"status": "failed", "outcome": "none", "model_calls_count": 2, "tokens_count": 123}
    link = f"http://testserver/conversations/{session.id}/"
    assert {name: same[name] for name in state} == state
    assert {name: row[name] for name in state} == {k: str(v) for k, v in state.items()}
    assert row["link"] == same["link"] == link
    assert row["problems"] == "failed:1 model_error:1 tool_error:1 task_error:1"
    kinds = ["failed", "model_error", "tool_error", "task_error"]
    assert same["problems"] == dict.fromkeys(kinds, 1)
    assert [row[kind] for kind in kinds] == ["1"] * 4
    assert [same[kind] for kind in kinds] == [1] * 4
    assert (row["interrupted"], same["interrupted"]) == ("0", 0)
    assert (row["incomplete"], same["incomplete"]) == ("", None)


def test_a_conversation_without_anything_is_a_row_too(support_client):
    make_session()
    [row] = rows(support_client)
    [same] = rows(support_client, "conversations.jsonl")
    numbers = ("runs_count", "tasks_count", "messages_count", "errors_count", "tokens_count")
    assert [row[name] for name in numbers] == ["0"] * 5
    assert [same[name] for name in numbers] == [0] * 5
    for name in ("external_id", "first_message", "last_message", "status", "outcome", "problems"):
        assert row[name] == ""
    assert same["first_message"] is same["last_message"] is same["status"] is None
    assert same["outcome"] is None
    assert same["problems"] == {}


def test_seconds_are_those_of_all_runs(support_client):
    session = make_session()
    for seconds in ("1.25", "2.5", None, "NaN", "Infinity", "-Infinity", "0"):
        make_run(session, duration_seconds=seconds)
    assert rows(support_client)[0]["seconds"] == "3.75"
    assert rows(support_client, "conversations.jsonl")[0]["seconds"] == 3.75


def test_seconds_are_rounded_to_microseconds(support_client):
    make_run(make_session(), duration_seconds="6.54668700000000036709479908030")
    assert rows(support_client)[0]["seconds"] == "6.546687"


def test_unknown_seconds_are_none(support_client):
    make_run(make_session(), duration_seconds=None)
    make_session()
    assert [row["seconds"] for row in rows(support_client)] == ["", ""]
    found = rows(support_client, "conversations.jsonl")
    assert [row["seconds"] for row in found] == [None, None]


@pytest.mark.parametrize(
    ("zone", "day"),
    [("UTC", "2026-05-31"), ("Asia/Kathmandu", "2026-06-01"), ("America/Lima", "2026-05-31")],
)
@pytest.mark.parametrize("is_masked", [False, True])
def test_a_row_has_its_day_in_the_readers_zone(support_client, zone, day, is_masked):
    session = make_session(created_at=datetime(2026, 5, 31, 18, 30, tzinfo=UTC))
    make_message(session, created_at=session.created_at)
    make_task(make_run(session), session, created_at=session.created_at)
    support_client.cookies["timezone"] = zone
    for name in FILES:
        for form in FORMS:
            if is_masked:
                with timezone.override(zone):
                    data = changed(name, form, lambda column, text: text)
                [row] = (read_csv if form == "csv" else read_jsonl)(data)
            else:
                [row] = rows(support_client, f"{name}.{form}")
            assert row["created_on"] == day


def test_the_day_is_that_of_the_offset_then(support_client):
    support_client.cookies["timezone"] = "Europe/Tallinn"
    times = {
        datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC): "2026-03-29",
        datetime(2026, 10, 24, 20, 59, 59, tzinfo=UTC): "2026-10-24",
        datetime(2026, 10, 24, 21, 0, tzinfo=UTC): "2026-10-25",
        datetime(2026, 10, 25, 21, 59, 59, tzinfo=UTC): "2026-10-25",
        datetime(2026, 10, 25, 22, 0, tzinfo=UTC): "2026-10-26",
    }
    for moment in times:
        make_session(created_at=moment, updated_at=moment)
    found = [row["created_on"] for row in rows(support_client)]
    assert sorted(found) == sorted(times.values())


@pytest.mark.parametrize("moment", ["infinity", "-infinity"])
def test_an_infinite_day_is_written_by_name(support_client, moment):
    make_session(created_at=moment)
    assert rows(support_client)[0]["created_on"] == moment
    assert rows(support_client, "conversations.jsonl")[0]["created_on"] == moment


def test_cost_is_the_same_as_on_pages(support_client):
    priced, free, unknown = (make_session() for _ in range(3))
    for _ in range(2):
        make_model_call(
            priced, model="gpt-4o-mini", prompt_tokens=1_000_000, completion_tokens=100_000,
            total_tokens=1_100_000,
        )  # fmt: skip
    make_model_call(unknown, model="nobody's \u2028\u0001", total_tokens=5)
    expected = {str(priced.id): 0.42, str(free.id): 0, str(unknown.id): None}
    found = {row["session_id"]: row["cost"] for row in rows(support_client, "conversations.jsonl")}
    assert found == expected
    with_text = {key: "" if cost is None else f"{cost:.6f}" for key, cost in expected.items()}
    for data in (
        export(support_client),
        changed("conversations", "csv", lambda column, text: text),
    ):
        assert {row["session_id"]: row["cost"] for row in read_csv(data)} == with_text
    masked = read_jsonl(changed("conversations", "jsonl", lambda column, text: text))
    assert {row["session_id"]: row["cost"] for row in masked} == expected
    found = rows(support_client, "conversations.xlsx")
    assert {row["session_id"]: row["cost"] for row in found} == expected


def test_cost_is_not_rounded_in_files(support_client):
    make_model_call(
        make_session(), model="gemini/gemini-2.5-flash", prompt_tokens=949, completion_tokens=53,
        total_tokens=1002, reasoning_tokens=1939,
    )  # fmt: skip
    assert rows(support_client)[0]["cost"] == "0.0052647"
    for form in ("xlsx", "jsonl"):
        assert rows(support_client, f"conversations.{form}")[0]["cost"] == 0.0052647


def test_cost_is_unknown_without_a_price_list(support_client, monkeypatch):
    monkeypatch.setattr("conversations.prices.genai_prices", None)
    make_model_call(make_session(), model="gpt-4o-mini", total_tokens=5)
    assert rows(support_client)[0]["cost"] == ""
    assert rows(support_client, "conversations.jsonl")[0]["cost"] is None


# As people read it


@pytest.mark.parametrize("is_masked", [False, True])
def test_csv_has_what_agents_said_as_people_read_it_and_json_lines_as_it_is(
    support_client, is_masked
):
    stored = '{"state": "t\\u00fchistatud, \\"jah\\""}'
    read = '{"state": "tühistatud, \\"jah\\""}'
    session = make_session(external_id="=1\\u00fc")
    make_message(session, "user", '{"a": "\\u00fc"}')
    make_message(session, "assistant", stored)

    def found(file):
        if not is_masked:
            return rows(support_client, file)
        name, form = file.split(".")
        data = changed(name, form, lambda column, text: text)
        return (read_csv if form == "csv" else read_jsonl)(data)

    [row] = found("conversations.csv")
    assert row["last_message"] == read
    assert row["first_message"] == '{"a": "ü"}'
    assert row["external_id"] == "'=1\\u00fc"
    contents = [row["content"] for row in found("messages.csv")]
    assert contents == ['{"a": "\\u00fc"}', read]
    assert found("conversations.jsonl")[0]["last_message"] == stored
    assert found("messages.jsonl")[1]["content"] == stored


@pytest.mark.parametrize("role", ["user", "assistant", "support", ""])
def test_messages_of_several_parts_are_read_as_the_pages_read_them(support_client, role):
    stored = '[{"type": "text", "text": "=1+1, \\"jah\\""}, {"type": "image_url", "image_url": {}}]'
    session = make_session()
    make_message(session, role, stored)
    read = '=1+1, "jah"\n[1 image]'
    assert rows(support_client, "messages.xlsx")[0]["content"] == read
    assert rows(support_client, "conversations.xlsx")[0]["first_message"] == read
    for separator in ("comma", "tab"):
        data = export(support_client, "messages.csv", separator=separator)
        assert f"'{read}".replace('"', '""') in data.decode()
    assert f"'{read}" in rows(support_client)[0]["first_message"]
    data = changed("messages", "csv", lambda column, text: text)
    assert read_csv(data)[0]["content"] == f"'{read}"
    assert rows(support_client, "messages.jsonl")[0]["content"] == stored


# Separators


@pytest.mark.parametrize("separator", ["comma", "semicolon", "tab"])
@pytest.mark.parametrize("is_masked", [False, True])
def test_every_text_comes_back_with_every_separator(support_client, separator, is_masked):
    texts = [*FORMULAS, *HARMLESS, "", ";", "a;=1", "\t", "a\t=1", 'a\t"=1', "a;\t,'+1"]
    for text in texts:
        session = make_session(make_agent(text), external_id=text)
        make_message(session, text, text)
        make_task(make_run(session), session, text, errors=Json([text]))
    letter = {"comma": ",", "semicolon": ";", "tab": "\t"}[separator]
    named = {
        "conversations": ["agent_name", "external_id", "first_message"],
        "messages": ["role", "content"],
        "tasks": ["name"],
    }
    for name, columns in named.items():
        if is_masked:
            data = changed(name, "csv", lambda column, text: text, separator=separator)
        else:
            data = export(support_client, f"{name}.csv", separator=separator)
        head, *found = csv.reader(
            io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=letter, strict=True
        )
        assert head == COLUMNS[name]
        found = [dict(zip(head, row, strict=True)) for row in found]
        for column in columns:
            assert [original(row[column]) for row in found] == texts[::-1]
            assert not [row[column] for row in found if FORMULA.match(row[column])]


def test_messages_and_tasks_are_those_of_the_contract_in_its_order(support_client):
    older = make_conversation(messages=4, runs=2, tasks=3, updated_at=NOON)
    newer = make_conversation(messages=3, runs=1, tasks=2, external_id="t")
    make_message(newer, role="tool", content="loose")
    details = [get_session_details(session.id) for session in (newer, older)]
    for name in ("messages", "tasks"):
        expected = [row for each in details for row in getattr(each, name)]
        for form in FORMS:
            found = rows(support_client, f"{name}.{form}")
            assert [row["id"] for row in found] == [str(row.id) for row in expected]
            assert [row["session_id"] for row in found] == [str(r.session_id) for r in expected]
            assert [row["run_id"] or "" for row in found] == [
                str(row.run_id or "") for row in expected
            ]
    first = rows(support_client, "messages.jsonl")[0]
    assert (first["content"], first["role"], first["external_id"]) == ("Message 0", "user", "t")
    task = rows(support_client, "tasks.jsonl")[0]
    assert (task["seq"], task["duration_seconds"], task["errors"]) == (0, 0.5, None)


def test_the_name_is_of_the_agent_that_the_row_names(support_client):
    session = make_session(make_agent("Shop"))
    run = make_run(session)
    other = make_agent("Bank")
    make_message(SimpleNamespace(id=session.id, agent_id=other.id))
    make_task(run, SimpleNamespace(id=session.id, agent_id=None))
    assert rows(support_client, "messages.csv")[0]["agent_name"] == "Bank"
    assert rows(support_client, "tasks.jsonl")[0]["agent_name"] is None


def test_conversations_are_in_the_lists_order(support_client):
    sessions = [make_session(updated_at=NOON + timedelta(hours=n // 2)) for n in range(6)]
    newest_first = sorted(sessions, key=lambda each: (each.updated_at, each.id), reverse=True)
    assert ids(support_client) == [str(each.id) for each in newest_first]


# Strangers' words


def test_every_text_comes_back_and_none_is_a_formula(support_client):
    texts = FORMULAS + HARMLESS + [""]
    for text in texts:
        session = make_session(make_agent(text), external_id=text)
        run = make_run(session)
        make_message(session, text, text, run_id=run.id)
        make_task(run, session, text, text, prompt=text, parent_task_name=text, tool_uri=text)
    named = {
        "conversations": ["agent_name", "external_id", "first_message", "last_message"],
        "messages": ["agent_name", "external_id", "role", "content"],
        "tasks": ["name", "node_type", "parent_task_name", "tool_uri", "prompt", "agent_name"],
    }
    for name, columns in named.items():
        more = {"payloads": "1"} if name == "tasks" else {}
        found = rows(support_client, f"{name}.csv", **more)
        same = rows(support_client, f"{name}.jsonl", **more)
        for column in columns:
            cells = [row[column] for row in found]
            assert [original(cell) for cell in cells] == texts[::-1], column
            assert [row[column] for row in same] == texts[::-1], column
            assert not [cell for cell in cells if FORMULA.match(cell)]
            # No other cell has changed.
            assert [cell for cell in cells if cell not in texts] == [
                f"'{text}" for text in texts[::-1] if text in FORMULAS and f"'{text}" not in texts
            ]


@pytest.mark.parametrize("ending", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r", "\n"])
@pytest.mark.parametrize("is_changed", [False, True])
def test_every_reader_of_lines_finds_the_same_lines(support_client, ending, is_changed):
    text = f"one{ending}two"
    session = make_session(make_agent(text), external_id=text)
    make_message(session, text, text)
    make_task(make_run(session), session, text, errors=Json({text: [text]}), inputs=Json(text))
    for name in FILES:
        more = {"payloads": True} if name == "tasks" else {}
        if is_changed:
            data = changed(name, "jsonl", lambda column, text: text, **more)
        else:
            data = export(support_client, f"{name}.jsonl", **dict.fromkeys(more, "1"))
        [line] = data.decode().splitlines()
        row = json.loads(line)
        assert row["external_id"] == row["agent_name"] == text
        if name == "tasks":
            assert (row["errors"], row["inputs"]) == ({text: [text]}, text)


def test_an_empty_text_and_none_differ(support_client):
    for external_id in (None, ""):
        make_session(external_id=external_id)
    lines = export(support_client).decode().splitlines()[1:]
    assert [line.split(",")[3] for line in lines] == ['""', ""]
    found = rows(support_client, "conversations.jsonl")
    assert [row["external_id"] for row in found] == ["", None]


def test_our_own_numbers_and_times_keep_their_signs(support_client):
    session = make_session()
    make_task(make_run(session), session, duration_seconds="-1.50", seq=-3)
    [row] = rows(support_client, "tasks.csv")
    assert (row["duration_seconds"], row["seq"]) == ("-1.50", "-3")


def test_errors_and_payloads_are_json(support_client):
    session = make_session()
    run = make_run(session)
    values = [["a", {"b": 1.5}], "=x", -5, {}, [], False, {"deep": [[None]]}]
    for value in values:
        make_task(run, session, errors=Json(value), inputs=Json(value), output=Json(value))
    make_task(run, session, errors=NULL, inputs=None, output=NULL)
    found = rows(support_client, "tasks.jsonl", payloads="1")
    for column in ("errors", "inputs", "output"):
        assert [row[column] for row in found] == [*values, None]
    cells = [row["errors"] for row in rows(support_client, "tasks.csv")]
    assert cells == [
        *('["a", {"b": 1.5}]', '"=x"', "'-5", "{}", "[]", "false", '{"deep": [[null]]}', "")
    ]


def test_payloads_too_deep_for_parsers_are_passed_on_unchanged(support_client):
    session = make_session()
    deep = "[" * 5000 + "]" * 5000
    make_task(make_run(session), session, inputs=deep)
    for form in FORMS:
        assert deep.encode() in export(support_client, f"tasks.{form}", payloads="1")


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_a_duration_that_is_not_a_number_is_none(support_client, value):
    session = make_session()
    make_task(make_run(session), session, duration_seconds=value)
    assert rows(support_client, "tasks.csv")[0]["duration_seconds"] == ""
    assert rows(support_client, "tasks.jsonl")[0]["duration_seconds"] is None


def test_an_infinite_time_is_written_by_name(support_client):
    make_session(updated_at="infinity")
    assert rows(support_client)[0]["updated_at"] == "infinity"


def test_times_do_not_depend_on_the_readers_zone(support_client):
    make_session(created_at=NOON)
    before = export(support_client)
    support_client.cookies["timezone"] = "Asia/Tokyo"
    assert export(support_client) == before
    assert b"2026-06-01T12:00:00.000000+00:00" in before


# Revisions, and what cannot match


@pytest.mark.parametrize("number", ["0002", "0003", "0004", "0005", "0006"])
def test_the_files_have_the_same_columns_at_every_revision(support_client, at_revision, number):
    session = make_conversation(runs=1, tasks=2)
    make_model_call(session, total_tokens=5)
    at_revision(number)
    for name, columns in COLUMNS.items():
        for form in FORMS:
            found = rows(support_client, f"{name}.{form}")
            assert {tuple(row) for row in found} == {tuple(columns)}
            assert len(found) == (1 if name == "conversations" else 2)
    [row] = rows(support_client, "conversations.jsonl")
    assert row["tokens_count"] == (5 if number >= "0005" else None)
    if number < "0005":
        assert row["cost"] is None
    assert rows(support_client, "tasks.jsonl")[1]["seq"] == (1 if number >= "0004" else None)


def test_a_file_without_rows_has_its_first_line(support_client):
    make_conversation()
    for query in ({"search": "nowhere"}, {"agent": str(make_agent().id)}):
        for name, columns in COLUMNS.items():
            data = export(support_client, f"{name}.csv", **query)
            assert data.decode("utf-8-sig") == ",".join(columns) + "\r\n"
            assert export(support_client, f"{name}.jsonl", **query) == b""


def test_unstorable_text_matches_nothing():
    filters = ConversationFilter(QueryDict(), queryset=Session.objects.none())
    file = export_file("messages", "csv", filters.matching, site="http://x/")
    assert copied(file) == file.head


def test_links_keep_odd_letters_of_the_sites_address():
    session = make_session()
    filters = ConversationFilter(QueryDict(), queryset=Session.objects.all())
    site = "https://desk.example.com/it's/100%/"
    file = export_file("conversations", "jsonl", filters.matching, site=site)
    [row] = read_jsonl(copied(file))
    assert row["link"] == f"{site}{session.id}/"


# Rows that are changed on the way, for users who may not see them as they are


def changed(name, form, change, **options) -> bytes:
    filters = ConversationFilter(QueryDict(), queryset=Session.objects.all())
    file = export_file(
        name, form, filters.matching, site="http://testserver/conversations/", change=change,
        **options,
    )  # fmt: skip
    return copied(file)


@pytest.mark.parametrize("form", FORMS)
def test_rows_that_pass_unchanged_are_the_same(support_client, form):
    for text in [*FORMULAS, *HARMLESS, ""]:
        session = make_session(make_agent(text), external_id=text)
        run = make_run(session)
        make_message(session, text, text, run_id=run.id)
        make_message(session, "user", text)
        make_task(run, session, text, prompt=None, errors=Json([text, -1.50, None]))
        make_task(run, session, None, inputs=Json(-7), errors=NULL, duration_seconds="1.250")
    make_session()
    for name in FILES:
        more = {"payloads": True} if name == "tasks" else {}
        plain = export(support_client, f"{name}.{form}", **dict.fromkeys(more, "1"))
        passed = changed(name, form, lambda column, text: text, **more)
        if form == "csv":
            assert passed == plain
        else:
            assert read_jsonl(passed) == read_jsonl(plain)


def test_only_untrusted_texts_are_changed(support_client):
    session = make_conversation(external_id="e", messages=1, tasks=1)
    make_task(make_run(session), session, "n", prompt="p", errors=Json(["x"]))
    seen = {}

    def change(column, text):
        seen.setdefault(column.name, column.kind)
        return '["=hidden"]' if column.kind is Kind.JSON else "=hidden"

    for name in FILES:
        more = {"payloads": True} if name == "tasks" else {}
        found = read_csv(changed(name, "csv", change, **more))
        for row in found:
            for column, cell in row.items():
                if cell:
                    assert ("hidden" in cell) == (column in seen), column
                    assert not FORMULA.match(cell)
        for row in read_jsonl(changed(name, "jsonl", change, **more)):
            assert row.get("errors") in (None, ["=hidden"])
    assert set(seen) == {
        *("agent_name", "external_id", "first_message", "last_message", "role", "content"),
        *("name", "node_type", "errors", "prompt"),
    }
