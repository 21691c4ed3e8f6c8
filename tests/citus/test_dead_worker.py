"""While a worker is dead, pages say so calmly; when it is back, they work again."""

import pytest

from conversations.models import Session

from ..support import citus
from ..support.limited import plain
from ..support.pages import LIST, body
from ..support.signing_in import let_in, make_user

pytestmark = [pytest.mark.citus, pytest.mark.django_db, pytest.mark.xdist_group("citus")]
READING = (
    LIST,
    f"{LIST}?problem=any",
    f"{LIST}?search=the&scope=all",
    f"{LIST}errors/",
    "/monitor/",
    "/model-calls/",
    "/home/now/",
    f"{LIST}export/messages.csv",
    "/admin/conversations/task/",
)


@pytest.fixture
def worker() -> tuple[str, int]:
    """The last of the workers, if it can be killed and started again from here."""
    host, port = citus.nodes()[-1]
    if host not in ("127.0.0.1", "localhost", "::1"):
        pytest.skip("The workers of the Citus cluster are on other machines.")
    return host, port


def statuses(client, paths) -> dict[str, int]:
    found = {}
    for path in paths:
        response = client.get(path)
        text = body(response)
        assert "Traceback" not in text
        if response.status_code == 503:
            assert "The database is not responding" in text
        found[path] = response.status_code
    return found


def test_pages_are_calm_without_a_worker_and_work_again_with_it(histories, client, worker):
    client.raise_request_exception = False
    let_in(client, make_user("boss", "Admin"))
    with citus.site_on(histories.distributed):
        conversations = [f"{LIST}{pk}/" for pk in Session.objects.values_list("pk", flat=True)[:5]]
        paths = [*READING, *conversations]
        expected = {path: plain(body(client.get(path))) for path in paths}
        with citus.killed(worker):
            without = statuses(client, paths)
        again = {path: plain(body(client.get(path))) for path in paths}
    # A conversation's page also shows the next ones, which may be on any worker.
    assert set(without.values()) == {503}
    assert [path for path in paths if again[path] != expected[path]] == []


def test_a_change_without_its_worker_is_refused_and_changes_nothing(histories, client, worker):
    client.raise_request_exception = False
    let_in(client, make_user("boss", "Admin"))
    with citus.site_on(histories.distributed):
        before = set(Session.objects.values_list("pk", flat=True))
        url = f"{LIST}erase/?external_id=shared"
        with citus.killed(worker):
            response = client.post(url, {"confirmation": "erase 2 conversations"})
        assert response.status_code == 503
        assert set(Session.objects.values_list("pk", flat=True)) == before
