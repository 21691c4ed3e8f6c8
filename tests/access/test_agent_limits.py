"""A group limited to certain agents: who is limited to what, and that whatever is asked is."""

import uuid

import pytest
from django.contrib.auth.models import AnonymousUser, Group
from django.db import connection, connections
from django.http import HttpResponse, StreamingHttpResponse
from django.test.utils import CaptureQueriesContext

from accounts.models import AgentLimit
from audit.models import Act, Entry
from backoffice.databases.time_limits import time_limit as time_limited
from backoffice.middleware import streams_keep_context
from conversations import sessions
from conversations.access import agent_limits
from conversations.listing import counts
from conversations.models import Agent, ChatMessage, ModelCall, Run, Session

from ..support.admin_panel import lone_call, open_form, save
from ..support.factories import (
    Json,
    make_agent,
    make_message,
    make_model_call,
    make_run,
    make_session,
    make_task,
)
from ..support.listing import COUNTS, be_patient, match, shown_counts
from ..support.pages import get
from ..support.redacting import redact
from ..support.signing_in import let_in, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def agents():
    return [make_agent(name) for name in ("Shop", "Rail", "Dental")]


@pytest.fixture
def conversations(agents):
    """One of each agent."""
    found = [make_session(agent, external_id="shared") for agent in agents]
    for session in found:
        make_message(session, content="hello")
    return found


@pytest.fixture
def person(db):
    return make_user("person", "Admin")


def limit(user, *of_group, name="Certain agents"):
    group = Group.objects.create(name=name)
    ids = [getattr(agent, "id", agent) for agent in of_group]
    AgentLimit.objects.create(group=group, agents=ids)
    user.groups.add(group)
    return group


def seen(client) -> set:
    return set(match(client))


@pytest.fixture
def signed_in(client, person):
    let_in(client, person)
    return client


# Who is limited to what


def test_nobody_is_limited_by_default(signed_in, conversations):
    assert seen(signed_in) == {session.id for session in conversations}


def test_a_limited_group_limits_whatever_other_groups_somebody_is_in(
    signed_in, person, agents, conversations
):
    limit(person, agents[0])
    assert person.groups.count() == 2
    assert seen(signed_in) == {conversations[0].id}


def test_limited_groups_add_up(signed_in, person, agents, conversations):
    limit(person, agents[0], name="one")
    limit(person, agents[0], agents[2], name="other")
    assert seen(signed_in) == {conversations[0].id, conversations[2].id}


def test_a_limit_without_agents_shows_nothing(signed_in, person, conversations):
    limit(person)
    assert seen(signed_in) == set()
    assert signed_in.get(f"/conversations/{conversations[0].id}/").status_code == 404


def test_a_limit_to_an_agent_that_has_gone_shows_nothing(signed_in, person, conversations):
    limit(person, uuid.uuid4())
    assert seen(signed_in) == set()


def test_somebody_elses_limit_is_nobody_elses(signed_in, agents, conversations):
    limit(make_user("other", None), agents[0])
    assert len(seen(signed_in)) == 3


def test_a_superuser_is_not_limited(signed_in, person, agents, conversations):
    limit(person, agents[0])
    person.is_superuser = True
    person.save()
    assert len(seen(signed_in)) == 3


def test_a_limit_holds_from_the_next_request_and_ends_with_it(
    signed_in, person, agents, conversations
):
    group = limit(person, agents[0])
    assert len(seen(signed_in)) == 1
    AgentLimit.objects.filter(group=group).update(agents=[agents[1].id, agents[2].id])
    assert seen(signed_in) == {conversations[1].id, conversations[2].id}
    AgentLimit.objects.all().delete()
    assert len(seen(signed_in)) == 3


def test_a_moved_conversation_is_its_new_agents(signed_in, person, agents, conversations):
    """Its messages and tasks go on naming the old one."""
    limit(person, agents[0])
    mine, theirs, _ = conversations
    with connections["agents_write"].cursor() as cursor:
        cursor.execute("UPDATE sessions SET agent_id = %s WHERE id = %s", [agents[1].id, mine.id])
        cursor.execute("UPDATE sessions SET agent_id = %s WHERE id = %s", [agents[0].id, theirs.id])
    assert signed_in.get(f"/conversations/{mine.id}/").status_code == 404
    assert b"hello" in signed_in.get(f"/conversations/{theirs.id}/").content


