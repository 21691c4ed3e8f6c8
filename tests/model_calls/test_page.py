"""The page Model calls: its filters, pages, totals and links."""

import re
import uuid
from datetime import timedelta
from decimal import Decimal
from html import unescape
from urllib.parse import urlencode

import pytest
from django.db import connections
from django.utils import timezone

from audit.models import Act, Entry
from conversations.model_calls import filtered_totals, find, views
from conversations.models import Agent
from conversations.prices import Cost

from ..support.factories import (
    Json,
    make_agent,
    make_model_call,
    make_run,
    make_session,
)
from ..support.limited import let_in_limited
from ..support.listing import TYPING, listed, timed_out
from ..support.masking import EMAIL, masking_on
from ..support.pages import HTMX, get, text
from ..support.signing_in import let_in, make_user
from ..support.tables import sql

pytestmark = pytest.mark.django_db

PAGE, TOTALS = "/model-calls/", "/model-calls/totals/"
PRICED = {"model": "openai/gpt-4o", "prompt_tokens": 1_000, "completion_tokens": 100}


def asked(client, path=PAGE, **filters):
    return get(client, f"{path}?{urlencode(filters)}")


def match(client, **filters) -> list:
    response = asked(client, **filters)
    assert response.context["filter"].is_valid(), response.context["filter"].errors
    return listed(response)


def test_calls_come_newest_first_with_their_figures(support_client):
    session = make_session(make_agent("Shop"), external_id="ticket-7")
    run = make_run(session)
    make_model_call(session, run, duration_seconds="1.5", **PRICED)
    newest = make_model_call(session, run, response_code=429, model="other", call_type="embedding")
    response = get(support_client, PAGE)
    assert listed(response)[0] == newest.id
    page = text(response)
    for words in ("openai/gpt-4o", "1,000 input, 100 output", "$0.0035", "1.5 s", "failed, 429"):
        assert words in page
    link = f'href="/conversations/{session.id}/?run={run.id}#run-{run.id}" dir="auto">ticket-7<'
    assert link in response.content.decode()
    assert {"request_data", "response_data"} <= response.context["rows"][0].get_deferred_fields()


@pytest.fixture
def calls():
    """{name: call}"""
    shop, bank = make_agent("Shop"), make_agent("Bank")
    found = {}
    at = timezone.now() - timedelta(days=3)
    for number, (name, agent, fields) in enumerate(
        [
            ("quick", shop, {"model": "a", "duration_seconds": "0.2"}),
            ("slow", shop, {"model": "a", "duration_seconds": "12"}),
            ("failed", shop, {"model": "b", "response_code": 503}),
            ("unanswered", bank, {"model": "b", "response_code": None}),
            ("embedding", bank, {"model": "c", "call_type": "embedding"}),
            ("never", bank, {"model": "b", "duration_seconds": "NaN"}),
        ]
    ):
        session = make_session(agent)
        run = make_run(session)
        moment = at + timedelta(hours=number)
        found[name] = make_model_call(
            session, run, agent_id=agent.id, created_at=moment, updated_at=moment, **fields
        )
    return found


def test_filters_alone_and_together(support_client, calls):
    def names(**filters):
        by_id = {call.id: name for name, call in calls.items()}
        return [by_id[pk] for pk in match(support_client, **filters)][::-1]

    shop = calls["quick"].agent_id
    assert names() == list(calls)
    assert names(agent=shop) == ["quick", "slow", "failed"]
    assert names(model="a") == ["quick", "slow"]
    assert names(type="embedding") == ["embedding"]
    assert names(status="failed") == ["failed", "unanswered"]
    assert names(status="ok") == ["quick", "slow", "embedding", "never"]
    assert names(status="none") == ["unanswered"]
    assert names(status="503") == ["failed"]
    assert names(slow="0.2") == ["quick", "slow"]
    assert names(conversation=calls["slow"].session_id) == ["slow"]
    assert names(run=calls["never"].run_id) == ["never"]
    assert names(start_date=calls["failed"].created_at.isoformat()) == list(calls)[2:]
    assert names(end_date=calls["slow"].created_at.isoformat()) == ["quick", "slow"]
    assert names(model="b", status="failed", agent=shop) == ["failed"]
    assert names(model="a", slow="1", status="ok", type="llm", agent=shop) == ["slow"]
    assert names(model="a", slow="1", run=calls["quick"].run_id) == []


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("status=odd", "There is no such status."),
        ("status=1000", "There is no such status."),
        ("slow=fast", "Enter a number of seconds, such as 2.5."),
        ("slow=-1", "greater than or equal to 0"),
        ("agent=x", "“x” is not a valid UUID."),
        (f"agent={uuid.UUID(int=1)}", "There is no such agent."),
        ("model=%00", "Null characters are not allowed."),
        ("run=x", "Enter the whole id of a run."),
        ("conversation=x", "Enter the whole id of a conversation."),
        ("start_date=2026-02-02&end_date=2026-01-01", "The end is before the start."),
        ("tz=Mars/Base&start_date=2026-01-01", "There is no time zone"),
        ("search=hello", "There is no filter called “search”."),
        ("model=a&model=b", "“model” is given twice."),
    ],
)
def test_an_invalid_filter_is_explained_and_matches_nothing(support_client, calls, query, why):
    response = get(support_client, f"{PAGE}?{query}")
    assert why in text(response)
    assert "rows" not in response.context
    assert "Fix the highlighted filter" in text(response)
    assert "Fix the filter" in text(get(support_client, f"{TOTALS}?{query}"))


