"""The runtime's tables in the admin panel: what it shows, to whom, and with how many queries."""

import re
import uuid
from urllib.parse import quote

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission
from django.db import connections
from django.test.utils import CaptureQueriesContext

from audit.models import Act, Entry
from backoffice.admin import CappedPaginator
from conversations.admin.columns import CELL, SHOWN
from conversations.agentdb import revision
from conversations.models import PAYLOADS

from ..support.admin_panel import (
    EDITABLE,
    form_url,
    inputs,
    list_url,
    lone_call,
    make_rows,
    open_form,
)
from ..support.factories import (
    Json,
    insert,
    make_agent,
    make_message,
    make_model_call,
    make_run,
    make_session,
)
from ..support.listing import timed_out
from ..support.pages import text
from ..support.signing_in import let_in
from ..support.tables import TABLES
from ..support.trail import read

pytestmark = pytest.mark.django_db

LARGE = {column for _, _, columns in PAYLOADS.values() for column in columns} | {
    "input_schema",
    "output_schema",
    "workflow",
    "content",
    "description",
}
WORDS = ("payload-word", "prompt-word", "content-word")
every_table = pytest.mark.parametrize("model", TABLES)


def ask(client, url, **parameters):
    """(response, SQL sent to the agent database)"""
    with CaptureQueriesContext(connections["agents"]) as queries:
        response = client.get(url, parameters)
    return response, [query["sql"] for query in queries]


def found(client, model, term) -> set:
    response = client.get(list_url(model), {"q": term})
    assert response.status_code == 200
    return {row.pk for row in response.context["cl"].result_list}


def kind_of(model):
    return apps.get_model("conversations", model)


def links(response) -> set[str]:
    return set(re.findall(r'href="([^"]+)"', response.content.decode()))


# Lists


@every_table
def test_a_list_shows_each_row_with_a_link_to_its_conversation(admin_client, model):
    rows = make_rows()
    response = admin_client.get(list_url(model))
    row = getattr(rows, model)
    page = f"/conversations/{rows.session.id}/"
    wanted = {
        "agent": f"/conversations/?agent={row.id}",
        "run": f"{page}?run={row.id}",
        "chatmessage": f"{page}?m={row.id}",
    }
    assert {wanted.get(model, page), form_url(model, row.id)} <= links(response)


@every_table
def test_a_list_neither_shows_nor_reads_payloads(admin_client, model):
    make_rows()
    response, statements = ask(admin_client, list_url(model))
    for word in WORDS:
        assert word not in response.content.decode()
    for statement in statements:
        assert not set(re.findall(r'"(\w+)"', statement)) & LARGE


@every_table
def test_a_list_needs_the_same_queries_for_many_rows(admin_client, model):
    make_rows()
    # Facts about the tables are read once.
    admin_client.get(list_url(model))
    _, of_one = ask(admin_client, list_url(model))
    for _ in range(60):
        make_rows()
    response, of_many = ask(admin_client, list_url(model))
    assert len(response.context["cl"].result_list) == 50
    assert len(of_many) == len(of_one) == 2


@every_table
def test_no_more_rows_are_counted_than_the_list_pages_through(admin_client, model):
    make_rows()
    for parameters in ({}, {"q": "ticket"}, {"_facets": "True"}, {"all": ""}, {"p": "1"}):
        _, statements = ask(admin_client, list_url(model), **parameters)
        counts = [statement for statement in statements if "COUNT(" in statement]
        assert counts or "q" in parameters
        for statement in counts:
            assert f"LIMIT {CappedPaginator.most})" in statement


def test_a_capped_list_says_so_and_ends_there(admin_client, monkeypatch):
    monkeypatch.setattr(CappedPaginator, "most", 60)
    agent = make_agent()
    for _ in range(65):
        make_session(agent)
    response = admin_client.get(list_url("session"), {"p": 2})
    assert len(response.context["cl"].result_list) == 10
    assert "the first 60 conversations; search for others" in text(response)
    assert "60 results" not in text(response)
    beyond = admin_client.get(list_url("session"), {"p": 3})
    assert list(beyond.context["cl"].result_list) == list(response.context["cl"].result_list)


