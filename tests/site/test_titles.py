"""The title of each page names what is open."""

import re
from html import unescape

import pytest

from ..support.factories import make_agent, make_message, make_run, make_session, make_task
from ..support.listing import COUNTS, TYPING
from ..support.masking import masking_on
from ..support.pages import get, url

pytestmark = pytest.mark.django_db
SITE = " · Conversation Desk"


def title(response) -> str:
    # The first <title>: drawings can have titles too.
    found = re.findall(r"<title>(.*?)</title>", response.content.decode(), re.DOTALL)[0]
    found = " ".join(unescape(found).split())
    assert found.endswith(SITE)
    return found.removesuffix(SITE)


@pytest.fixture
def shop():
    """An agent with three failed conversations of Ben."""
    agent = make_agent("Quillfeather <order> help")
    agent.sessions = [make_session(agent, external_id="ben.okafor@example.com") for _ in range(3)]
    agent.runs = [make_run(session, output_data=None) for session in agent.sessions]
    return agent


def test_pages_of_a_conversation_name_it_and_its_agent(support_client, shop):
    session, run = shop.sessions[0], shop.runs[0]
    message, task = make_message(session), make_task(run, session, "look-up")
    named = "ben.okafor@example.com · Quillfeather <order> help"
    assert title(get(support_client, url("detail", session.id))) == named
    assert title(get(support_client, url("print", session.id))) == named
    assert title(get(support_client, url("run", session.id, run.id))) == f"Run · {named}"
    assert title(get(support_client, url("task", session.id, task.id))) == f"look-up · {named}"
    assert title(get(support_client, url("message", session.id, message.id))) == (
        f"Message · {named}"
    )


def test_a_conversation_without_an_external_id_is_named_by_its_id(support_client):
    session = make_session(make_agent(""))
    found = title(get(support_client, url("detail", session.id)))
    assert found == f"Conversation {str(session.id)[:8]} · (no name)"


def test_the_list_names_its_filters_and_how_many_failed(support_client, shop):
    session = shop.sessions[0]
    make_session(external_id="other")
    for query, expected in [
        ({}, "Conversations"),
        ({"problem": "failed"}, "3 failed · Conversations"),
        ({"problem": "tool_error"}, "Tool call failed: 0 · Conversations"),
        ({"agent": shop.id}, "Quillfeather <order> help · Conversations"),
        ({"search": " a  <b> "}, "“a <b>” · Conversations"),
        ({"external_id": "ben"}, "ben… · Conversations"),
        ({"external_id_is": "other"}, "other · Conversations"),
        ({"external_id_of": session.id}, "ben.okafor@example.com · Conversations"),
        ({"search": "ben", "problem": "failed"}, "“ben” · 3 failed · Conversations"),
        ({"agent": "x", "search": "ben"}, "Conversations"),
    ]:
        assert title(get(support_client, **query)) == expected
        assert title(get(support_client, headers=TYPING, **query)) == expected


def test_numbers_counted_later_appear_in_the_title(support_client, shop):
    for _ in range(60):
        make_run(make_session(), output_data=None)
    assert title(get(support_client, problem="failed")) == "Run failed · Conversations"
    assert title(get(support_client, COUNTS, problem="failed")) == "63 failed · Conversations"


def test_titles_are_masked_if_masking_is_on(viewer_client, shop, settings):
    session, run = shop.sessions[0], shop.runs[0]
    task, message = make_task(run, session, "look-up"), make_message(session)
    with masking_on(settings):
        for response in (
            get(viewer_client, url("detail", session.id)),
            get(viewer_client, url("run", session.id, run.id)),
            get(viewer_client, url("task", session.id, task.id)),
            get(viewer_client, url("message", session.id, message.id)),
            get(viewer_client, external_id_of=session.id),
        ):
            found = title(response)
            assert "okafor" not in found
            assert "[e-mail " in found
        # What somebody typed is shown without a stand-in.
        for name in ("search", "external_id_is"):
            assert "okafor" in title(get(viewer_client, **{name: "ben.okafor@example.com"}))
