"""Snippets of a search and the newest problem in rows of the list."""

import re
import uuid
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from conversations.selection.pagination import Cursor

from ..support.factories import (
    Json,
    make_agent,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..support.listing import be_patient, slowed
from ..support.pages import get, text

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    be_patient(monkeypatch)


def row(client, **parameters):
    [found] = get(client, **parameters).context["rows"]
    return found


def snippets(client, term, **parameters) -> list[str]:
    """The HTML of the only row's snippets."""
    return [snippet.html for snippet in row(client, search=term, **parameters).snippets]


# Snippets


def test_the_term_is_marked_as_it_is_spelled_in_the_text(support_client):
    make_message(make_session(), "assistant", content="Where is my Parcel? No parcel came.")
    response = get(support_client, search="PARCEL")
    expected = "Where is my <mark>Parcel</mark>? No <mark>parcel</mark> came."
    assert [each.html for each in response.context["rows"][0].snippets] == [expected]
    assert expected in response.content.decode()


def test_a_snippet_says_who_wrote_it(support_client):
    make_message(make_session(), "assistant", content="Well, " * 20 + "my needle")
    assert (
        '<span class="label">assistant</span>'
        in get(support_client, search="needle").content.decode()
    )


def test_a_snippet_that_repeats_the_preview_is_left_out_and_the_preview_marked(support_client):
    session = make_session()
    for content in ("A needle?", "hay", "One more needle", "No <b> needle."):
        make_message(session, content=content)
    html = get(support_client, search="needle").content.decode()
    rows = html[html.index('<ol class="rows"') :]
    assert rows.count("<mark>needle</mark>") == 3
    assert rows.count('<span class="label">user</span>') == 1
    said = re.search(r'<span class="said">(.*)</span>', rows)[1]
    assert "A <mark>needle</mark>?" in said
    assert "No &lt;b&gt; <mark>needle</mark>." in said


def test_a_snippet_that_a_narrow_preview_may_cut_off_is_shown(support_client):
    make_message(make_session(), content="x" * 36 + " needle")
    html = get(support_client, search="needle").content.decode()
    assert html.count("<mark>needle</mark>") == 1
    assert '<ul class="snippets">' in html


@pytest.mark.parametrize(
    ("content", "term", "found"),
    [
        ("Your **refund** is `on its way`.", "refund", "Your <mark>refund</mark> is on its way."),
        ("Your **refund** is here.", "**refund", "Your <mark>**refund</mark>** is here."),
        ("See [this](https://shop.example/a) now", "this", "See <mark>this</mark> now"),
        ("See [this](https://shop.example/a)", "shop.example",
         "See [this](https://<mark>shop.example</mark>/a)"),
    ],
)  # fmt: skip
def test_a_snippet_only_has_markdown_signs_that_were_searched_for(
    support_client, content, term, found
):
    make_message(make_session(), "assistant", content=content)
    assert snippets(support_client, term) == [found]


def test_a_row_has_the_three_oldest_snippets_in_order(support_client):
    session = make_session()
    now = timezone.now()
    for number in (5, 1, 4, 2, 3):
        at = now + timedelta(minutes=number)
        make_message(session, content=f"needle {number}", created_at=at)
        make_message(session, content="hay", created_at=at)
    words = [re.sub("<.*?>", "", each) for each in snippets(support_client, "needle")]
    assert words == ["needle 1", "needle 2", "needle 3"]


def test_each_row_has_its_own_snippets(support_client):
    agent = make_agent()
    for number in range(4):
        session = make_session(agent)
        for _ in range(number + 1):
            make_message(session, content=f"needle {number}")
    rows = get(support_client, search="needle").context["rows"]
    found = [{snippet.html for snippet in each.snippets} for each in rows]
    assert found == [{f"<mark>needle</mark> {number}"} for number in (3, 2, 1, 0)]
    assert [len(each.snippets) for each in rows] == [3, 3, 2, 1]


def test_without_a_search_there_are_no_snippets(support_client):
    make_message(make_session(), content="needle")
    response = get(support_client)
    assert response.context["rows"][0].snippets == []
    assert "snippets" not in response.content.decode()


@pytest.mark.parametrize("place", [0, 1, 49, 50, 90, 91, 92, 500, 500_000, 999_990])
def test_a_long_message_is_cut_around_the_term(support_client, place):
    before, after = "a" * (place - 1), "z" * (1_000_000 - place)
    content = f"{before} needle {after}".strip()
    make_message(make_session(), content=content)
    [found] = snippets(support_client, "needle")
    shown = re.sub("</?mark>", "", found)
    start, term, end = shown.partition("needle")
    assert "<mark>needle</mark>" in found
    assert start.startswith("…") == (place > 50)
    assert end.endswith("…") == (place < 999_000)
    assert start.replace("…", "").strip() == "a" * min(max(place - 1, 0), 49)
    assert len(end.strip()) > 0
    assert len(shown) <= 50 + 6 + 130 + 2
    assert term


def test_a_long_term_is_shown_in_full(support_client):
    term = "needle " * 28
    make_message(make_session(), content="x" * 300 + term + "x" * 300)
    [found] = snippets(support_client, term.strip())
    assert f"<mark>{term.strip()}</mark>" in found


@pytest.mark.parametrize("term", ["a  b", "a\nb", "a b"])
def test_a_term_with_spaces_is_marked_although_spaces_collapse(support_client, term):
    make_message(make_session(), content=f"1 2  {term}\n\n 3")
    [found] = snippets(support_client, term)
    assert found == f"1 2 <mark>{' '.join(term.split())}</mark> 3"


@pytest.mark.parametrize(
    "content",
    [
        "<script>alert(1)</script> needle",
        "needle </a></li></ol><img src=x onerror=alert(1)>",
        "<mark>needle</mark>",
        "<mark>x</mark> needle &lt;b&gt; &amp; \" '",
        "[needle](javascript:alert(1)) needle",
        "needle\x01\x1b[31m \N{RIGHT-TO-LEFT OVERRIDE}",
    ],
)
def test_hostile_content_stays_text(support_client, content):
    make_message(make_session(), content=content)
    [found] = snippets(support_client, "needle")
    assert re.sub("</?mark>", "", found).replace("&#x27;", "'").replace("&quot;", '"') == " ".join(
        content.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split()
    )
    assert found.count("<mark>needle</mark>") == content.count("needle")


@pytest.mark.parametrize(
    "term", ["<b>", "</mark>", "a&b", "&amp;", '"x', "</a><script>", ".*", "\\1"]
)
def test_a_hostile_term_is_marked_as_text(support_client, term):
    escaped = (
        term.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    )
    make_message(make_session(), content=f"1 {term} 2")
    response = get(support_client, search=term)
    assert response.context["rows"][0].snippets[0].html == f"1 <mark>{escaped}</mark> 2"
    assert (
        "<script>"
        not in response.content.decode().partition('<main id="browse">')[2].partition("</main>")[0]
    )


@pytest.mark.parametrize(
    "content", ["İİİİ İstanbul istanbul", "ẞßẞ straße", "ŉ ǰ ΐ ﬁ", "ΣΑΣ σας", "👩‍👩‍👧 שלום ﷽"]
)
def test_letters_whose_normal_form_has_another_length_are_marked(support_client, content):
    make_message(make_session(), content="İ" * 400 + content + "ﬁ" * 400)
    for term in content.split():
        for each in {term, term.lower(), term.upper()}:
            if len(each) < 2:
                continue
            rows = get(support_client, search=each).context["rows"]
            assert all(len(row.snippets) == 1 for row in rows)
            assert len(rows) == 1 or each != term
    [found] = snippets(support_client, content)
    # Letters beside the term may match it too, and are then marked as well.
    assert re.search(f"<mark>[^<]*{content}[^<]*</mark>", found.replace("</mark><mark>", ""))


def test_a_snippet_links_to_its_message_with_the_way_back_to_the_list(support_client):
    session = make_session(external_id="t&1")
    message = make_message(session, content="no " * 20 + "a+b <needle>")
    filters = {"search": "b <", "external_id": "t&", "evals": "hidden", "agent": session.agent_id}
    response = get(support_client, after=Cursor(timezone.now(), uuid.UUID(int=0)), **filters)
    [snippet] = response.context["rows"][0].snippets
    query = response.context["query"]
    assert "search=b+%3C" in query
    assert "external_id=t%26" in query
    detail = reverse("conversations:detail", args=[session.id])
    assert snippet.url == f"{detail}?{query}&m={message.id}"
    assert f'<a href="{snippet.url.replace("&", "&amp;")}">' in response.content.decode()
    page = support_client.get(snippet.url)
    assert page.status_code == 200
    assert page.context["focus"] == message.id
    assert page.context["query"] == query


def test_snippets_of_errors_and_tools_say_where_they_are_from(support_client):
    session = make_session()
    run = make_run(session)
    failed = {"node_type": "tool_call", "output": Json({"result": "Error: the needle <b>"})}
    tool = make_task(run, session, "restart", **failed)
    task = make_task(run, session, "route", errors=Json({"message": "no needle"}))
    call = make_model_call(session, run, response_code=500, response_data=Json("needle, 500"))
    found = row(support_client, search="needle", scope="all").snippets
    pages = {
        "tool restart": ("the <mark>needle</mark> &lt;b&gt;", ("task", [session.id, tool.id])),
        "task route": (
            "{&quot;message&quot;: &quot;no <mark>needle</mark>&quot;}",
            ("task", [session.id, task.id]),
        ),
        "model some-model": (
            "500: <mark>needle</mark>, 500",
            ("payload", [session.id, "model-calls", call.id, "response_data"]),
        ),
    }
    expected = {
        label: (html, reverse(f"conversations:{name}", args=arguments))
        for label, (html, (name, arguments)) in pages.items()
    }
    assert {each.label: (each.html, each.url) for each in found} == expected
    for each in found:
        assert support_client.get(each.url).status_code == 200


def test_snippets_of_messages_come_before_those_of_errors(support_client):
    session = make_session()
    make_task(make_run(session), session, errors=Json("needle"))
    for _ in range(2):
        make_message(session, content="needle")
    for _ in range(2):
        make_task(make_run(session), session, node_type="tool_call", tool_uri="python://needle")
    labels = [each.label for each in row(support_client, search="needle", scope="all").snippets]
    assert labels == ["user", "user", "task step"]


def test_a_tool_is_found_by_its_name(support_client):
    session = make_session()
    uri = "python://restart_device"
    task = make_task(make_run(session), session, node_type="tool_call", tool_uri=uri)
    [found] = row(support_client, search="restart_d", scope="all").snippets
    assert (found.label, found.html) == ("tool", "python://<mark>restart_d</mark>evice")
    assert found.url == reverse("conversations:task", args=[session.id, task.id])


def test_if_snippets_take_too_long_the_page_appears_without_them(support_client, monkeypatch):
    monkeypatch.setattr("conversations.listing.snippets.SECONDS", 0.02)
    make_message(make_session(), content="needle")
    with slowed("strpos") as slow:
        response = get(support_client, search="needle")
    assert slow
    assert response.context["rows"][0].snippets == []


# The newest problem


def tool_error(session, result, name="restart_device", run=None, **fields):
    output = Json({"result": result})
    return make_task(run or make_run(session), session, name, "tool_call", output=output, **fields)


def test_a_failed_run_shows_the_error_of_its_model_call(support_client):
    session = make_session()
    run = make_run(session, output_data=None)
    said = Json({"error": {"message": "provider said 500"}})
    make_model_call(session, run, response_code=500, response_data=said)
    assert row(support_client).newest_problem == "run failed: 500: provider said 500"
    assert "run failed: 500: provider said 500" in text(get(support_client))


def test_a_problem_in_a_completed_run_has_the_name_of_its_step(support_client):
    session = make_session()
    tool_error(session, "Error: device offline")
    assert row(support_client).newest_problem == "tool restart_device: device offline"


def test_a_task_error_has_the_name_of_its_task(support_client):
    session = make_session()
    make_task(make_run(session), session, "x", errors=Json([{"message": "no \n such\tcoach"}]))
    assert row(support_client).newest_problem == "task x: no such coach"


def test_a_failed_run_shows_the_error_of_its_tool(support_client):
    session = make_session()
    tool_error(session, "Error: offline", run=make_run(session, output_data=None))
    assert row(support_client).newest_problem == "run failed: tool restart_device: offline"


def test_a_failure_of_an_older_run_is_not_shown_as_the_last_runs(support_client):
    session = make_session()
    tool_error(session, "Error: offline")
    make_run(session, output_data=None)
    assert row(support_client).newest_problem == "tool restart_device: offline"


def test_the_newest_problem_of_all_kinds_is_shown(support_client):
    session = make_session()
    now = timezone.now()
    run = make_run(session)
    make_model_call(session, run, response_code=None, response_data=Json("third"),
                    created_at=now + timedelta(seconds=1))  # fmt: skip
    tool_error(session, "Error: last", run=run, created_at=now + timedelta(seconds=2))
    tool_error(session, "Error: first", run=run, created_at=now)
    make_task(run, session, errors=Json("second"), created_at=now)
    assert row(support_client).newest_problem == "tool restart_device: last"


@pytest.mark.parametrize(
    ("errors", "words"),
    [("", "task step"), ([None], "task step: [null]"), ({}, "task step: {}"), (0, "task step: 0")],
)
def test_a_problem_without_text_shows_its_name(support_client, errors, words):
    session = make_session()
    make_task(make_run(session), session, errors=Json(errors))
    assert row(support_client).newest_problem == words


def test_a_problem_without_a_name_shows_its_text(support_client):
    session = make_session()
    make_task(make_run(session), session, None, errors=Json("why"))
    assert row(support_client).newest_problem == "task: why"


def test_long_texts_are_cut(support_client):
    session = make_session()
    tool_error(session, "Error: " + "ü" * 500_000, "n" * 5000)
    newest_problem = row(support_client).newest_problem
    assert newest_problem == f"tool {'n' * 60}: {'ü' * (160 - 67)}…"


def test_hostile_texts_stay_text(support_client):
    session = make_session(make_agent("<i>"), external_id="<u>")
    tool_error(session, "Error: <script>alert(1)</script></a> %s {0}", "<b>")
    html = get(support_client).content.decode()
    assert "tool &lt;b&gt;: &lt;script&gt;alert(1)&lt;/script&gt;&lt;/a&gt; %s {0}" in html


def test_rows_without_problems_show_none(support_client):
    session = make_session()
    run = make_run(session)
    make_task(run, session, errors=Json([]), node_type="tool_call", output=Json({"result": "ok"}))
    make_model_call(session, run, response_data=Json("fine"))
    running = make_session()
    make_run(running, output_data=None, duration_seconds=None, created_at=timezone.now())
    response = get(support_client)
    assert [each.newest_problem for each in response.context["rows"]] == ["", ""]
    assert 'class="newest-problem"' not in response.content.decode()


def test_if_problems_take_too_long_the_page_appears_without_them(support_client, monkeypatch):
    monkeypatch.setattr("conversations.listing.snippets.SECONDS", 0.02)
    tool_error(make_session(), "Error: offline")
    with slowed("LATERAL") as slow:
        found = row(support_client)
    assert slow
    assert found.newest_problem == ""
    assert dict(found.problems) == {"tool_error": 1}
