"""Every URL × every role. A URL that is missing from the matrix fails a test."""

import re

import pytest
from django.contrib.auth.models import Group

from backoffice.fragments import LIST_TARGET

from ..support.addresses import PANEL, ROLES, WALKED, make_examples, paths, site_paths
from ..support.signing_in import make_user, sign_in
from ..support.tables import TABLES

pytestmark = pytest.mark.django_db

LOGIN = "login"
# name: the status for each role; "login" is a redirect to the sign-in page.
BROWSE = (LOGIN, 403, 200, 200, 200)
ADMINS = (LOGIN, 403, 403, 403, 200)
OWN = (LOGIN, 200, 200, 200, 200)
ENTRANCE = (200, 302, 302, 302, 302)
MATRIX = {
    "home": BROWSE,
    "home_figures": BROWSE,
    "home_charts": BROWSE,
    "home_rising": BROWSE,
    "home_now": BROWSE,
    "summaries": (LOGIN, 403, 403, 200, 200),
    "agents": BROWSE,
    "agent": BROWSE,
    "agent_figures": BROWSE,
    "agent_workflow": BROWSE,
    "agent_changes": BROWSE,
    "agent_charts": BROWSE,
    "slow": BROWSE,
    # 404: the rollup has not made any figures.
    "slow_file": (LOGIN, 403, 403, 200, 200),
    "monitor": BROWSE,
    "monitor_state": BROWSE,
    "conversations:list": BROWSE,
    "conversations:counts": BROWSE,
    "conversations:new": BROWSE,
    "conversations:rows": BROWSE,
    "conversations:errors": BROWSE,
    "conversations:export": (LOGIN, 403, 403, 200, 200),
    "model_calls": BROWSE,
    "model_calls_totals": BROWSE,
    "model_calls_export": (LOGIN, 403, 403, 200, 200),
    "conversations:detail": BROWSE,
    "conversations:print": BROWSE,
    "conversations:reveal": (LOGIN, 403, 403, 302, 302),
    "conversations:transcript": BROWSE,
    "conversations:json": BROWSE,
    "conversations:message": BROWSE,
    "conversations:run": BROWSE,
    "conversations:runs": BROWSE,
    "conversations:redact": ADMINS,
    "conversations:erase": ADMINS,
    "conversations:erase_all": ADMINS,
    "conversations:task": BROWSE,
    "conversations:payload": BROWSE,
    "conversations:payload_file": BROWSE,
    "login": ENTRANCE,
    "account_login": ENTRANCE,
    "mfa_authenticate": (302, 302, 302, 302, 302),
    "mfa_login_webauthn": (302, 302, 302, 302, 302),
    "provider": (404, 404, 404, 404, 404),
    "provider_callback": (404, 404, 404, 404, 404),
    "logout": (LOGIN, 405, 405, 405, 405),
    "sign_out_everywhere": (LOGIN, 405, 405, 405, 405),
    "choose_shortcuts": (LOGIN, 405, 405, 405, 405),
    "account": OWN,
    "mfa_index": OWN,
    "mfa_list_webauthn": OWN,
    "mfa_activate_totp": OWN,
    "mfa_add_webauthn": OWN,
    "mfa_generate_recovery_codes": OWN,
    # These users have no password to change.
    "change_password": (LOGIN, 403, 403, 403, 403),
    "account_reauthenticate": (LOGIN, 403, 403, 403, 403),
    "mfa_reauthenticate": (LOGIN, 403, 403, 403, 403),
    "mfa_deactivate_totp": (LOGIN, 404, 404, 404, 404),
    "mfa_remove_webauthn": (LOGIN, 404, 404, 404, 404),
    "mfa_view_recovery_codes": (LOGIN, 404, 404, 404, 404),
    "help:index": OWN,
    "help:document": OWN,
    "help:picture": OWN,
    "favicon": (302, 302, 302, 302, 302),
    "csp_report": (405, 405, 405, 405, 405),
}


@pytest.mark.parametrize("role", ROLES)
def test_each_role_can_open_its_pages_and_no_others(role, client, request):
    paths = site_paths()
    if role != "anonymous":
        client = request.getfixturevalue(f"{role}_client")
    for name, statuses in MATRIX.items():
        expected = statuses[ROLES.index(role)]
        response = client.get(paths[name])
        if expected == LOGIN:
            assert response.status_code == 302, name
            assert "/login/?next=" in response["Location"], name
        else:
            assert response.status_code == expected, name
        # An export runs until its file has been read.
        b"".join(response)


def test_the_matrix_knows_every_url():
    ours = [name or address for name, address in WALKED if not address.startswith("/admin/")]
    assert sorted(ours) == sorted(MATRIX)


@pytest.mark.parametrize("role", ROLES)
def test_the_admin_panel_is_for_admins_alone(role, client, request):
    panel = paths(PANEL, make_examples())
    if role != "anonymous":
        client = request.getfixturevalue(f"{role}_client")
    assert len(panel) > 14 + 7 * 5
    # In the panel, nobody can add or delete rows of conversations or of the audit log.
    never = {"autocomplete", "audit_entry_add", "audit_entry_delete"}
    never |= {f"conversations_{model}_{act}" for model in TABLES for act in ("add", "delete")}
    # This redirects to our own page, which these users cannot use because they have no password.
    never.add("password_change")
    assert never < panel.keys()
    for name, path in panel.items():
        if name == "logout":
            continue
        response = client.get(path, follow=True)
        if role == "anonymous":
            assert response.redirect_chain[-1][0].startswith("/accounts/login/?next="), name
        elif name == "login":
            assert response.status_code == 403
        elif role == "admin":
            assert response.status_code == (403 if name in never else 200), name
        else:
            assert response.status_code == 403, name


