"""The export of the page Model calls."""

from decimal import Decimal

import pytest

from audit.models import Act, Entry

from ..support.exports import read_csv, read_jsonl, read_xlsx
from ..support.factories import make_agent, make_model_call, make_run, make_session
from ..support.masking import EMAIL, masking_on
from ..support.pages import get, text
from ..support.tables import sql

pytestmark = pytest.mark.django_db
URL = "/model-calls/export/model-calls"


def exported(client, form="jsonl", query="") -> bytes:
    response = client.get(f"{URL}.{form}{query}")
    assert response.status_code == 200
    return b"".join(response)


def rows(client, query="") -> list[dict]:
    return read_jsonl(exported(client, query=query))


@pytest.fixture
def call():
    session = make_session(make_agent("Shop"), external_id="ticket-7")
    run = make_run(session)
    made = make_model_call(
        session,
        run,
        agent_id=session.agent_id,
        model="openai/gpt-4o",
        prompt_tokens=1_000,
        completion_tokens=100,
        duration_seconds="1.5",
    )
    made.session, made.run = session, run
    return made


def test_a_row_has_the_figures_of_a_call(support_client, call):
    [row] = rows(support_client)
    here = f"http://testserver/conversations/{call.session.id}/?run={call.run.id}#run-{call.run.id}"
    expected = {
        "id": str(call.id),
        "session_id": str(call.session.id),
        "agent_name": "Shop",
        "external_id": "ticket-7",
        "run_id": str(call.run.id),
        "call_type": "llm",
        "status": "ok",
        "response_code": 200,
        "tokens_count": 1_100,
        "prompt_tokens": 1_000,
        "duration_seconds": 1.5,
        "link": here,
    }
    assert {name: row[name] for name in expected} == expected
    assert Decimal(str(row["cost"])) == Decimal("0.0035")


def test_the_file_has_the_pages_filters_and_order(support_client, call):
    failed = [make_model_call(call.session, response_code=code) for code in (None, 500)]
    assert [row["id"] for row in rows(support_client, "?status=failed")] == [
        str(each.id) for each in failed[::-1]
    ]
    assert [row["status"] for row in rows(support_client)] == ["failed", "failed", "ok"]
    assert rows(support_client, "?model=nobody") == []


def test_of_a_deleted_conversation_the_figures_stay(support_client, call):
    sql("DELETE FROM sessions WHERE id = %s", [call.session.id])
    [row] = rows(support_client)
    assert (row["agent_name"], row["external_id"], row["link"]) == ("Shop", None, None)
    assert row["tokens_count"] == 1_100


def test_no_cell_is_a_formula_and_workbooks_open(support_client, call):
    make_model_call(call.session, model="=1+1", call_type="@x")
    [row, _] = read_csv(exported(support_client, "csv"))
    assert (row["model"], row["call_type"]) == ("'=1+1", "'@x")
    [row, other] = read_xlsx(exported(support_client, "xlsx"))
    assert (row["model"], other["tokens_count"]) == ("=1+1", 1_100)


def test_names_are_masked(support_client, call, settings):
    make_model_call(call.session, model=f"model of {EMAIL}")
    with masking_on(settings):
        for form in ("csv", "jsonl"):
            assert EMAIL not in exported(support_client, form).decode()


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("?status=odd", "Status: There is no such status."),
        ("?after=x", "A file cannot start at “after”."),
        ("?separator=pipe", "The separator must be comma, semicolon or tab."),
        ("?payloads=1", "There is no filter called “payloads”."),
    ],
)
def test_what_makes_no_sense_creates_no_file(support_client, query, why):
    assert why in text(get(support_client, f"{URL}.csv{query}", status=400))


def test_an_unknown_form_does_not_exist(support_client):
    get(support_client, f"{URL}.pdf", status=404)


def test_an_export_is_in_the_audit_log(support_client, call):
    exported(support_client, "csv", "?model=openai/gpt-4o")
    entry = Entry.objects.filter(act=Act.EXPORTED).earliest("pk")
    assert entry.details["file"] == "model-calls.csv"
    assert entry.details["query"] == "model=openai%2Fgpt-4o"
