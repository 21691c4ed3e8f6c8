"""Our indexes are built on distributed tables, and pages use them."""

import pytest
from django.conf import settings

from conversations.indexes import catalogue, state

from ..support import citus
from ..support.deployment import Deployment
from ..support.signing_in import let_in, make_user
from .test_pages import differences, names_for

pytestmark = [
    pytest.mark.citus,
    pytest.mark.django_db,
    pytest.mark.xdist_group("citus"),
    pytest.mark.usefixtures("patient"),
]


def agent_indexes(uri: str, *arguments: str) -> str:
    """What the command prints; as in operation, in its own process, which needs several threads."""
    site = Deployment(database=None, uri=settings.LOCAL_POSTGRES.uri("postgres"))
    site.settings = {"KAVALAI_DB_URI": uri}
    result = site.run("agent_indexes", *arguments, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_indexes_are_built_used_and_dropped(histories, client):
    for uri in (histories.plain, histories.distributed):
        agent_indexes(uri, "--apply")
    shown = agent_indexes(histories.distributed)
    assert shown.count(": present, on the workers") == len(catalogue.known_names()) - 1
    with citus.site_on(histories.distributed):
        assert state.ready() == {index.name for index in catalogue.indexes()}
    let_in(client, make_user("boss", "Admin"))
    names = [name for name in names_for(is_admin=False) if name.startswith("conversations:")]
    assert differences(histories, client, names, every=2) == []
    agent_indexes(histories.distributed, "--drop")
    with citus.site_on(histories.distributed):
        assert state.ready() == set()
