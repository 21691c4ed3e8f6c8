"""While a database is gone, frozen, full or replaced: calm pages, and nothing is lost."""

import html
import os
import re
import signal
import time
import uuid
from contextlib import contextmanager
from hashlib import md5
from urllib.parse import urlencode

import psycopg
import pytest

from backoffice.error_pages import sent_form

from ..support.faults import FIGURES, LIST, NOISE_SECONDS, Site, two_servers

PARTS = ("ours", "agents")
ALIAS = {"ours": "default", "agents": "agents"}
NAME = {"ours": "our database", "agents": "the agent database"}
SILENT = "The database is not responding"
CONVERSATION = f"/conversations/{uuid.UUID(md5(b'session1').hexdigest())}/"
TOKEN = "t" * 32
# With a time limit of 2 s. Two processes of eight threads share 24 requests, but not evenly.
THREE_AT_A_TIME = 3 * 2

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults_databases")]


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    settings = {"STATEMENT_TIMEOUT_SECONDS": "2", "MASK_PERSONAL_DATA": "1"}
    with two_servers(tmp_path_factory.mktemp("faults"), **settings) as made:
        yield made


@pytest.fixture(scope="module")
def site(servers):
    with servers.serving() as serving:
        yield serving


@pytest.fixture(scope="module")
def admin_cookie(servers):
    return servers.deployment.sign_in("Admin")


@pytest.mark.parametrize("part", PARTS)
def test_a_database_that_is_gone(site: Site, part):
    gone = getattr(site, part).gone()
    site.endure(f"{NAME[part]} is gone", gone, words=SILENT, **{ALIAS[part]: "unavailable"})


@pytest.mark.parametrize("part", PARTS)
def test_a_database_that_is_frozen(site: Site, part):
    frozen = getattr(site, part).frozen()
    site.endure(f"{NAME[part]} is frozen", frozen, words=SILENT, **{ALIAS[part]: "unavailable"})


def test_a_frozen_database_during_a_query(site: Site):
    """As opposed to one that is idle when it freezes."""
    with site.agents.locked():
        began = time.monotonic()
        with site.agents.frozen_after(0.5):
            answer = site.get(LIST)
    assert answer.status == 503
    assert time.monotonic() - began < 8
    time.sleep(1)
    assert site.get(LIST).status == 200


def test_a_hanging_database_process_is_given_up(site: Site):
    """The server itself is well, so the page tries again through a new connection."""
    for _ in range(3):
        assert {answer.status for answer in site.get_at_once(LIST)} == {200}
    hanging = site.agents.backends()
    for pid in hanging:
        os.kill(pid, signal.SIGSTOP)
    try:
        answers = site.get_at_once(LIST)
    finally:
        for pid in hanging:
            os.kill(pid, signal.SIGCONT)
    assert len(hanging) > 4
    assert {answer.status for answer in answers} == {200}
    assert max(answer.seconds for answer in answers) < 10


def test_a_slow_database_gets_its_time_limit(site: Site):
    slow = site.agents.locked()
    site.endure("the agent database is slow, at a limit of 2 s", slow, words="That took too long")


def test_a_page_waits_for_a_lock_on_agents_only_once(site: Site):
    """Agents' names are in the filters too, but the error page does not wait for them again."""
    for path in (LIST, "/conversations/errors/"):
        locked = site.agents.holding("LOCK TABLE agents IN ACCESS EXCLUSIVE MODE", "history")
        name = f"the agent database is locked, at a limit of 2 s ({path.partition('?')[0]})"
        site.endure(name, locked, path=path, words="That took too long", seconds=THREE_AT_A_TIME)


