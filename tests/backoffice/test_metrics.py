"""Metrics for Prometheus: correct over all processes, open to nobody else, limited in number."""

import os
import signal
import time

import pytest
from django.conf import settings
from django.db import connections, transaction

from backoffice.client import current_client
from backoffice.databases.time_limits import time_limit
from backoffice.middleware import access_log
from conversations.changes import redaction
from conversations.detail.views import ConversationView
from conversations.errors.views import ErrorsView
from conversations.listing.views import ConversationListView

from ..support.deployment import deployment, wait_until, write_sessions
from ..support.exports import URL
from ..support.factories import make_message, make_session
from ..support.redacting import confirmed
from ..support.signing_in import sign_in

TOKEN = "m-" + "0123456789" * 2
pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("metrics")]


@pytest.fixture
def token(settings):
    settings.METRICS_TOKEN = TOKEN


def numbers(text: str) -> dict[str, float]:
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def scrape(client, **headers) -> dict[str, float]:
    response = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}", **headers})
    assert response.status_code == 200
    return numbers(response.content.decode())


def grown(before: dict, after: dict) -> dict[str, float]:
    """The counters that grew, and by how much."""
    found = {name: after[name] - before.get(name, 0) for name in after}
    return {name: by for name, by in found.items() if by and "_total" in name}


def test_without_the_setting_there_is_no_metrics_page(client, settings):
    settings.METRICS_TOKEN = ""
    response = client.get("/metrics", headers={"Authorization": "Bearer "})
    assert response.status_code == 404


@pytest.mark.parametrize("given", ["", "Bearer ", "Bearer x", TOKEN, f"bearer {TOKEN}", "Bearer é"])
def test_without_the_token_there_are_no_metrics(client, token, given):
    response = client.get("/metrics", headers={"Authorization": given})
    assert (response.status_code, response.content) == (401, b"")


def test_the_token_is_enough(client, settings, token, django_assert_num_queries):
    """No session, no known host name and no HTTPS are needed."""
    settings.SECURE_SSL_REDIRECT = True
    with django_assert_num_queries(0):
        found = scrape(client, host="10.0.0.7:8000")
    assert [name for name in found if name.startswith("desk_build_info{")]


def test_requests_are_counted_by_view_method_and_status(support_client, token):
    session = make_session()
    before = scrape(support_client)
    support_client.get(f"/conversations/{session.id}/")
    support_client.get("/conversations/?agent=nonsense")
    support_client.post("/conversations/")
    assert grown(before, scrape(support_client)) == {
        'desk_requests_total{method="GET",status="200",view="conversations:detail"}': 1,
        'desk_requests_total{method="GET",status="200",view="conversations:list"}': 1,
        'desk_requests_total{method="POST",status="405",view="conversations:list"}': 1,
    }


def test_unknown_addresses_add_no_new_series(support_client, client, token):
    paths = [f"/{word}/{{}}" for word in ("wp-admin", "conversations", "admin", "static")]
    for path in paths:
        support_client.get(path.format("first"))
    support_client.generic("BREW1", "/coffee")
    support_client.generic("BREW1", "/conversations/")
    before = scrape(client)
    for number in range(20):
        for path in paths:
            support_client.get(path.format(number))
        support_client.generic(f"BREW{number}", "/coffee")
        support_client.generic(f"BREW{number}", "/conversations/")
    assert scrape(client).keys() == before.keys()


def test_labels_contain_nothing_from_conversations(support_client, token):
    session = make_session(external_id="somebody@example.com")
    support_client.get(f"/conversations/{session.id}/")
    support_client.get("/conversations/?search=canary")
    support_client.get("/canary@example.com")
    text = "".join(scrape(support_client))
    for word in (str(session.id), "somebody", "canary"):
        assert word not in text


def test_failed_sign_ins_are_counted(client, token):
    before = scrape(client)
    sign_in(client, "mallory", "guess")
    assert grown(before, scrape(client))["desk_sign_ins_failed_total"] == 1


def slow(*args, **kwargs):
    with time_limit("agents", 0.001), connections["agents"].cursor() as cursor:
        cursor.execute("SELECT pg_sleep(1)")


def gone(*args, **kwargs):
    connection = connections.create_connection("default")
    connection.settings_dict = {**connection.settings_dict, "HOST": "/nowhere"}
    connection.ensure_connection()


def wrong(*args, **kwargs):
    with transaction.atomic(using="default"), connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1 / 0")


TIMEOUT = 'desk_database_failures_total{{database="{}",kind="timeout"}}'


@pytest.mark.parametrize(
    ("failure", "database", "kind"),
    [
        (slow, "agents_write", "timeout"),
        (gone, "default", "unavailable"),
        (wrong, "default", "error"),
    ],
)
def test_database_failures_are_counted_by_database_and_kind(
    viewer_client, token, monkeypatch, failure, database, kind
):
    viewer_client.raise_request_exception = False
    session = make_session()
    before = scrape(viewer_client)
    monkeypatch.setattr(ConversationView, "get", failure)
    assert viewer_client.get(f"/conversations/{session.id}/").status_code >= 500
    name = f'desk_database_failures_total{{database="{database}",kind="{kind}"}}'
    assert grown(before, scrape(viewer_client))[name] == 1


