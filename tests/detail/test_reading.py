"""The transcript: its pages, search hits, reasons for a missing answer, and links onwards."""

import re
import time
import uuid
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from conversations.detail.transcript import FOLD, ITEMS_PER_PAGE, outline, transcript

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
from ..support.pages import HTMX, get, text, url

pytestmark = pytest.mark.django_db


def shown(response):
    return [
        message.text
        for entry in response.context["transcript"].entries
        for message in entry.messages
    ]


def long_conversation(messages=200):
    session = make_session()
    start = timezone.now() - timedelta(days=1)
    for number in range(messages // 2):
        run = make_run(session, created_at=start + timedelta(minutes=number))
        for role, words in (("user", "question"), ("assistant", "answer")):
            at = run.created_at + timedelta(seconds=1 + (role == "assistant"))
            make_message(session, role, f"{words} {number}", run_id=run.id, created_at=at)
    return session


# Pages


def test_following_later_messages_shows_everything_once_and_in_order(support_client):
    session = long_conversation(200)
    seen, path = [], url("detail", session.id) + "?from=0"
    while path:
        response = get(support_client, path)
        assert len(response.content) < 300_000
        seen += shown(response)
        later = re.search(r'href="([^"]+)"[^>]*hx-trigger="intersect', response.content.decode())
        path = later and later[1].replace("&amp;", "&")
    expected = [f"{text} {n}" for n in range(100) for text in ("question", "answer")]
    assert seen == expected


def test_a_run_longer_than_a_page_ends_on_the_last_page(support_client):
    session = make_session()
    run = make_run(session)
    for number in range(ITEMS_PER_PAGE + 10):
        make_message(session, content=f"part {number}", run_id=run.id)
    first = transcript(session.id)
    [entry] = first.entries
    assert (len(entry.messages), entry.ends) == (ITEMS_PER_PAGE, False)
    [entry] = transcript(session.id, start=first.end).entries
    assert (len(entry.messages), entry.ends) == (10, True)


def test_a_link_to_a_message_deep_in_the_conversation_shows_it(support_client):
    session = long_conversation(200)
    place = outline(session.id)[150]
    response = get(support_client, url("detail", session.id) + f"?m={place.message_id}")
    page = response.content.decode()
    assert f'focus" id="message-{place.message_id}"' in page
    assert "Earlier messages" in page


@pytest.mark.parametrize("query", ["?m=x", "?from=x", "?from=-1", "?from=5000", "?from=%00"])
def test_an_invalid_position_is_a_404(support_client, query):
    session = make_conversation()
    get(support_client, url("detail", session.id) + query, status=404)


def test_a_message_of_another_conversation_is_not_shown(support_client):
    session, other = make_conversation(), make_session()
    message = make_message(other, content="elsewhere")
    page = get(support_client, url("detail", session.id) + f"?m={message.id}")
    assert shown(page) == ["Message 0", "Message 1"]
    get(support_client, url("message", session.id, message.id), status=404)


def test_a_run_that_was_erased_between_two_queries_is_left_out():
    session = make_conversation(messages=2, runs=2)
    places = outline(session.id)
    gone = uuid.uuid4()
    places[0].run_id = gone
    entries = transcript(session.id, places).entries
    assert gone not in {entry.run and entry.run.pk for entry in entries}


def test_without_a_position_the_newest_page_is_shown(support_client):
    session = long_conversation(200)
    page = get(support_client, url("detail", session.id))
    assert (
        shown(page)
        == [f"{said} {n}" for n in range(60, 100) for said in ("question", "answer")][
            -len(shown(page)) :
        ]
    )
    assert page.context["transcript"].left == 0
    assert 'id="end" class="newest"' in page.content.decode()
    first = get(support_client, url("detail", session.id) + "?from=0").content.decode()
    assert '<span id="end"></span>' in first


@pytest.mark.parametrize("total", [81, 100, 101, 159, 161, 200, 241])
def test_following_earlier_messages_shows_everything_once(support_client, total):
    session = make_session()
    for number in range(total):
        make_message(session, content=f"part {number}")
    seen, path = [], url("detail", session.id)
    while path:
        page = get(support_client, path)
        seen = shown(page) + seen
        earlier = re.search(r'href="([^"]+)"[^>]*>Earlier messages', page.content.decode())
        path = earlier and earlier[1].replace("&amp;", "&")
    assert seen == [f"part {number}" for number in range(total)]


@pytest.mark.parametrize(
    "query", ["from=0&until=x", "from=0&until=-1", "from=0&until=0", "from=9&until=3"]
)
def test_an_invalid_end_is_a_404(support_client, query):
    session = long_conversation(20)
    get(support_client, url("detail", session.id) + f"?{query}", status=404)


def test_a_few_messages_at_the_beginning_join_the_next_page():
    session = long_conversation(200)
    starts = (120, 101, 100, 81, 1)
    assert [transcript(session.id, start=start).previous for start in starts] == [40, 21, 0, 0, 0]


def test_no_part_is_longer_than_a_page_and_twenty_items(support_client):
    session = long_conversation(200)
    page = get(support_client, url("detail", session.id) + "?from=1&until=200")
    transcript = page.context["transcript"]
    assert transcript.end - transcript.start == ITEMS_PER_PAGE + 20


# The outline


def test_the_outline_lists_the_runs_newest_first_in_pages(
    support_client, monkeypatch, django_assert_num_queries
):
    monkeypatch.setattr("conversations.detail.outline_views.RUNS_PER_PAGE", 30)
    session = long_conversation(100)
    make_task(make_run(session, output_data=None), session, errors=Json("x"))
    path = url("runs", session.id)
    first = get(support_client, path)
    rows = first.context["runs"]
    assert [words for _, words in rows[:3]] == [None, "question 49", "question 48"]
    assert "Failed" in text(first)
    assert "Earlier runs (21 left)" in text(first)
    rest = get(support_client, path, **{"from": 30})
    assert [words for _, words in rest.context["runs"]] == [
        f"question {number}" for number in range(20, -1, -1)
    ]
    get(support_client, path, **{"from": 60}, status=404)
    # The conversation, the ids of its runs, the runs shown, and their first messages.
    with django_assert_num_queries(4, connection=connections["agents"]):
        get(support_client, path, headers=HTMX)


def test_the_outline_reads_no_more_of_a_message_than_it_shows(support_client):
    session = make_session()
    run = make_run(session)
    make_message(session, content="<b>" + "x" * 1_000_000, run_id=run.id)
    page = get(support_client, url("runs", session.id))
    assert len(page.content) < 10_000
    assert "&lt;b&gt;xxx" in page.content.decode()
    get(support_client, url("runs", uuid.uuid4()), status=404)


# Reading


def test_markdown_is_rendered_unless_its_source_is_requested(support_client):
    session = make_session()
    make_message(session, "assistant", "**Sorry** about <b>that</b>")
    page = get(support_client, url("detail", session.id)).content.decode()
    assert '<p dir="auto"><strong>Sorry</strong> about &lt;b&gt;that&lt;/b&gt;</p>' in page
    source = get(support_client, url("detail", session.id) + "?source").content.decode()
    assert "**Sorry** about &lt;b&gt;that&lt;/b&gt;</div>" in source


def test_only_agents_messages_are_markdown_and_json_is_a_tree(support_client):
    session = make_session()
    make_message(session, "system", "*not* emphasis")
    make_message(session, "tool", '{"status": "lost"}')
    make_message(session, "assistant", '{"looks": like JSON')
    make_message(session, "user", '{"typed": "by a person"}')
    page = get(support_client, url("detail", session.id)).content.decode()
    assert "*not* emphasis" in page
    assert '<span class="name" dir="auto">status</span>' in page
    assert '<p dir="auto">{"looks": like JSON</p>' in page
    assert "{&quot;typed&quot;: &quot;by a person&quot;}</div>" in page


def test_a_long_message_is_cut_in_sql_and_complete_on_its_own_page(support_client):
    session = make_session()
    message = make_message(session, content="x" * 1_000_000)
    page = get(support_client, url("detail", session.id))
    assert len(page.content) < 20_000
    assert shown(page) == ["x" * FOLD]
    path = url("message", session.id, message.id)
    fragment = get(support_client, path, HTMX)
    assert fragment.content.count(b"x") >= 1_000_000
    assert b"<html" not in fragment.content
    assert fragment.content.strip() in get(support_client, path).content


def test_a_pause_of_more_than_five_minutes_is_shown(support_client):
    session = make_session()
    start = timezone.now() - timedelta(hours=5)
    for minutes in (0, 5, 11):
        make_message(session, created_at=start + timedelta(minutes=minutes))
    page = get(support_client, url("detail", session.id)).content.decode()
    assert re.findall(r'class="gap">([^<]+)<', page) == ["6\xa0minutes later"]


def test_search_hits_are_marked_and_the_first_is_in_focus(support_client):
    session = make_session()
    make_message(session, content="nothing here")
    found = make_message(session, content="My ReFund & more")
    page = get(support_client, url("detail", session.id) + "?search=refund+%26").content.decode()
    assert "My <mark>ReFund &amp;</mark> more" in page
    assert f'focus" id="message-{found.id}"' in page


# Reasons


def test_a_failed_run_shows_the_providers_error_in_place_of_the_answer(support_client):
    session = make_session()
    run = make_run(session, output_data=None)
    make_message(session, content="Where is it?", run_id=run.id)
    error = Json("provider said: 500 <b>timeout</b> " + "x" * 1000)
    make_model_call(session, run, model="a/b", response_code=None, response_data=error)
    page = get(support_client, url("detail", session.id)).content.decode()
    reason = re.search(r'class="reason" dir="auto">([^<]+)<', page)[1]
    assert reason.startswith("a/b: provider said: 500 &lt;b&gt;timeout&lt;/b&gt;")
    assert len(reason) < 600
    assert page.index("Where is it?") < page.index("The run failed") < page.index(reason)


def test_a_failed_runs_own_page_shows_the_reason_too(support_client):
    session = make_session()
    run = make_run(session, output_data=None)
    make_model_call(session, run, model="a/b", response_code=None, response_data=Json("no luck"))
    page = get(support_client, url("run", session.id, run.id)).content.decode()
    assert "a/b: no luck" in page


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"errors": Json(["first", "second"])}, "step: first"),
        ({"errors": Json("just words")}, "step: just words"),
        ({"node_type": "tool_call", "output": Json({"result": "Error: off"})}, "step: off"),
    ],
)
def test_errors_of_tasks_and_tools_are_reasons_too(fields, reason):
    session = make_session()
    run = make_run(session, output_data=None)
    make_task(run, session, **fields)
    [entry] = transcript(session.id).entries
    assert entry.reasons == [reason]


