"""The session and the user of a request are those that Django's own classes would read."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.models import AgentLimit, User
from accounts.signed_in import Backend, SessionStore

from ..support.factories import make_agent
from ..support.signing_in import make_user

pytestmark = pytest.mark.django_db
ANNOTATIONS = ("permissions", "limits_of_groups", "names_of_groups")


def values(user) -> dict:
    names = [field.attname for field in User._meta.concrete_fields]
    return {name: getattr(user, name) for name in (*names, *ANNOTATIONS)}


@pytest.mark.parametrize("roles", [(), ("Support",), ("Support", "Viewer")])
def test_a_user_is_read_with_permissions_and_limits(roles):
    user = make_user("ann", None)
    for role in roles:
        group = Group.objects.get(name=role)
        user.groups.add(group)
        AgentLimit.objects.create(group=group, agents=[make_agent().id])
    user.user_permissions.add(Permission.objects.get(codename="use_admin"))
    found = Backend().get_user(user.pk)
    assert values(found) == values(User.objects.get(pk=user.pk))
    assert found._state.db == "default"
    assert not found._state.adding
    assert (found.agent_limit is None) == (not roles)


def test_nobody_is_read_who_is_gone_or_may_not_sign_in():
    user = make_user("ann", "Support")
    assert Backend().get_user(user.pk + 1) is None
    User.objects.update(is_active=False)
    assert Backend().get_user(user.pk) is None


def test_a_session_is_read_until_it_expires():
    stored = db.SessionStore()
    stored["words"] = "Tere"
    stored.save()
    found = SessionStore(stored.session_key)
    assert (found["words"], found.session_key) == ("Tere", stored.session_key)
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    found = SessionStore(stored.session_key)
    assert "words" not in found
    assert found.session_key is None


def test_a_session_that_was_tampered_with_is_empty():
    stored = db.SessionStore()
    stored["words"] = "Tere"
    stored.save()
    Session.objects.update(session_data="x" + Session.objects.get().session_data)
    assert list(SessionStore(stored.session_key).keys()) == []