def test_an_admin_signs_in_at_the_one_sign_in_page(client):
    make_user("boss", "Admin")
    page = client.get("/admin/auth/group/", follow=True).redirect_chain[-1][0]
    assert page == "/accounts/login/?next=/admin/auth/group/"
    response = sign_in(client, "boss", next="/admin/auth/group/")
    assert client.get(response["Location"]).status_code == 200


def test_an_htmx_request_of_a_signed_out_person_redirects_the_whole_page(client):
    response = client.get(
        "/conversations/?search=a",
        headers={
            "HX-Request": "true",
            "HX-Current-URL": "http://testserver/conversations/?search=b",
        },
    )
    assert response.status_code == 200
    assert response.content == b""
    assert response["HX-Redirect"] == "/accounts/login/?next=/conversations/%3Fsearch%3Db"


def test_a_filter_of_a_signed_out_person_is_kept(client):
    headers = {
        "HX-Request": "true",
        "HX-Target": LIST_TARGET,
        "HX-Current-URL": "http://testserver/conversations/",
    }
    response = client.get("/conversations/?search=refund&scope=", headers=headers)
    assert response["HX-Redirect"] == "/accounts/login/?next=/conversations/%3Fsearch%3Drefund"


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
def test_a_signed_out_person_learns_that_nothing_was_saved(client, headers):
    page = client.get("/admin/conversations/agent/", follow=True).content.decode()
    assert "nothing was changed" not in page
    response = client.post("/admin/conversations/agent/add/", {"name": "x"}, headers=headers)
    page = client.get(response.headers.get("HX-Redirect") or response["Location"])
    assert "You were not signed in, so nothing was changed." in page.content.decode()


def test_a_foreign_current_url_never_redirects_elsewhere(client):
    response = client.get(
        "/conversations/",
        headers={"HX-Request": "true", "HX-Current-URL": "http://evil.example/x"},
    )
    assert response["HX-Redirect"] == "/accounts/login/?next=/"


@pytest.mark.parametrize("url", ["http://[", "http://testserver//evil.example", "\\\\evil"])
def test_a_malformed_current_url_never_redirects_elsewhere(client, url):
    response = client.get("/conversations/", headers={"HX-Request": "true", "HX-Current-URL": url})
    assert response["HX-Redirect"] == "/accounts/login/?next=/"


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
def test_an_unknown_host_is_a_400_page(client, headers):
    response = client.get("/conversations/", headers={"Host": "evil.example", **headers})
    assert response.status_code == 400
    assert b"This address is not valid" in response.content


def test_signing_in_leads_to_the_requested_page(client):
    make_user()
    response = client.get("/conversations/?search=a")
    page = client.get(response["Location"]).content.decode()
    following = re.search(r'name="next" value="([^"]*)"', page)[1]
    assert sign_in(client, next=following)["Location"] == "/conversations/?search=a"


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "javascript:x"])
def test_signing_in_never_redirects_to_another_site(client, target):
    make_user()
    assert sign_in(client, next=target)["Location"] == "/conversations/"


def test_a_removed_permission_is_gone_at_the_next_request(support_client, django_user_model):
    assert support_client.get("/conversations/").status_code == 200
    django_user_model.objects.get(username="support").groups.clear()
    assert support_client.get("/conversations/").status_code == 403


def test_each_group_has_its_permissions(db):
    def codenames(name):
        return set(Group.objects.get(name=name).permissions.values_list("codename", flat=True))

    assert codenames("Viewer") == {"view_session"}
    support = {"view_session", "export_session", "work_on_session", "reveal_session"}
    assert codenames("Support") == support
    own = {"view_personal_data", "redact_session", "erase_session", "view_entry"}
    assert codenames("Admin") > support | own | {"use_admin", "change_user"}


def test_the_list_accepts_no_post(support_client):
    response = support_client.post("/conversations/")
    assert response.status_code == 405


def test_answers_must_not_be_stored(client):
    for path in ("/accounts/login/", "/livez", "/readyz", "/conversations/", "/nowhere/"):
        assert "no-store" in client.get(path)["Cache-Control"]


@pytest.mark.slow
@pytest.mark.parametrize("column", ["", "nothing", "a.b", "password"])
def test_the_panel_only_finds_a_row_by_its_id(column, admin_client):
    asked = {}
    for name, path in paths(PANEL, make_examples()).items():
        if name == "logout":
            continue
        for response in (
            admin_client.get(path, {"_to_field": column}),
            admin_client.post(path, {"_to_field": column}),
        ):
            assert response.status_code < 500, (name, response.status_code)
            asked.setdefault(name, []).append(response.status_code)
    for name in ("accounts_user_change", "auth_group_delete", "audit_entry_change"):
        assert asked[name] == [400, 400], name