def test_the_line_under_a_reply_counts_tasks_calls_tokens_and_problems(support_client):
    session = make_session()
    run = make_run(session, duration_seconds="4.21")
    for _ in range(2):
        make_model_call(session, run, total_tokens=602)
    make_task(run, session, errors=Json("x"))
    page = text(get(support_client, url("detail", session.id)))
    assert "1 task · 4.2 s · 2 model calls · 1,204 tokens · 1 problem" in page


def test_a_model_calls_json_inside_a_string_is_a_tree(support_client):
    session = make_session()
    call = make_model_call(session, make_run(session), request_data=Json('{"model": "m-1"}'))
    path = url("payload", session.id, "model-calls", call.id, "request_data")
    page = get(support_client, path).content.decode()
    assert '<span class="name" dir="auto">model</span>' in page


# Links to other conversations


def test_newer_and_older_follow_the_filtered_list(support_client):
    agent = make_agent()
    at = timezone.now() - timedelta(days=1)
    made = [
        make_session(agent, external_id=key, updated_at=at - timedelta(minutes=n // 2))
        for n, key in enumerate(["a-1", "b-1", "a-2", "a-3", "b-2"])
    ]
    of_a = sorted(
        (s for s in made if s.external_id.startswith("a")), key=lambda s: (s.updated_at, s.id)
    )
    oldest, middle, newest = of_a

    def around(session, query="?external_id=a-"):
        context = get(support_client, url("detail", session.id) + query).context
        return context["newer"], context["older"]

    assert around(newest) == (None, middle.id)
    assert around(middle) == (newest.id, oldest.id)
    assert around(oldest) == (middle.id, None)
    assert around(middle, "?external_id=c") == (None, None)


def failing(minutes: int, agent, words="Error: lost"):
    """A conversation from yesterday plus `minutes`, with one tool call that returned `words`."""
    at = timezone.now() - timedelta(days=1) + timedelta(minutes=minutes)
    session = make_session(agent, updated_at=at)
    make_task(make_run(session), session, "look up", "tool_call", output=Json({"result": words}))
    return session


@pytest.mark.parametrize("probes", [1, 2, 3, 200])
def test_the_next_newer_match_is_found_however_far_away_it_is(support_client, monkeypatch, probes):
    monkeypatch.setattr("conversations.selection.conditions.SLOW_PROBES", probes)
    agent = make_agent()
    here, *_, wanted, _ = (
        failing(n, agent, words)
        for n, words in enumerate(["Error: a", "fine", "fine", "Error: b", "Error: c"])
    )
    response = get(support_client, url("detail", here.id) + "?problem=tool_error")
    assert response.context["newer"] == wanted.id


def test_matches_are_not_collected_if_the_next_newer_one_is_near(support_client, monkeypatch):
    agent = make_agent()
    here, wanted = (failing(n, agent) for n in range(2))

    def as_subquery(self):
        raise AssertionError("All matching rows were collected.")

    monkeypatch.setattr("conversations.selection.conditions.Condition.as_subquery", as_subquery)
    response = get(support_client, url("detail", here.id) + "?problem=tool_error")
    assert response.context["newer"] == wanted.id


@pytest.mark.parametrize("query", ["", "?external_id=t", "?search=Message"])
@pytest.mark.parametrize("sides", [["newer_than"], ["older_than"], ["newer_than", "older_than"]])
def test_the_page_does_not_wait_for_slow_newer_and_older_links(
    support_client, monkeypatch, query, sides
):
    oldest, middle, newest = (make_conversation(external_id=f"t-{n}") for n in range(3))

    def slow(self, *place):
        return self.extra(where=["pg_sleep(60) IS NOT NULL"])

    for side in sides:
        monkeypatch.setattr(f"conversations.querysets.SessionQuerySet.{side}", slow)
    monkeypatch.setattr("conversations.detail.views.NEIGHBOUR_SECONDS", 0.05)
    began = time.monotonic()
    response = get(support_client, url("detail", middle.id) + query)
    assert time.monotonic() - began < 30
    newer = None if "newer_than" in sides else newest.id
    older = None if "older_than" in sides else oldest.id
    assert (response.context["newer"], response.context["older"]) == (newer, older)


def test_other_conversations_with_the_same_external_id_are_listed(support_client):
    one, two = make_agent("One"), make_agent("Two")
    session = make_session(one, external_id="ann@example.com")
    other = make_session(two, external_id="ann@example.com")
    make_session(one, external_id="ann@example.org")
    make_session(one)
    page = get(support_client, url("detail", session.id))
    assert [row.pk for row in page.context["same_person"]] == [other.id]
    assert not get(support_client, url("detail", make_session(one).id)).context["same_person"]


# Updates


def test_a_conversation_and_each_part_hold_the_addresses_for_updates(
    support_client,
):
    session = make_session()
    make_run(session)
    message = make_message(session)
    path = url("detail", session.id)
    page = get(support_client, path, m=message.id).content.decode()
    assert f'data-watch="/conversations/new/?session={session.id}"' in page
    assert f'data-part="{path}?m={message.id}&amp;from=0"' in page
    part = get(support_client, f"{path}?m={message.id}&from=0", headers=HTMX).content.decode()
    assert f'message other focus" id="message-{message.id}"' in part.replace("user", "other")


# Cost


@pytest.mark.parametrize("size", [1, 60])
def test_query_counts_do_not_grow_with_messages_runs_tasks_or_failures(
    support_client, size, django_assert_num_queries
):
    session = make_session(external_id="t")
    for number in range(size):
        run = make_run(session, output_data=None)
        make_message(session, content=f"needle {number}", run_id=run.id)
        make_model_call(session, run, response_code=500)
        make_task(run, session, errors=Json("x"))
    path = url("detail", session.id) + "?search=needle"
    get(support_client, path)
    # More than without a search: the first hit, external ids that begin with the term (the time
    # limit of that takes three more queries within the test's transaction), and two steps each for
    # the newer and the older match. A conversation with problems also shows what was done before.
    with django_assert_num_queries(25 + 4, connection=connections["agents"]):
        get(support_client, path)
