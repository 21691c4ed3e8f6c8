"""Keyboard shortcuts can be switched off, by each user for themselves."""

import pytest
from django.test import Client

from audit.models import Act, Entry

from ..support.signing_in import let_in, make_user

pytestmark = pytest.mark.django_db

PATH = "/accounts/shortcuts/"
# A page whose letters do something holds the list of what they do.
LIST = 'id="shortcuts-dialog"'


def entries() -> list[dict]:
    return list(
        Entry.objects.filter(act=Act.EDITED).order_by("pk").values_list("details", flat=True)
    )


def test_they_are_on_until_somebody_switches_them_off(support_client):
    other = Client()
    let_in(other, make_user("other", "Support"))
    assert LIST in support_client.get("/conversations/").content.decode()
    assert support_client.post(PATH)["Location"] == "/accounts/"
    assert LIST not in support_client.get("/conversations/").content.decode()
    assert LIST in other.get("/conversations/").content.decode()
    support_client.post(PATH, {"shortcuts": "on"})
    assert LIST in support_client.get("/conversations/").content.decode()


def test_the_audit_trail_tells_each_change_once(support_client):
    support_client.post(PATH, {"shortcuts": "on"})
    assert entries() == []
    support_client.post(PATH)
    support_client.post(PATH)
    [entry] = entries()
    assert entry["table"] == "accounts_user"
    assert (entry["before"], entry["after"]) == ({"shortcuts": True}, {"shortcuts": False})


def test_what_cannot_be_recorded_is_not_done(support_client, monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr("accounts.views.record", refuse)
    with pytest.raises(RuntimeError):
        support_client.post(PATH)
    assert LIST in support_client.get("/conversations/").content.decode()


def test_a_get_changes_nothing(support_client):
    assert support_client.get(PATH).status_code == 405
    assert LIST in support_client.get("/conversations/").content.decode()
