"""The page of a person: all conversations of one external id, whatever the agent."""

import json
import re
import uuid
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Group

from accounts.models import AgentLimit
from audit.models import Entry
from conversations.models import LONGEST_IN_ADDRESS

from ..support.factories import make_agent, make_message, make_run, make_session
from ..support.listing import COUNTS, NEW, listed, match
from ..support.masking import masking_on
from ..support.pages import LIST, get, text, url
from ..support.signing_in import let_in, make_user

pytestmark = pytest.mark.django_db

ODD = [
    "ella.quist@example.com", "a/b?c=d&e#f", "100% +1 ;,", "<b>\"x'</b>", " edge ",
    "two\nlines\ttab", "\u202eabc", "x" * LONGEST_IN_ADDRESS, "ü" * 600, "..",
    str(uuid.UUID(int=5)), "Ünïcode 東京 👩‍👩‍👧",
]  # fmt: skip


def links(response) -> list[str]:
    """The page's links to a person's page."""
    found = re.findall(r'<a class="person" href="([^"]+)"', response.content.decode())
    return [link.replace("&amp;", "&") for link in found]


@pytest.mark.parametrize("external_id", ODD)
def test_rows_and_conversations_link_to_the_page_of_any_external_id(support_client, external_id):
    first = make_session(make_agent("Shop"), external_id=external_id)
    make_session(external_id=f"{external_id}1")
    make_session(external_id=external_id.swapcase() + "2")
    second = make_session(make_agent("Bank"), external_id=external_id)
    # A newer conversation without an external id.
    make_session()
    for page in (
        get(support_client, agent=first.agent_id),
        get(support_client, url("detail", first.id)),
    ):
        [link] = links(page)
        assert len(link) < 1_500
        found = support_client.get(link)
        assert listed(found) == [second.id, first.id]
        heading = re.search(r"<h1>External id <bdi>(.*?)</bdi></h1>", found.content.decode(), re.S)
        assert heading
        assert text(found).count("2 conversations with 2 agents, from") == 1


def test_conversations_without_an_external_id_have_no_link(support_client):
    for external_id in (None, "", "[redacted]"):
        session = make_session(external_id=external_id)
        assert links(get(support_client, url("detail", session.id))) == []
    assert links(get(support_client)) == []


def test_the_exact_external_id_is_filtered_counted_announced_and_exported(
    support_client, admin_client
):
    agent = make_agent()
    mine = make_session(agent, external_id="ella")
    make_message(mine, content="hello")
    make_run(mine, output_data=None)
    other = make_session(external_id="ella")
    make_session(agent, external_id="ELLA")
    make_session(agent, external_id="ella2")
    assert match(support_client, external_id_is="ella") == [other.id, mine.id]
    assert match(support_client, external_id_is="ella", agent=agent.id) == [mine.id]
    assert match(support_client, external_id_is="ella", search="hello") == [mine.id]
    assert match(support_client, external_id_is="ella", problem="failed") == [mine.id]
    assert "1 with problems" in text(get(support_client, external_id_is="ella"))
    assert "2 conversations" in text(get(support_client, COUNTS, external_id_is="ella"))
    new = get(support_client, NEW, external_id_is="ella", since="0." + "0" * 32).json()
    assert set(new["moved"]) == {str(mine.id), str(other.id)}
    for form in ({"external_id_is": "ella"}, {"external_id_of": mine.id}):
        file = get(admin_client, "/conversations/export/conversations.jsonl", **form)
        rows = [json.loads(line) for line in b"".join(file.streaming_content).splitlines()]
        assert {row["session_id"] for row in rows} == {str(mine.id), str(other.id)}


def test_unknown_external_ids_match_nothing_and_bad_input_is_explained(support_client):
    make_session(external_id=None)
    make_session(external_id="")
    nobody = make_session()
    for query in ({"external_id_is": "x"}, {"external_id_of": uuid.uuid4()},
                  {"external_id_of": nobody.id}, {"external_id_is": "[redacted]"}):  # fmt: skip
        assert match(support_client, **query) == []
    for query in (
        {"external_id_of": "x"},
        {"external_id_is": "a\0b"},
        {"external_id_is": "x" * 201},
    ):
        response = get(support_client, **query)
        assert listed(response) == []
        assert not response.context["filter"].is_valid()


