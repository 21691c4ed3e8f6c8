"""Every change to accounts and groups in the panel is in the audit log, in the same transaction."""

import json

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission

from audit.models import Act, Entry

from ..support.signing_in import PASSWORD, make_user

pytestmark = pytest.mark.django_db

USERS = "/admin/accounts/user/"
GROUPS = "/admin/auth/group/"
NEW = "a whole new one 7"
NO_LIMIT = {"agent_limit-TOTAL_FORMS": "0", "agent_limit-INITIAL_FORMS": "0"}


def edited(table="accounts_user"):
    """(row, before, after) of each edit. Checks that all were made by the admin."""
    entries = Entry.objects.filter(act=Act.EDITED, details__table=table).order_by("id")
    assert {each.username for each in entries} <= {"admin"}
    return [tuple(each.details[name] for name in ("row", "before", "after")) for each in entries]


def user_form(user, **changes):
    groups = [group.pk for group in user.groups.all()]
    return {
        "username": user.username,
        "email": user.email,
        "is_active": "on",
        "groups": groups,
        **changes,
    }


def save(client, user, **changes):
    response = client.post(f"{USERS}{user.pk}/change/", user_form(user, **changes))
    assert response.status_code == 302, response.content.decode()


def test_adding_an_account_is_recorded(admin_client):
    form = {"username": "ann", "email": "ann@example.com", "usable_password": "true"}
    form |= {"password1": NEW, "password2": NEW}
    assert admin_client.post(f"{USERS}add/", form).status_code == 302
    [(row, before, after)] = edited()
    assert (row, before) == ("ann", None)
    assert after["email"] == "ann@example.com"
    assert (after["groups"], after["password"]) == ([], True)


def test_edits_of_an_account_are_recorded(admin_client):
    user = make_user(email="alice@example.com")
    viewer = Group.objects.get(name="Viewer")
    save(admin_client, user, groups=[viewer.pk])
    save(admin_client, user, email="alice@new.example", groups=[viewer.pk])
    save(admin_client, user, username="al", email="alice@new.example", groups=[])
    form = user_form(user, username="al", email="alice@new.example", groups=[])
    del form["is_active"]
    admin_client.post(f"{USERS}{user.pk}/change/", form)
    assert edited() == [
        ("alice", {"groups": ["Support"]}, {"groups": ["Viewer"]}),
        ("alice", {"email": "alice@example.com"}, {"email": "alice@new.example"}),
        ("alice", {"name": "alice", "groups": ["Viewer"]}, {"name": "al", "groups": []}),
        ("al", {"is_active": True}, {"is_active": False}),
    ]


def test_saving_without_a_change_records_no_edit(admin_client):
    save(admin_client, make_user(email="alice@example.com"))
    assert edited() == []


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"usable_password": "true", "password1": NEW, "password2": NEW}, "changed"),
        ({"usable_password": "false", "unset-password": "1"}, "removed"),
        ({"usable_password": "false"}, None),
        ({"usable_password": "true", "password1": NEW, "password2": "another"}, None),
    ],
)
def test_a_new_password_is_recorded_without_its_text(admin_client, form, told):
    user = make_user()
    admin_client.post(f"{USERS}{user.pk}/password/", form)
    assert edited() == ([("alice", {}, {"password": told})] if told else [])
    old, user = user.password, refreshed(user)
    kept = json.dumps(list(Entry.objects.values_list("details", flat=True)))
    assert all(secret not in kept for secret in (NEW, PASSWORD, old, user.password))


def refreshed(user):
    return get_user_model().objects.get(pk=user.pk)


@pytest.mark.parametrize("bulk", [False, True])
def test_deleting_accounts_is_recorded(admin_client, bulk):
    users = [make_user("ann", email="ann@example.com"), make_user("bob")]
    if bulk:
        ids = [user.pk for user in users]
        form = {"action": "delete_selected", "_selected_action": ids, "post": "yes"}
        admin_client.post(USERS, form)
    else:
        for user in users:
            admin_client.post(f"{USERS}{user.pk}/delete/", {"post": "yes"})
    assert not get_user_model().objects.filter(username__in=["ann", "bob"]).exists()
    told = {row: (before["email"], before["groups"], after) for row, before, after in edited()}
    assert told == {"ann": ("ann@example.com", ["Support"], None), "bob": ("", ["Support"], None)}


def test_edits_of_groups_and_their_permissions_are_recorded(admin_client):
    may = Permission.objects.get(codename="export_session")
    form = {"name": "Takers", "permissions": [may.pk], **NO_LIMIT}
    assert admin_client.post(f"{GROUPS}add/", form).status_code == 302
    group = Group.objects.get(name="Takers")
    make_user(group="Takers")
    url = f"{GROUPS}{group.pk}/change/"
    assert admin_client.post(url, {**form, "permissions": []}).status_code == 302
    admin_client.post(f"{GROUPS}{group.pk}/delete/", {"post": "yes"})
    right = f"{may.content_type.app_label}.export_session"
    assert edited("auth_group") == [
        ("Takers", None, {"name": "Takers", "permissions": [right], "members": []}),
        ("Takers", {"permissions": [right]}, {"permissions": []}),
        ("Takers", {"name": "Takers", "permissions": [], "members": ["alice"]}, None),
    ]


def test_entries_about_staff_accounts_are_not_masked(admin_client, settings):
    settings.MASK_PERSONAL_DATA = True
    user = make_user("alice@example.com", email="alice@example.com")
    save(admin_client, user, email="alice@new.example")
    after = {"email": "alice@new.example"}
    assert edited() == [("alice@example.com", {"email": "alice@example.com"}, after)]


@pytest.mark.parametrize("act", ["save", "password", "delete", "delete several"])
def test_a_change_that_cannot_be_recorded_is_not_made(admin_client, monkeypatch, act):
    user = make_user(email="alice@example.com")

    def broken(*args, **kwargs):
        raise RuntimeError

    for module in ("accounts.admin", "audit.panel"):
        monkeypatch.setattr(f"{module}.record", broken)
    several = {"action": "delete_selected", "_selected_action": [user.pk], "post": "yes"}
    path, form = {
        "save": (f"{user.pk}/change/", user_form(user, groups=[])),
        "password": (
            f"{user.pk}/password/",
            {"usable_password": "true", "password1": NEW, "password2": NEW},
        ),
        "delete": (f"{user.pk}/delete/", {"post": "yes"}),
        "delete several": ("", several),
    }[act]
    with pytest.raises(RuntimeError):
        admin_client.post(USERS + path, form)
    assert refreshed(user).check_password(PASSWORD)
    assert refreshed(user).groups.exists()