def test_a_cursor_that_is_none_is_refused(support_client):
    get(support_client, f"{PAGE}?after=x", status=400)


@pytest.fixture
def many(monkeypatch):
    """Ten calls, newest first, two of which were made at the same moment; pages of three."""
    monkeypatch.setattr(views.ModelCallsView, "page_size", 3)
    session = make_session()
    at = timezone.now() - timedelta(hours=1)
    made = [
        make_model_call(session, created_at=at + timedelta(minutes=min(number, 8)))
        for number in range(10)
    ]
    return [call.id for call in sorted(made, key=lambda each: (each.created_at, each.id))][::-1]


def linked(response, rel) -> str | None:
    found = re.search(rf'rel="{rel}" href="([^"]+)"', response.content.decode())
    return found and PAGE + unescape(found[1])


@pytest.mark.parametrize("filters", [{}, {"status": "ok"}, {"model": "some-model", "slow": ""}])
@pytest.mark.parametrize("first_look", [1, 4, 5_000])
def test_pages_lead_down_to_the_end_and_up_again(
    support_client, many, monkeypatch, filters, first_look
):
    monkeypatch.setattr(find, "FIRST_LOOK", first_look)
    page = asked(support_client, **filters)
    seen = [listed(page)]
    while older := linked(page, "next"):
        page = support_client.get(older)
        seen.append(listed(page))
    assert seen == [many[:3], many[3:6], many[6:9], many[9:]]
    while newer := linked(page, "prev"):
        seen.pop()
        page = support_client.get(newer, follow=True)
        assert listed(page) == seen[-1]
    assert len(seen) == 1


def test_without_time_to_collect_it_says_how_far_it_got(client, many, monkeypatch):
    let_in_limited(client, "Support", list(Agent.objects.values_list("pk", flat=True)))
    monkeypatch.setattr(find, "FIRST_LOOK", 2)
    monkeypatch.setattr(find, "collected", lambda *args: None)
    monkeypatch.setattr(find, "widen", lambda look, *args, **options: [look(2)])
    page = asked(client, status="failed")
    assert listed(page) == []
    assert "No matches since" in text(page)
    assert "Look further back" in text(page)
    # It may end with a call that the user may not see.
    assert all(call.hex not in str(page.context["next_cursor"]) for call in many)


def test_a_timeout_keeps_the_filters(support_client, calls, monkeypatch):
    monkeypatch.setattr(views, "find", timed_out)
    page = get(support_client, f"{PAGE}?model=a", status=503)
    assert "That took too long" in text(page)
    assert "Remove the filter Model: a" in page.content.decode()


def test_a_fragment_pushes_the_address_without_empty_fields(support_client, calls):
    response = get(support_client, f"{PAGE}?model=a&slow=&status=", TYPING)
    assert response["HX-Push-Url"] == f"{PAGE}?model=a"
    assert "<html" not in response.content.decode()


# Conversations that are gone