@pytest.mark.parametrize("table", ["audit_entry", "accounts_user", "django_session"])
def test_our_database_that_is_locked(site: Site, table):
    locked = site.ours.holding(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE", "desk")
    name = f"our database is locked ({table}), at a limit of 2 s"
    words = "The database is busy"
    site.endure(name, locked, path=CONVERSATION, words=words, seconds=THREE_AT_A_TIME)


def test_our_database_that_is_slow(site: Site):
    slow = site.ours.slow_to_write("audit_entry", "desk")
    name = "our database is slow, at a limit of 2 s"
    words = "The database is busy"
    site.endure(name, slow, path=CONVERSATION, words=words, seconds=THREE_AT_A_TIME)


@pytest.mark.parametrize("how", ["locked", "slow"])
def test_a_change_while_the_agent_database_is(admin_cookie, site: Site, how):
    cookie = f"{admin_cookie}; csrftoken={TOKEN}"
    page = f"{CONVERSATION}erase/"
    word = "erase " + CONVERSATION.split("/")[2][:8]
    body = urlencode({"csrfmiddlewaretoken": TOKEN, "confirmation": word})
    faults = {
        "locked": site.agents.holding("SELECT FROM chat_messages FOR UPDATE", "history"),
        "slow": site.agents.slow_to_write("agents.sessions", "history"),
    }
    with faults[how]:
        answer = site.ask("POST", page, body, cookie, seconds=60)
    assert answer.status == 503
    assert "Another program is changing this" in answer.body
    # 3 s to wait for a lock, but 30 s for slow work, because a lot may have to be changed.
    limit = 3 if how == "locked" else 30
    assert answer.seconds < limit + NOISE_SECONDS
    assert site.get(CONVERSATION).status == 200
    name = f"the agent database is {how} for a change"
    FIGURES.append((name, 503, answer.seconds, answer.seconds, 200, 0.0))


def test_reading_works_while_the_agent_database_is_read_only(site: Site):
    read_only = site.agents.configured("default_transaction_read_only", "on")
    site.endure("the agent database is read-only", read_only, status=200)


def test_nothing_that_must_be_recorded_is_shown_while_our_database_is_read_only(site: Site):
    read_only = site.ours.configured("default_transaction_read_only", "on")
    words = "Changes cannot be saved"
    site.endure("our database is read-only", read_only, path=CONVERSATION, words=words)


def test_a_database_at_its_connection_limit(site: Site):
    full = site.agents.full_of_clients()
    name = "the agent database has no connection left"
    site.endure(name, full, words=SILENT, agents="unavailable")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")
def test_a_full_disk_of_our_database(site: Site):
    def until_it_is_full():
        for _ in range(100):
            if site.get(CONVERSATION).status != 200:
                return
        pytest.fail("There was room.")

    full = site.ours.full_disk(["audit_entry"], until_it_is_full)
    words = "Changes cannot be saved"
    site.endure("the disk of our database is full", full, path=CONVERSATION, words=words)


def test_a_column_that_is_gone_is_not_read_again(site: Site):
    """As after going back to an older revision. A newer one is tested in test_faults_schema.py."""
    column = "agents.runs {} COLUMN duration_seconds"

    def answers_without_it():
        assert {answer.status for answer in site.get_at_once("/conversations/")} == {200}
        site.agents.execute(f"ALTER TABLE {column.format('DROP')}", database="history")
        try:
            answers = site.get_at_once("/conversations/")
            assert {answer.status for answer in site.get_at_once("/conversations/")} == {200}
        finally:
            site.agents.execute(f"ALTER TABLE {column.format('ADD')} numeric", database="history")
        return answers

    answers = answers_without_it()
    if {answer.status for answer in answers} == {200}:
        # Every process happened to ask for the columns just then, and asks again in a minute.
        time.sleep(61)
        answers = answers_without_it()
    told = [answer.body for answer in answers if answer.status == 503]
    assert told
    assert all("The database is being changed" in body for body in told)
    assert {answer.status for answer in answers} <= {200, 503}
    assert {answer.status for answer in site.get_at_once("/conversations/")} == {200}


def send_reveal(site: Site, fields: dict):
    cookie = f"{site.deployment.cookie}; csrftoken={TOKEN}"
    body = urlencode({"csrfmiddlewaretoken": TOKEN, **fields})
    return site.ask("POST", f"{CONVERSATION}reveal/?search=word", body, cookie)


@pytest.mark.parametrize("part", PARTS)
def test_a_form_is_kept_and_can_be_sent_again(site: Site, part):
    reason = 'The customer asked: "why"?\r\nSecond <line>'
    with getattr(site, part).gone():
        answer = send_reveal(site, {"reason": reason})
    assert answer.status == 503
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', answer.body))
    assert html.unescape(fields["reason"]) == reason
    assert f'action="{CONVERSATION}reveal/?search=word"' in answer.body
    assert send_reveal(site, {"reason": html.unescape(fields["reason"])}).status == 302
    with psycopg.connect(site.ours.uri("desk")) as connection:
        told = "SELECT details->>'reason' FROM audit_entry WHERE act = 'revealed'"
        (kept,) = connection.execute(f"{told} ORDER BY id DESC LIMIT 1").fetchone()
    assert kept.split() == reason.split()


def test_a_password_is_not_written_into_the_page(site: Site):
    body = urlencode({"csrfmiddlewaretoken": TOKEN, "username": "me", "password": "hunter2"})
    with site.ours.gone():
        answer = site.ask("POST", "/accounts/login/", body, f"csrftoken={TOKEN}")
    assert answer.status == 503
    assert "hunter2" not in answer.body
    assert "me" not in re.findall(r'value="([^"]*)"', answer.body)


def test_nor_is_a_password_that_no_view_has_read_yet(rf):
    assert sent_form(rf.post("/", {"reason": "because"})) == [("reason", "because")]
    assert sent_form(rf.post("/", {"reason": "because", "new_password1": "hunter2"})) is None
    assert sent_form(rf.get("/")) is None


def test_the_filters_stay_in_the_address_to_try_again(site: Site):
    with site.agents.gone():
        answer = site.get(LIST)
    assert html.escape(LIST) in answer.body


def test_the_pool_answers_the_first_page_after_a_long_time_without_a_database(servers):
    """The pool's own pause between attempts would grow with each attempt that failed."""
    servers.deployment.settings["DATABASE_POOL_SIZE"] = "4"
    try:
        with servers.serving() as site:
            with site.agents.gone():
                ended = time.monotonic() + 6
                while time.monotonic() < ended:
                    assert site.get(LIST).status == 503
            began = time.monotonic()
            assert site.get(LIST).status == 200
            assert time.monotonic() - began < 3
            with site.agents.frozen():
                answers = [site.get(LIST), *site.get_at_once(LIST, 8)]
            assert {answer.status for answer in answers} == {503}
            assert max(answer.seconds for answer in answers) < 8
            assert site.get(LIST).status == 200
    finally:
        del servers.deployment.settings["DATABASE_POOL_SIZE"]


def test_another_server_takes_over_at_the_same_address(site: Site, tmp_path):
    standby = site.agents.standby(tmp_path / "standby")

    @contextmanager
    def failing_over():
        site.agents.signal(signal.SIGKILL)
        yield
        standby.execute("SELECT pg_promote()")
        site.address.unlink()
        site.address.symlink_to(standby.socket_directory)

    try:
        site.endure("another server takes over", failing_over(), words=SILENT, agents="unavailable")
    finally:
        standby.stop()
        site.address.unlink()
        site.address.symlink_to(site.agents.socket_directory)
        site.agents.start()