def test_model_calls_without_a_conversation_are_for_whoever_has_no_limit(
    signed_in, person, agents, conversations
):
    own = make_model_call(conversations[0], agent_id=agents[0].id)
    make_model_call(conversations[1], agent_id=agents[0].id)
    lone_call(agent_id=agents[0].id)
    lone_call(session_id=None)
    url = "/admin/conversations/modelcall/"
    assert len(signed_in.get(url).context["cl"].result_list) == 4
    limit(person, agents[0])
    assert [row.pk for row in signed_in.get(url).context["cl"].result_list] == [own.id]


@pytest.mark.parametrize("number", ["0002", "0004", "0005"])
def test_it_holds_at_older_revisions(signed_in, person, agents, conversations, at_revision, number):
    for session, agent in zip(conversations, agents, strict=True):
        run = make_run(session)
        make_task(run, session, errors=Json(["no"]))
        make_model_call(session, run, agent_id=agent.id)
    at_revision(number)
    limit(person, agents[0])
    for path in ("", "errors/", "counts/", "?search=hello&scope=all", "export/tasks.csv"):
        response = signed_in.get(f"/conversations/{path}")
        text = b"".join(response).decode()
        assert response.status_code == 200
        assert not any(str(session.id) in text for session in conversations[1:])
    assert signed_in.get(f"/conversations/{conversations[0].id}/").status_code == 200
    calls = signed_in.get("/admin/conversations/modelcall/").context["cl"].result_list
    assert len(calls) == 1


# Changing


def test_all_of_an_external_id_erases_ones_own_and_is_silent_about_others(
    signed_in, person, agents, conversations
):
    limit(person, agents[0], agents[1])
    url = "/conversations/erase/?external_id=shared"
    assert "erase 2 conversations" in signed_in.get(url).content.decode()
    page = signed_in.get(f"/conversations/{conversations[0].id}/erase/")
    assert page.context["others"] == 1
    signed_in.post(url, {"confirmation": "erase 2 conversations"})
    assert [row.pk for row in Session.objects.all()] == [conversations[2].id]
    assert Entry.objects.get(act=Act.ERASED).details["conversations"] == 2


def test_ones_own_can_be_erased_redacted_and_edited(signed_in, person, agents, conversations):
    limit(person, agents[0])
    mine = conversations[0]
    make_model_call(mine, request_data=Json("hello"))
    message = ChatMessage.objects.get(session_id=mine.id)
    url = f"/conversations/{mine.id}/messages/{message.pk}/redact/"
    redact(signed_in, url, {"words": "hello"})
    assert ChatMessage.objects.get(pk=message.pk).content == "[redacted]"
    assert ChatMessage.objects.filter(content="hello").count() == 2
    assert save(signed_in, "session", mine.id, external_id="other").status_code == 302
    assert Session.objects.get(pk=mine.id).external_id == "other"
    word = f"erase {str(mine.id)[:8]}"
    signed_in.post(f"/conversations/{mine.id}/erase/", {"confirmation": word})
    assert not Session.objects.filter(pk=mine.id).exists()
    assert ModelCall.objects.get().request_data is None


def test_a_form_that_was_open_when_the_limit_came_is_refused(
    signed_in, person, agents, conversations
):
    theirs = conversations[1]
    form = open_form(signed_in, "session", theirs.id)
    limit(person, agents[0])
    assert save(signed_in, "session", theirs.id, form, external_id="x").status_code == 404
    assert Session.objects.get(pk=theirs.id).external_id == "shared"


# Numbers


@pytest.mark.parametrize("limited_first", [False, True])
def test_counts_that_are_kept_are_not_told_to_others(
    monkeypatch, client, person, agents, conversations, limited_first
):
    be_patient(monkeypatch)
    monkeypatch.setattr(counts, "CACHE_SECONDS", 60)
    for session in conversations:
        make_run(session, output_data=Json(None))
    limit(person, agents[0])
    other = make_user("other", "Viewer")
    expected = [(person, "1"), (other, "3"), (person, "1")]
    for user, number in expected if limited_first else reversed(expected[:2]):
        let_in(client, user)
        response = get(client, COUNTS)
        assert response.context["total"] == {"exact": int(number)}
        assert shown_counts(response)["Run failed"] == number


def test_no_request_asks_another_query_for_the_limit(signed_in, person, agents, conversations):
    def asked():
        with CaptureQueriesContext(connection) as queries:
            get(signed_in)
        return [query["sql"] for query in queries if "accounts_agentlimit" in query["sql"]]

    assert len(asked()) == 1
    limit(person, agents[0])
    [statement] = asked()
    assert 'FROM "accounts_user"' in statement


# Whatever is asked