def test_of_a_deleted_conversation_only_figures_are_shown(admin_client):
    session = make_session(external_id="secret-ticket")
    run = make_run(session)
    secret = Json({"text": "sesame"})
    gone = make_model_call(
        session, run, request_data=secret, response_data=secret, duration_seconds="3", **PRICED
    )
    none = make_model_call(request_data=secret, response_data=secret)
    assert admin_client.get(f"{PAGE}").content.decode().count('class="payloads"') == 1
    sql("DELETE FROM sessions WHERE id = %s", [session.id])
    response = get(admin_client, PAGE)
    assert listed(response) == [none.id, gone.id]
    page = response.content.decode()
    assert "conversation deleted" in page
    assert "no conversation" in page
    assert "$0.0035" in page
    assert "request_data" not in page
    assert f"/conversations/{session.id}/" not in page
    for path in ("request_data/", "response_data/", "request_data/raw/"):
        address = f"/conversations/{session.id}/model-calls/{gone.id}/{path}"
        assert admin_client.get(address).status_code == 404
    exported = b"".join(admin_client.get(f"{PAGE}export/model-calls.jsonl")).decode()
    assert "sesame" not in page + exported


def test_calls_without_a_conversation_are_for_whoever_has_no_limit(client, support_client):
    ours, theirs = make_session(make_agent("Ours")), make_session(make_agent("Theirs"))
    own = make_model_call(ours, agent_id=ours.agent_id)
    make_model_call(theirs, agent_id=theirs.agent_id, model="their-model")
    make_model_call(agent_id=ours.agent_id)
    gone = make_model_call(make_session(), agent_id=ours.agent_id)
    sql("DELETE FROM sessions WHERE id = %s", [gone.session_id])
    assert len(match(support_client)) == 4
    let_in_limited(client, "Support", [ours.agent_id])
    for filters in ({}, {"agent": ours.agent_id}, {"status": "ok"}):
        assert match(client, **filters) == [own.id]
    assert match(client, model="their-model") == []
    assert match(client, conversation=theirs.id) == []
    assert get(client, TOTALS).context["totals"].calls == 1
    assert "Theirs" not in text(get(client, PAGE))
    assert "their-model" not in text(get(client, PAGE))


def test_a_moved_conversations_calls_are_its_new_agents(support_client):
    old, new = make_agent("Old"), make_agent("New")
    make_model_call(make_session(new), agent_id=old.id)
    [row] = get(support_client, PAGE).context["rows"]
    assert row.agent_label == "New"


# Totals


def test_totals_add_up_what_is_filtered(support_client, monkeypatch):
    session = make_session()
    make_model_call(session, duration_seconds="1.5", **PRICED)
    make_model_call(session, duration_seconds="NaN", **PRICED)
    make_model_call(session, duration_seconds="2", response_code=500, model="openai/gpt-4o")
    make_model_call(session, model="nobody-knows", total_tokens=50)
    found = get(support_client, TOTALS)
    assert (
        "4 model calls : 2,250 tokens , at least $0.0070 (1 of 4 calls has no price) , 3.5 s"
        in (text(found))
    )
    failed = text(asked(support_client, TOTALS, status="failed"))
    assert "1 model call : 0 tokens , 2.0 s" in failed
    fragment = get(support_client, TOTALS, HTMX).content.decode()
    assert fragment.lstrip().startswith('<p id="totals"')


def test_an_unpriced_call_of_a_priced_model_is_counted_alone(support_client):
    session = make_session()
    make_model_call(session, **PRICED)
    make_model_call(session, model="openai/gpt-4o")
    totals = get(support_client, TOTALS).context["totals"]
    assert (totals.unpriced, totals.cost) == (1, Cost(Decimal("0.0035"), at_least=True))


def test_of_very_many_calls_the_newest_are_added_up_and_it_says_so(
    support_client, many, monkeypatch
):
    monkeypatch.setattr(filtered_totals, "UP_TO", 4)
    totals = get(support_client, TOTALS).context["totals"]
    assert totals.calls == 4
    assert "The newest 4 model calls , since" in text(get(support_client, TOTALS))


def test_totals_that_take_too_long_say_so(support_client, calls, monkeypatch):
    monkeypatch.setattr(filtered_totals, "read", timed_out)
    assert "Adding up these calls took too long." in text(get(support_client, TOTALS))


def test_the_page_asks_for_the_totals_of_its_filters(support_client, calls):
    page = asked(support_client, model="a").content.decode()
    assert f'hx-get="{TOTALS}?model=a"' in page


# What strangers wrote, masking, revisions


@pytest.mark.parametrize("path", [PAGE, TOTALS])
@pytest.mark.parametrize("typed", [{"model": "gpt"}, {"type": "llm"}])
def test_what_could_be_a_guess_at_a_masked_name_is_recorded(support_client, path, typed):
    asked(support_client, path)
    assert not Entry.objects.filter(act=Act.SEARCHED).exists()
    asked(support_client, path, **typed)
    assert Entry.objects.filter(act=Act.SEARCHED).count() == 1