def test_a_short_list_says_how_many_rows_it_has(admin_client):
    make_rows()
    columns = "Id External id Agent Last activity Created at Conversation"
    assert columns.lower() in text(admin_client.get(list_url("session"))).lower()
    assert "1 conversation" in text(admin_client.get(list_url("session")))
    assert "the first" not in text(admin_client.get(list_url("session")))


def test_conversations_and_model_calls_come_newest_first_and_agents_by_name(admin_client):
    first, second = make_rows(), make_rows()
    insert("agents", name="Bank")
    for model in ("session", "modelcall"):
        rows = admin_client.get(list_url(model)).context["cl"].result_list
        assert [row.pk for row in rows] == [getattr(second, model).id, getattr(first, model).id]
    rows = admin_client.get(list_url("agent")).context["cl"].result_list
    assert [row.name for row in rows] == ["Bank", "Shop", "Shop"]


@every_table
def test_the_url_cannot_sort_or_filter_by_columns_without_an_index(admin_client, model):
    make_rows()
    # Facts about the tables are read once.
    admin_client.get(list_url(model))
    _, statements = ask(admin_client, list_url(model))
    _, sorted_ones = ask(admin_client, list_url(model), o="2.-1")
    assert sorted_ones == statements
    for parameter in ("content__icontains", "id__exact", "agent__name__regex", "nonsense"):
        assert admin_client.get(list_url(model), {parameter: "x"}).status_code == 400


@pytest.mark.thorough
@every_table
@pytest.mark.parametrize("query", ["p=x", "p=-1", "p=99999999999999999999", "e=1", "all=", "o=x"])
def test_an_odd_url_of_a_list_is_not_an_error(admin_client, model, query):
    make_rows()
    assert admin_client.get(f"{list_url(model)}?{query}").status_code == 200


def test_long_values_are_cut_in_lists(admin_client):
    make_session(make_agent("n" * 1000), external_id="e" * 1000)
    page = admin_client.get(list_url("session")).content.decode()
    assert "e" * CELL + "…" in page
    assert "n" * CELL + "…" in page
    assert "e" * (CELL + 1) not in page


# Search


@every_table
def test_a_row_is_found_by_its_id(admin_client, model):
    rows, _ = make_rows(), make_rows()
    row = getattr(rows, model)
    for term in (str(row.id), f" {row.id.hex.upper()} "):
        assert found(admin_client, model, term) == {row.id}


@pytest.mark.parametrize(
    ("model", "owners"),
    [
        ("session", ["agent"]),
        ("run", ["session"]),
        ("task", ["run", "session", "agent"]),
        ("chatmessage", ["run", "session", "agent"]),
        ("modelcall", ["run", "session", "agent"]),
    ],
)
def test_rows_are_found_by_the_id_of_their_owner(admin_client, model, owners):
    rows, _ = make_rows(), make_rows()
    for owner in owners:
        wanted = getattr(rows, model).id
        assert found(admin_client, model, getattr(rows, owner).id) == {wanted}, owner


@pytest.mark.parametrize("model", ["session", "run", "task", "chatmessage", "modelcall"])
def test_rows_are_found_by_the_external_id_of_their_conversation(admin_client, model):
    wanted, _ = make_rows(external_id="user@example.com"), make_rows(external_id="user@example")
    assert found(admin_client, model, "user@example.com") == {getattr(wanted, model).id}
    if model != "session":
        assert found(admin_client, model, "user@") == set()


def test_conversations_are_found_by_how_their_external_id_begins(admin_client):
    ids = {make_session(external_id=f"50%_{number}").id for number in range(3)}
    make_session(external_id="500_1")
    assert found(admin_client, "session", "50%_") == ids