def test_the_chip_names_the_person_and_can_be_removed(support_client):
    session = make_session(external_id="ella")
    for query in ({"external_id_is": "ella"}, {"external_id_of": session.id}):
        [chip] = get(support_client, **query).context["chips"]
        assert chip == {"label": "External id", "text": "ella", "without": ""}


@pytest.fixture
def masked(settings):
    with masking_on(settings):
        yield


def test_a_masked_external_id_is_not_in_the_address(viewer_client, masked):
    first = make_session(external_id="ella.quist@example.com")
    second = make_session(external_id="ella.quist@example.com")
    make_session(external_id="ella.quist@example.co")
    plain = make_session(external_id="ticket-7")
    assert links(get(viewer_client, url("detail", plain.id))) == [f"{LIST}?external_id_is=ticket-7"]
    for page in (get(viewer_client), get(viewer_client, url("detail", first.id))):
        assert b"quist" not in page.content
        link = links(page)[-1]
        found = viewer_client.get(link)
        assert listed(found) == [second.id, first.id]
        assert b"quist" not in found.content
        assert "External id [e-mail " in text(found).replace("  ", " ")


def test_agent_access_holds_for_a_person(client):
    seen, hidden = make_agent("Seen"), make_agent("Hidden")
    mine = make_session(seen, external_id="ella")
    other = make_session(hidden, external_id="ella")
    user = make_user("person", "Admin")
    user.groups.add(group := Group.objects.create(name="Seen alone"))
    AgentLimit.objects.create(group=group, agents=[seen.id])
    let_in(client, user)
    assert match(client, external_id_is="ella") == [mine.id]
    assert match(client, external_id_of=mine.id) == [mine.id]
    # Nor does a conversation that the user may not see reveal its external id.
    assert match(client, external_id_of=other.id) == []
    assert match(client, search="ella") == [mine.id]
    assert match(client, search=str(other.id)) == []


def test_the_audit_log_names_the_page_without_the_external_id(support_client):
    get(support_client, external_id_is="ella.quist@example.com")
    entry = Entry.objects.latest("pk")
    assert "ella" not in json.dumps(entry.details)
    assert "external_id_is" in json.dumps(entry.details)


def test_a_setting_names_the_external_id_on_all_pages(support_client, admin_client, settings):
    settings.EXTERNAL_ID_LABEL = "Customer"
    session = make_session(external_id="ella")
    make_session(external_id="ella")
    make_message(session)
    pages = [
        get(support_client, search="ella"),
        get(support_client, external_id="el"),
        get(support_client, external_id_is="ella"),
        get(admin_client),
        get(support_client, url("detail", session.id)),
        get(admin_client, "/admin/conversations/session/"),
        get(admin_client, f"/admin/conversations/session/{session.id}/change/"),
        get(admin_client, "/admin/conversations/run/"),
        get(admin_client, url("erase", session.id)),
    ]
    for page in pages:
        html = page.content.decode()
        assert re.search("customer", html, re.I), page.request["PATH_INFO"]
        assert not re.search(r"external[ _]id(?!_is|_of|=|\")", html, re.I), page.request
    assert 'placeholder="Words, customer, or any id"' in pages[3].content.decode()
    file = get(admin_client, "/conversations/export/conversations.csv")
    assert b"external_id" in b"".join(file.streaming_content).splitlines()[0]


def test_an_abbreviation_keeps_its_capitals(settings, support_client):
    settings.EXTERNAL_ID_LABEL = "CRM number"
    assert 'placeholder="Words, CRM number, or any id"' in get(support_client).content.decode()


def test_links_to_a_person_are_quoted(support_client):
    session = make_session(external_id="a b&c=d")
    query = urlencode({"external_id_is": "a b&c=d"})
    assert links(get(support_client, url("detail", session.id))) == [f"{LIST}?{query}"]
