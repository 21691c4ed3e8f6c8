"""The headers for browsers and caches on every answer, whatever the address, role and status."""

import gzip
import re

import pytest
from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command
from django.test import Client, override_settings
from django.urls import reverse

from ..support.addresses import ADDRESSES, PROBES, ROLES, filled, make_examples, pieces
from ..support.pages import missing
from ..support.signing_in import let_in, make_user, with_app

pytestmark = [pytest.mark.django_db, pytest.mark.thorough]

TRUSTED_TYPES = {"require-trusted-types-for 'script'", "trusted-types htmx"}
METHODS = ("get", "head", "post", "options", "put", "delete")


@pytest.fixture
def in_the_role(request, client):
    def change(role: str):
        return client if role == "anonymous" else request.getfixturevalue(f"{role}_client")

    return change


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_every_answer_of_every_address_has_all_headers(role, in_the_role):
    client = in_the_role(role)
    cookies = client.cookies.copy()
    examples = make_examples()
    found = {}
    statuses = set()
    for address in ADDRESSES:
        path = filled(address, pieces(address, examples))
        for method in METHODS:
            # One of the addresses signs the user out.
            client.cookies = cookies.copy()
            response = getattr(client, method)(path)
            b"".join(response)
            statuses.add(response.status_code)
            if lacks := missing(response):
                found[address, method] = lacks
    assert found == {}
    assert {200, 302, 405} <= statuses


def test_trusted_types_are_required_everywhere_except_in_the_admin_panel(admin_client):
    for path, required in [
        ("/conversations/", True),
        ("/accounts/login/", True),
        ("/nowhere/", True),
        ("/admin/", False),
        ("/admin/auth/group/add/", False),
    ]:
        policy = set(admin_client.get(path)["Content-Security-Policy"].split("; "))
        assert (policy >= TRUSTED_TYPES) is required, path


@pytest.mark.parametrize("path", ["/", "/conversations/", "/nowhere/", "/csp-report/"])
@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
def test_answers_to_unknown_hosts_have_all_headers_too(client, path, headers):
    response = client.get(path, headers={"Host": "evil.example", **headers})
    assert response.status_code == 400
    assert missing(response) == []


@override_settings(
    SECURE_SSL_REDIRECT=True, SECURE_HSTS_SECONDS=3600, SECURE_HSTS_INCLUDE_SUBDOMAINS=True
)
def test_a_deployment_only_answers_over_https_and_says_so(db):
    client = Client()
    response = client.get("/conversations/?search=secret")
    assert response.status_code == 301
    assert response["Location"] == "https://testserver/conversations/?search=secret"
    assert missing(response) == []
    assert "Strict-Transport-Security" not in response
    for path in ("/accounts/login/", "/nowhere/", *PROBES):
        response = client.get(path, secure=True)
        assert response["Strict-Transport-Security"] == "max-age=3600; includeSubDomains", path
        assert missing(response) == []
    response = client.get("/conversations/", headers={"Host": "evil.example"})
    assert (response.status_code, missing(response)) == (400, [])


@pytest.mark.parametrize("role", ["anonymous", "support"])
def test_our_own_errors_have_all_headers_too(role, in_the_role, monkeypatch):
    client = in_the_role(role)
    client.raise_request_exception = False

    def fail(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr("backoffice.time_zones.named", fail)
    response = client.get("/accounts/login/")
    assert response.status_code == 500
    assert missing(response) == []


def test_static_files_may_be_cached_and_have_all_other_headers(tmp_path):
    hashed = "whitenoise.storage.CompressedManifestStaticFilesStorage"
    storages = {**settings.STORAGES, "staticfiles": {"BACKEND": hashed}}
    with override_settings(STATIC_ROOT=tmp_path, STORAGES=storages):
        call_command("collectstatic", interactive=False, verbosity=0)
        path = staticfiles_storage.url("app.css")
        assert path != "/static/app.css"
        client = Client()
        response = client.get(path)
        assert response.status_code == 200
        assert missing(response) == ["no-store"]
        assert response["Cache-Control"] == "max-age=315360000, public, immutable"
        again = client.get(path, headers={"If-Modified-Since": response["Last-Modified"]})
        assert again.status_code == 304
        assert missing(again) == ["no-store"]


def without_tokens(page: str) -> str:
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"|since=[\w.-]+', "", page)


def test_pages_are_compressed_and_files_are_not(support_client):
    accepts = {"Accept-Encoding": "gzip, br"}
    whole = support_client.get("/conversations/")
    page = support_client.get("/conversations/", headers=accepts)
    assert "Content-Encoding" not in whole
    assert page["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in page["Vary"]
    assert len(page.content) < len(whole.content) / 2
    shown = gzip.decompress(page.content).decode()
    assert without_tokens(shown) == without_tokens(whole.content.decode())
    file = support_client.get("/conversations/export/conversations.csv", headers=accepts)
    assert "Content-Encoding" not in file


def test_the_compressed_size_does_not_reveal_what_a_page_says(support_client):
    """Each answer has padding of random length, and another mask on the CSRF token."""
    accepts = {"Accept-Encoding": "gzip"}
    pages = [support_client.get("/conversations/", headers=accepts) for _ in range(20)]
    assert len({len(page.content) for page in pages}) > 5


def test_pages_with_a_secret_are_not_compressed(client):
    user = make_user()
    let_in(client, user)
    accepts = {"Accept-Encoding": "gzip"}
    for name in ("mfa_activate_totp", "mfa_view_recovery_codes"):
        if name == "mfa_view_recovery_codes":
            with_app(user)
        page = client.get(reverse(name), headers=accepts)
        assert "Content-Encoding" not in page, name
        assert 'class="key"' in page.content.decode()
    assert client.get(reverse("account"), headers=accepts)["Content-Encoding"] == "gzip"