def test_an_external_id_may_be_a_uuid(admin_client):
    wanted = make_session(external_id=str(uuid.uuid4()))
    assert found(admin_client, "session", wanted.external_id) == {wanted.id}


def test_agents_are_found_by_a_part_of_their_name(admin_client):
    wanted, _ = make_agent("The Café 100%"), make_agent("The Café 1000")
    assert found(admin_client, "agent", "café 100%") == {wanted.id}


def test_tasks_are_found_by_their_tool(admin_client):
    rows = make_rows()
    assert found(admin_client, "task", "python://shop/look_up") == {rows.task.id}
    assert found(admin_client, "task", "python://shop") == set()


def test_a_conversations_rows_are_listed_in_order(admin_client):
    session = make_session()
    made = [make_message(session).id for _ in range(8)]
    response = admin_client.get(list_url("chatmessage"), {"q": session.id})
    assert [row.pk for row in response.context["cl"].result_list] == made


@pytest.mark.thorough
@every_table
@pytest.mark.parametrize(
    "term", ["%00", "a%00b", "%ED%A0%80", "x" * 10_000, "%25%5F%5C", "{%7D", quote("ö" * 3000)]
)
def test_no_search_is_an_error(admin_client, model, term):
    make_rows()
    response = admin_client.get(f"{list_url(model)}?q={term}")
    assert response.status_code == 200
    if "%00" not in term:
        assert len(response.context["cl"].result_list) == 0


def test_a_search_is_in_the_audit_trail(admin_client):
    make_rows()
    admin_client.get(list_url("session"))
    assert not Entry.objects.filter(act=Act.SEARCHED).exists()
    admin_client.get(list_url("session"), {"q": "ticket ö"})
    entry = Entry.objects.get(act=Act.SEARCHED)
    assert read(entry.details) == {"table": "sessions", "query": "q=ticket ö", "shown": 0}


def test_a_search_that_takes_too_long_is_a_503_page(admin_client, monkeypatch):
    monkeypatch.setattr("conversations.querysets.SessionQuerySet.named", timed_out)
    admin_client.raise_request_exception = False
    response = admin_client.get(list_url("session"), {"q": "ticket"})
    assert response.status_code == 503
    assert b"That took too long" in response.content


# Forms

READ_ONLY = {
    "agent": {"id", "input_schema", "output_schema", "workflow", "created_at", "updated_at"},
    "session": {"id", "created_at", "updated_at"},
    "run": {
        "id",
        "session_id",
        "input_data",
        "output_data",
        "context",
        "duration_seconds",
        "created_at",
        "updated_at",
    },
    "task": {
        "id",
        "agent_id",
        "session_id",
        "run_id",
        "inputs",
        "output",
        "name",
        "node_type",
        "prompt",
        "errors",
        "duration_seconds",
        "seq",
        "parent_task_name",
        "tool_uri",
        "created_at",
        "updated_at",
    },
    "chatmessage": {"id", "agent_id", "session_id", "run_id", "created_at", "updated_at"},
    "modelcall": {
        "id",
        "call_type",
        "model",
        "agent_id",
        "session_id",
        "run_id",
        "request_data",
        "response_data",
        "response_code",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "batch_size",
        "duration_seconds",
        "cached_prompt_tokens",
        "reasoning_tokens",
        "created_at",
        "updated_at",
    },
}


def shown_lines(response) -> set[str]:
    """The names of the columns on a form."""
    return set(re.findall(r'class="form-row[^"]* field-(\w+)"', response.content.decode()))


@every_table
def test_every_column_is_on_the_form_and_only_some_can_be_edited(admin_client, model):
    rows = make_rows()
    response = admin_client.get(form_url(model, getattr(rows, model).id))
    editable = EDITABLE.get(model, set())
    assert set(inputs(response, model)) == (editable | {"fingerprint"} if editable else set())
    lines = shown_lines(response)
    assert READ_ONLY[model] | editable <= lines
    columns = {field.attname for field in kind_of(model)._meta.fields}
    assert columns <= lines | {f"{name}_id" for name in editable}
    assert (b'name="_save"' in response.content) == bool(editable)