@pytest.mark.parametrize("view", [ConversationListView, ErrorsView])
def test_a_timeout_that_a_page_handles_is_counted(viewer_client, token, monkeypatch, view):
    path = "/conversations/" if view is ConversationListView else "/conversations/errors/"
    before = scrape(viewer_client)
    monkeypatch.setattr(view, "get_context_data", slow)
    assert viewer_client.get(path).status_code == 503
    assert grown(before, scrape(viewer_client))[TIMEOUT.format("agents_write")] == 1


def test_a_change_that_takes_too_long_is_counted(admin_client, token, monkeypatch):
    session = make_session()
    message = make_message(session, content="word")
    path = f"/conversations/{session.id}/messages/{message.id}/redact/"
    before = scrape(admin_client)
    form = confirmed(admin_client, path, {"words": "word"})
    monkeypatch.setattr(redaction, "redact", slow)
    response = admin_client.post(path, form)
    assert "Another program is changing this" in response.content.decode()
    assert grown(before, scrape(admin_client))[TIMEOUT.format("agents_write")] == 1


def test_a_query_whose_client_left_is_not_counted_as_a_failure(viewer_client, token, monkeypatch):
    """The query was cancelled, which looks the same as a timeout."""

    def left(*args, **kwargs):
        current_client.get().has_left = True
        slow()

    before = scrape(viewer_client)
    monkeypatch.setattr(ConversationListView, "get_context_data", left)
    assert viewer_client.get("/conversations/").status_code == 503
    assert "desk_database" not in "".join(grown(before, scrape(viewer_client)))


def test_a_bug_of_ours_is_not_counted_as_a_database_failure(viewer_client, token, monkeypatch):
    viewer_client.raise_request_exception = False
    session = make_session()
    before = scrape(viewer_client)
    monkeypatch.setattr(ConversationView, "get", lambda *args, **kwargs: 1 / 0)
    assert viewer_client.get(f"/conversations/{session.id}/").status_code == 500
    assert "desk_database" not in "".join(grown(before, scrape(viewer_client)))


def test_a_request_costs_next_to_nothing(rf):
    number = 2_000
    request = rf.get("/conversations/")
    request.id = "x"
    response = type("Response", (), {"status_code": 200})()
    handler = access_log(lambda request: response)
    handler(request)
    began = time.thread_time()
    for _ in range(number):
        handler(request)
    assert (time.thread_time() - began) / number < 0.0002


# In separate processes


@pytest.fixture(scope="module")
def site():
    name = f"metrics_{os.getpid()}"
    with deployment(name, settings.LOCAL_POSTGRES) as made:
        made.settings |= {"METRICS_TOKEN": TOKEN, "EXPORTS_AT_ONCE": "1"}
        made.settings["STATEMENT_TIMEOUT_SECONDS"] = "1"
        write_sessions(made.database, 2_000, 1, 5_000)
        made.prepare()
        yield made


def scraped(server) -> dict[str, float]:
    response = server.get("/metrics", Authorization=f"Bearer {TOKEN}")
    assert response.status == 200
    return numbers(response.read().decode())


@pytest.mark.slow
def test_all_processes_are_added_up_including_ended_ones(site, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    listed = 'desk_requests_total{method="GET",status="200",view="conversations:list"}'
    with site.serving() as server:
        for _ in range(20):
            assert server.get("/conversations/").read()
        assert {scraped(server)[listed] for _ in range(10)} == {20}
        [place] = tmp_path.glob("desk-metrics-*")
        assert len(list(place.glob("counter_*.db"))) == 2
        old = server.workers()
        os.kill(old[0], signal.SIGKILL)
        wait_until(lambda: len(set(server.workers()) - set(old)) == 1)
        wait_until(lambda: not list(place.glob(f"gauge_*_{old[0]}.db")))
        assert scraped(server)[listed] == 20
        assert sum(name.startswith("desk_build_info{") for name in scraped(server)) == 1
        os.kill(server.pid, signal.SIGTERM)
        # The folder of the shared cache too.
        wait_until(lambda: not list(tmp_path.iterdir()))


@pytest.mark.slow
def test_exports_are_counted_while_they_run_and_by_how_they_ended(site):
    with site.serving() as server:
        assert server.get(f"{URL}conversations.csv").read()
        with site.locked("chat_messages"):
            running = server.get(f"{URL}messages.csv")
            refused = server.get(f"{URL}messages.csv")
            assert (running.status, refused.status) == (200, 429)
            assert scraped(server)["desk_exports_running"] == 1
            server.stop(running)
            wait_until(lambda: scraped(server)["desk_exports_running"] == 0)
        found = scraped(server)
        for outcome in ("complete", "broken", "refused"):
            assert found[f'desk_exports_total{{outcome="{outcome}"}}'] == 1, outcome


@pytest.mark.slow
def test_a_list_that_waits_for_a_lock_counts_as_a_timeout(site):
    with site.serving(workers=1) as server:
        with site.locked("chat_messages"):
            assert server.get("/conversations/").status == 503
        assert scraped(server)[TIMEOUT.format("agents")] == 1