def test_names_stay_text_and_are_masked(viewer_client, settings):
    session = make_session(make_agent(f"Agent {EMAIL}"), external_id=EMAIL)
    make_model_call(session, model="<script>alert(1)</script>", call_type=f"<b>{EMAIL}")
    with masking_on(settings):
        page = get(viewer_client, PAGE).content.decode()
    assert EMAIL not in page
    assert "<script>alert" not in page
    assert "<b>[" not in page


@pytest.mark.parametrize("number", ["0002", "0003", "0004", "0005", "0006"])
def test_it_works_at_every_revision(support_client, calls, at_revision, number):
    at_revision(number)
    response = asked(support_client, status="failed", slow="")
    assert listed(response) == [calls["unanswered"].id, calls["failed"].id]
    page = response.content.decode()
    assert ("request_data" in page) == (number >= "0005")
    assert get(support_client, TOTALS).context["totals"].calls == len(calls)
    lines = b"".join(support_client.get(f"{PAGE}export/model-calls.csv")).splitlines()
    assert len(lines) == len(calls) + 1
    if number < "0005":
        refused = asked(support_client, run=calls["slow"].run_id)
        assert "There is no filter called “run”." in text(refused)
        assert "does not record to which conversation a call belongs" in text(refused)


def test_at_old_revisions_a_limit_goes_by_the_calls_own_agent(client, calls, at_revision):
    at_revision("0004")
    let_in_limited(client, "Support", [calls["quick"].agent_id])
    assert match(client) == [calls[name].id for name in ("failed", "slow", "quick")]


@pytest.mark.parametrize("number", [1, 40])
def test_queries_do_not_depend_on_how_many_there_are(
    support_client, django_assert_num_queries, number
):
    for _ in range(number):
        make_model_call(make_session(make_agent(f"Agent {_}")), **PRICED)
    get(support_client, PAGE)
    # Agents and rows. Then the choices, the end of the first look and its calls, within two time
    # limits, each of which takes three more statements within the test's transaction.
    with django_assert_num_queries(2 + 3 + 2 * 3, connection=connections["agents"]):
        get(support_client, PAGE)


# Links both ways


def test_conversations_and_runs_lead_to_their_calls(support_client):
    session = make_session()
    run, other = make_run(session), make_run(session)
    of_run = make_model_call(session, run)
    of_other = make_model_call(session, other)
    make_model_call(make_session())
    page = get(support_client, f"/conversations/{session.id}/").content.decode()
    link = f"{PAGE}?conversation={session.id}"
    assert f'href="{link}"' in page
    assert listed(get(support_client, link)) == [of_other.id, of_run.id]
    page = get(support_client, f"/conversations/{session.id}/runs/{run.id}/").content.decode()
    link = f"{PAGE}?run={run.id}"
    assert f'href="{link}"' in page
    assert listed(get(support_client, link)) == [of_run.id]


def test_choices_are_those_of_the_newest_calls_and_what_is_chosen(support_client, calls):
    page = asked(support_client, model="old-model").content.decode()
    options = re.findall(r'<option value="([^"]*)"', page)
    assert {"a", "b", "c", "old-model", "llm", "embedding", "200", "503", "failed"} <= set(options)
    assert '<option value="old-model" selected>' in page


@pytest.mark.parametrize("is_limited", [False, True])
def test_equal_times_are_not_repeated_when_time_runs_out(client, monkeypatch, is_limited):
    agent = make_agent()
    session = make_session(agent)
    run = make_run(session)
    now = timezone.now()
    for hours in (1, 1, 2, 2, 2, 3):
        at = now - timedelta(hours=hours)
        make_model_call(session, run, created_at=at, updated_at=at)
    if is_limited:
        let_in_limited(client, "Support", [agent.id])
    else:
        let_in(client, make_user("ann", "Support"))
    monkeypatch.setattr(find, "collected", lambda *others: None)
    monkeypatch.setattr(find, "widen", lambda look, *others, **more: [look(4)])
    shown, address = [], PAGE
    while address:
        page = get(client, address)
        shown += listed(page)
        older = re.search(r'rel="next" href="([^"]+)"', page.content.decode())
        address = older and PAGE + unescape(older[1])
    assert len(shown) == len(set(shown)) == 6