@every_table
def test_a_form_shows_the_values_of_its_row(admin_client, model):
    rows = make_rows()
    said = admin_client.get(form_url(model, getattr(rows, model).id)).content.decode()
    values = {
        "agent": ["Shop", "Sells", "payload-word"],
        "session": ["ticket-7", str(rows.agent.id)],
        "run": ["payload-word", "1.5 s"],
        "task": ["look-up", "tool_call", "prompt-word", "python://shop/look_up", "answer", ">3<"],
        "chatmessage": ["user", "content-word"],
        "modelcall": ["some-model", ">200<", "payload-word"],
    }
    for value in values[model]:
        assert value in said


@every_table
def test_a_form_costs_the_same_few_queries_for_any_row(admin_client, model):
    rows = make_rows()
    pk = getattr(rows, model).id
    admin_client.get(form_url(model, pk))
    response, statements = ask(admin_client, form_url(model, pk))
    assert response.status_code == 200
    # One for the row, and for a conversation one for its agent's name.
    assert len(statements) == (2 if model == "session" else 1)


def test_a_payload_is_cut_by_the_database_and_links_to_the_whole(admin_client):
    session = make_session()
    run = make_run(session, input_data=Json("x" * 5_000))
    response, statements = ask(admin_client, form_url("run", run.id))
    page = response.content.decode()
    assert "x" * (SHOWN - 1) + "</textarea>" in page
    assert f"The first {SHOWN:,} of 5,002 characters." in page
    url = f"/conversations/{session.id}/runs/{run.id}/input_data/"
    assert url in links(response)
    assert admin_client.get(url).status_code == 200
    assert not any('"runs"."input_data",' in statement for statement in statements)


@pytest.mark.parametrize("model", ["run", "task", "modelcall"])
def test_every_payload_leads_to_its_page(admin_client, model):
    rows = make_rows()
    response = admin_client.get(form_url(model, getattr(rows, model).id))
    kind = {"run": "runs", "task": "tasks", "modelcall": "model-calls"}[model]
    for column in PAYLOADS[kind][2]:
        url = f"/conversations/{rows.session.id}/{kind}/{getattr(rows, model).id}/{column}/"
        assert url in links(response)
        assert admin_client.get(url).status_code == 200


def test_a_conversation_leads_to_its_rows_and_they_lead_back(admin_client):
    rows = make_rows()
    found = links(admin_client.get(form_url("session", rows.session.id)))
    for model in ("run", "task", "chatmessage", "modelcall"):
        assert f"{list_url(model)}?q={rows.session.id}" in found
        there = links(admin_client.get(form_url(model, getattr(rows, model).id)))
        assert form_url("session", rows.session.id) in there
        assert any(url.startswith(f"/conversations/{rows.session.id}/") for url in there)


def test_a_model_call_of_an_erased_conversation_can_be_seen(admin_client):
    for call in (lone_call(), lone_call(session_id=None)):
        assert admin_client.get(form_url("modelcall", call.id)).status_code == 200
    assert admin_client.get(list_url("modelcall")).status_code == 200


@every_table
@pytest.mark.parametrize("pk", [uuid.uuid4(), "x", "%00", "1", "x" * 5000])
def test_a_missing_row_is_a_404_page(admin_client, model, pk):
    url = form_url(model, "PK").replace("PK", str(pk))
    for address in (url, url.replace("/change/", "/history/")):
        response = admin_client.get(address)
        assert response.status_code == 404
        assert b"Nothing at this address" in response.content


HOSTILE = "</textarea><script>alert(1)</script>\u202e\x01{{ 7 }}"