@pytest.fixture
def request_of(rf, person, django_user_model, agents, conversations):
    """A request of somebody with a limit to the first agent, through the site's middlewares."""
    limit(person, agents[0])

    def through(view):
        request = rf.get("/")
        request.user = django_user_model.objects.get(pk=person.pk)
        return agent_limits.middleware(streams_keep_context(view))(request)

    return through


STATEMENTS = [
    "SELECT count(*) FROM sessions",
    "select count(*) from Sessions",
    b"SELECT count(*) FROM chat_messages",
    '(SELECT count(*) FROM "sessions" WHERE id IS NOT NULL)',
    "WITH mine AS (SELECT * FROM sessions) SELECT count(*) FROM mine",
    "WITH RECURSIVE n AS (SELECT 1 UNION SELECT * FROM n) SELECT count(*) FROM agents, n",
    "SELECT count(*) FROM (SELECT 1 FROM chat_messages UNION ALL SELECT 2 FROM runs) AS r",
]


@pytest.mark.parametrize("alias", ["agents", "agents_write"])
@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_statement_that_nobody_thought_of_is_limited(request_of, statement, alias):
    def view(request):
        with connections[alias].cursor() as cursor:
            cursor.execute(statement)
            return HttpResponse(str(cursor.fetchone()[0]))

    assert request_of(view).content == b"1"


REFUSED = [
    "UPDATE sessions SET external_id = 'x'",
    "DELETE FROM chat_messages",
    "INSERT INTO agents SELECT * FROM agents",
    "SELECT id FROM sessions FOR UPDATE",
    "SELECT id FROM sessions FOR NO KEY UPDATE",
    "LOCK TABLE sessions",
    "TRUNCATE sessions CASCADE",
    "TABLE sessions",
    "COPY sessions TO STDOUT",
    "SELECT * FROM public.sessions",
    'SELECT * FROM "public"."sessions"',
    "/* a comment */ SELECT * FROM sessions",
    "EXPLAIN ANALYZE DELETE FROM sessions",
]


@pytest.mark.parametrize("statement", REFUSED)
def test_what_cannot_be_limited_is_refused(request_of, statement):
    def view(request):
        with connections["agents_write"].cursor() as cursor:
            cursor.execute(statement)

    with pytest.raises(agent_limits.NotLimited):
        request_of(view)
    assert Session.objects.count() == 3


def test_every_way_to_run_a_statement_is_limited(request_of):
    def view(request):
        agents = connections["agents"]
        with agents.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM sessions WHERE external_id = %s", ["shared"])
            assert cursor.fetchone() == (1,)
            raw = cursor.cursor
            with raw.copy("COPY (SELECT id FROM sessions) TO STDOUT") as copy:
                assert len(list(copy)) == 1
            assert len(list(raw.stream("SELECT id FROM sessions"))) == 1
            assert raw.mogrify("SELECT id FROM sessions").startswith("WITH ")
        assert agents.connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)
        assert len(list(Session.objects.iterator())) == 1
        assert len(list(Session.objects.raw("SELECT * FROM sessions"))) == 1
        assert Session.objects.using("agents_write").count() == 1
        [message] = ChatMessage.objects.select_related("session", "agent")
        assert message.agent.name == "Shop"
        assert not Agent.objects.exclude(name="Shop").exists()
        # A time limit is told in front of it.
        with time_limited("agents", 5):
            assert Session.objects.count() == 1
        return HttpResponse()

    request_of(view)


def test_a_stream_is_limited_after_its_request_has_ended(request_of, conversations):
    def rows():
        yield from (str(row.pk) for row in Session.objects.all())

    response = request_of(lambda request: StreamingHttpResponse(rows()))
    assert b"".join(response).decode() == str(conversations[0].id)
    assert Session.objects.count() == 3


def test_whoever_is_not_signed_in_reads_nothing(rf, conversations):
    request = rf.get("/")
    request.user = AnonymousUser()
    answered = agent_limits.middleware(lambda request: Session.objects.count())(request)
    assert answered == 0


def test_commands_and_other_programs_are_not_limited(conversations, agents, person):
    limit(person, agents[0])
    assert sessions.get_sessions_summary()["total_count"] == 3
    assert Run.objects.count() == 0


@pytest.mark.parametrize("alias", ["agents", "agents_write"])
def test_every_connection_to_the_agent_database_is_limited(request_of, alias):
    def view(request):
        # The other tests have one connection for both.
        another = connections.create_connection(alias)
        try:
            with another.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_class")
                with pytest.raises(agent_limits.NotLimited):
                    cursor.execute("DELETE FROM sessions")
        finally:
            another.close()
        return HttpResponse()

    request_of(view)
