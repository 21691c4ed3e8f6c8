"""Distributed tables give the same pages, fragments and files as plain ones, to the letter."""

import pytest
from django.db import transaction

from ..support.addresses import make_examples
from ..support.citus import site_on
from ..support.figures import roll_up
from ..support.limited import answer, let_in_limited
from ..support.signing_in import let_in, make_user
from ..support.walks import (
    ADDRESSES,
    FOR_ADMINS,
    MODELS,
    look_back_in_every_way,
    requests,
    searches,
)

pytestmark = [
    pytest.mark.citus,
    pytest.mark.django_db,
    pytest.mark.xdist_group("citus"),
    pytest.mark.usefixtures("patient"),
]
# Pages that read nothing of the agent database, or whose ids of our own rows are never the same.
OURS = (
    "admin:a",
    "admin:index",
    "admin:log",
    "admin:password",
    "admin:jsi18n",
    "csp_report",
    "help:",
)


def answers(uri: str, client, asked: list) -> dict:
    """{(URL, whether for a fragment): (status, headers, text)}, with figures counted anew."""
    with transaction.atomic(), site_on(uri):
        roll_up()
        found = {
            (url, bool(headers)): answer(client, "get", url, headers=headers)
            for _, url, headers in asked
        }
        transaction.set_rollback(True)
    return found


def differences(histories, client, names: list[str], every=1) -> list:
    """Requests that a distributed database answers differently."""
    side = histories.side
    with site_on(histories.plain):
        examples = make_examples(**{name: side.named(model) for name, model in MODELS.items()})
        asked = list(requests(side, examples, names, searches(side)[::every]))
    expected = answers(histories.plain, client, asked)
    found = answers(histories.distributed, client, asked)
    # Guards against comparing nothing.
    assert len(expected) > 100
    assert max(len(text) for _, _, text in expected.values()) > 50_000
    return [(key, found[key][0]) for key in expected if found[key] != expected[key]]


def names_for(is_admin: bool) -> list[str]:
    others = OURS if is_admin else (*OURS, *FOR_ADMINS)
    return [name for name in ADDRESSES if not name.startswith(others)]


def test_an_admin_gets_the_same_pages_and_files(histories, client):
    let_in(client, make_user("boss", "Admin"))
    assert differences(histories, client, names_for(is_admin=True)) == []


def test_a_limited_user_who_sees_masked_data_gets_the_same_pages_and_files(
    histories, client, settings
):
    settings.MASK_PERSONAL_DATA = True
    let_in_limited(client, "Support", [histories.side.agent])
    assert differences(histories, client, names_for(is_admin=False), every=4) == []


def test_searches_that_look_back_find_the_same(histories, client, monkeypatch):
    look_back_in_every_way(monkeypatch)
    let_in(client, make_user("boss", "Admin"))
    names = [name for name in names_for(is_admin=False) if name.startswith("conversations:")]
    assert differences(histories, client, names, every=2) == []