def test_untrusted_text_stays_text(admin_client):
    agent = make_agent(HOSTILE, description=HOSTILE, workflow=Json({HOSTILE: HOSTILE}))
    session = make_session(agent, external_id=HOSTILE)
    message = make_message(session, HOSTILE, HOSTILE)
    pages = [list_url(model) for model in TABLES]
    pages += [form_url("agent", agent.id), form_url("session", session.id)]
    pages += [form_url("chatmessage", message.id), f"{list_url('session')}?q={quote(HOSTILE)}"]
    for page in pages:
        response = admin_client.get(page)
        assert response.status_code == 200
        assert b"<script>alert" not in response.content, page
    assert open_form(admin_client, "chatmessage", message.id)["content"] == HOSTILE


@every_table
@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_times_at_the_ends_of_the_calendar_are_not_an_error(admin_client, model, zone):
    rows = make_rows()
    admin_client.cookies["timezone"] = zone
    with connections["agents_write"].cursor() as cursor:
        cursor.execute(
            f"UPDATE {TABLES[model]} SET created_at = '-infinity', updated_at = 'infinity'"
        )
    assert admin_client.get(list_url(model)).status_code == 200
    assert admin_client.get(form_url(model, getattr(rows, model).id)).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("number", ["0002", "0003", "0004", "0005"])
def test_a_column_that_the_database_lacks_is_not_shown(admin_client, at_revision, number):
    rows = make_rows()
    at_revision(number)
    for model in TABLES:
        response = admin_client.get(list_url(model))
        assert response.status_code == 200
        missing = set(revision.missing_fields(kind_of(model)))
        assert not missing & set(re.findall(r"column-(\w+)", response.content.decode()))
        response = admin_client.get(form_url(model, getattr(rows, model).id))
        assert response.status_code == 200
        assert not missing & shown_lines(response)
        for term in (rows.session.id, rows.run.id, "ticket-7", "python://shop/look_up"):
            assert admin_client.get(list_url(model), {"q": term}).status_code == 200


# Rights


@pytest.fixture
def clerk(client, django_user_model):
    """A client whose account may use the panel, and a function that grants it permissions."""
    user = django_user_model.objects.create_user("clerk")

    def allow(*codenames):
        ours = Permission.objects.exclude(content_type__app_label="sessions")
        wanted = ours.filter(codename__in=codenames)
        assert wanted.count() == len(codenames)
        user.user_permissions.set(wanted)
        return client

    allow("use_admin")
    let_in(client, user)
    return allow


@pytest.mark.thorough
@every_table
def test_each_permission_opens_what_it_names(clerk, model):
    rows = make_rows()
    pk = getattr(rows, model).id
    pages = {
        "list": list_url(model),
        "form": form_url(model, pk),
        "history": form_url(model, pk).replace("change", "history"),
    }
    others = [other for other in TABLES if other != model]
    for right, status in ((None, 403), ("view", 200), ("change", 200), ("delete", 403)):
        client = clerk("use_admin", *([f"{right}_{model}"] if right else []))
        for name, page in pages.items():
            assert client.get(page).status_code == status, (right, name)
        for other in others:
            assert client.get(list_url(other)).status_code == 403
            assert client.get(form_url(other, getattr(rows, other).id)).status_code == 403
        for address in ("add/", f"{pk}/delete/"):
            assert client.get(list_url(model) + address).status_code == 403
            assert client.post(list_url(model) + address, {"post": "yes"}).status_code == 403
        if status == 200:
            may_edit = right == "change" and model in EDITABLE
            response = client.get(pages["form"])
            assert bool(inputs(response, model)) == may_edit
            assert ('name="_save"' in response.content.decode()) == may_edit
        if not (right == "change" and model in EDITABLE):
            assert client.post(pages["form"], {"name": "x", "role": "x"}).status_code == 403
    # Without the permission for the panel, the others open nothing.
    client = clerk(f"view_{model}", f"change_{model}", f"delete_{model}")
    for page in pages.values():
        assert client.get(page, follow=True).status_code == 403


