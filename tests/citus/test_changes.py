"""Edits, redaction, erasure and purging change distributed tables exactly as plain ones."""

from io import StringIO

import pytest
from django.core.management import call_command

from ..support.citus import site_on
from ..support.limited import plain
from ..support.pages import body
from ..support.signing_in import let_in, make_user
from ..support.tables import everything
from ..support.walks import changes

pytestmark = [
    pytest.mark.citus,
    pytest.mark.django_db,
    pytest.mark.xdist_group("citus"),
    pytest.mark.usefixtures("patient"),
]
COMMANDS = (
    ("purge", "--before=2026-06-05", "--dry-run"),
    ("purge", "--before=2026-06-05", "--external-id=user-1"),
    ("purge", "--before=2026-06-05"),
)


def made_on(uri: str, client, histories) -> dict:
    """{change: what was answered and, after some of them, all rows}"""
    found = {}
    with site_on(uri):
        for what, do in changes(client, histories.side):
            found[what] = plain(body(do()))
            found[f"{what}: rows"] = everything()
        for command in COMMANDS:
            out = StringIO()
            call_command(*command, stdout=out)
            found[" ".join(command)] = out.getvalue()
            found[f"{command}: rows"] = everything()
    return found


def test_every_change_is_the_same(histories, client):
    let_in(client, make_user("boss", "Admin"))
    expected = made_on(histories.plain, client, histories)
    found = made_on(histories.distributed, client, histories)
    assert [what for what in expected if found[what] != expected[what]] == []
    rows = [len(each) for what, each in expected.items() if what.endswith("rows")]
    # Guards against comparing nothing.
    assert rows[0] > rows[-1] > 100