@every_table
def test_nobody_can_add_or_delete_rows_here(admin_client, model):
    rows = make_rows()
    pk = getattr(rows, model).id
    page = admin_client.get(list_url(model)).content.decode()
    assert "add/" not in links(admin_client.get(list_url(model)))
    assert 'name="action"' not in page
    action = {"action": "delete_selected", "_selected_action": [str(pk)], "post": "yes"}
    admin_client.post(list_url(model), action)
    assert admin_client.post(f"{list_url(model)}{pk}/delete/", {"post": "yes"}).status_code == 403
    assert admin_client.post(f"{list_url(model)}add/", {"name": "x"}).status_code == 403
    as_new = {"name": "New", "_saveasnew": "1"}
    assert admin_client.post(form_url(model, pk), as_new).status_code == 403
    with connections["agents"].cursor() as cursor:
        cursor.execute(f"SELECT id FROM {TABLES[model]}")
        assert cursor.fetchall() == [(pk,)]


def test_only_admins_get_a_link_from_a_conversation_to_its_form(client, request):
    session = make_session()
    link = form_url("session", session.id)
    for role, wanted in (("support", False), ("admin", True)):
        there = request.getfixturevalue(f"{role}_client").get(f"/conversations/{session.id}/")
        assert (link in links(there)) == wanted


def test_users_without_access_to_the_panel_get_no_link_to_it(clerk):
    session = make_session()
    client = clerk("view_session", "change_session")
    assert form_url("session", session.id) not in links(client.get(f"/conversations/{session.id}/"))


# Tokens


@pytest.mark.parametrize(
    ("number", "count", "line"),
    [
        ("0006", "2,941", "2,941 tokens: 949 input, 1,992 output (1,939 reasoning)"),
        # Reasoning is not recorded at this revision: 1,002 would be too little.
        ("0002", "-", "-"),
    ],
)
def test_tokens_of_a_model_call_are_those_of_its_page(
    admin_client, at_revision, number, count, line
):
    call = make_model_call(
        model="gemini/gemini-2.5-flash",
        prompt_tokens=949,
        completion_tokens=53,
        total_tokens=1002,
        reasoning_tokens=1939,
    )
    at_revision(number)
    listed = admin_client.get(list_url("modelcall")).content.decode()
    assert re.findall('field-tokens_count">(.*?)<', listed) == [count]
    form = text(admin_client.get(form_url("modelcall", call.id)))
    assert re.search(rf"Tokens:\s+{re.escape(line)}\s", form)
    assert re.search(r"Total tokens, as recorded:\s+1002\s", form)


# Audit


@every_table
def test_opening_a_form_is_one_entry_of_the_audit_trail(admin_client, model):
    rows = make_rows()
    before = Entry.objects.latest("pk").pk
    admin_client.get(form_url(model, getattr(rows, model).id))
    seen = Entry.objects.filter(act=Act.VIEWED, pk__gt=before)
    if model == "agent":
        # An agent's row is not part of any conversation.
        assert not seen.exists()
        return
    entry = seen.get()
    assert entry.session_id == rows.session.id
    assert entry.username == "admin"
    assert entry.details == {
        "page": f"admin:conversations_{model}_change",
        "row": str(getattr(rows, model).id),
    }


def test_a_refused_page_is_not_recorded_as_viewed(clerk):
    rows = make_rows()
    client = clerk("use_admin")
    client.get(form_url("session", rows.session.id))
    clerk("use_admin", "view_session").get(form_url("session", uuid.uuid4()))
    assert not Entry.objects.filter(act=Act.VIEWED).exists()


def test_a_filter_that_does_not_exist_is_refused_without_a_traceback_in_the_log(
    admin_client, caplog
):
    response = admin_client.get("/admin/conversations/run/?foo__bar=1")
    assert response.status_code == 400
    assert not [record for record in caplog.records if record.exc_info]
