"""What each address and each command records in the audit log. New ones must be added here."""

import uuid
from io import StringIO

import pytest
from allauth.core import context
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command, get_commands
from django.utils import timezone

from accounts import provider
from audit.models import Act, Entry
from audit.recording import record

from ..support.addresses import PANEL, SITE, make_examples, paths, site_paths
from ..support.factories import make_agent, make_session
from ..support.pages import HTMX
from ..support.signing_in import make_user
from ..support.tables import TABLES
from ..support.trail import read

pytestmark = pytest.mark.django_db

NOTHING = []
VIEWED, SEARCHED, EDITED = [Act.VIEWED], [Act.SEARCHED], [Act.EDITED]

# What a GET by an admin records. Sending a form records more, which is tested with that form.
OF_SITE = {
    "home": NOTHING,
    "home_figures": NOTHING,
    "home_charts": NOTHING,
    "home_rising": NOTHING,
    "home_now": NOTHING,
    "summaries": [Act.EXPORTED],
    # Figures, and what an agent is: no conversation.
    "agents": NOTHING,
    "agent": NOTHING,
    "agent_figures": NOTHING,
    "agent_workflow": NOTHING,
    "agent_changes": NOTHING,
    "agent_charts": NOTHING,
    "slow": NOTHING,
    "slow_file": [Act.EXPORTED],
    "monitor": NOTHING,
    "monitor_state": NOTHING,
    # These only record a search.
    "conversations:list": NOTHING,
    "conversations:counts": NOTHING,
    "conversations:new": NOTHING,
    "conversations:rows": NOTHING,
    "conversations:errors": NOTHING,
    # Once when it starts and once when it ends.
    "conversations:export": [Act.EXPORTED, Act.EXPORTED],
    "model_calls": NOTHING,
    "model_calls_totals": NOTHING,
    "model_calls_export": [Act.EXPORTED, Act.EXPORTED],
    "conversations:detail": VIEWED,
    # A GET only redirects to the conversation.
    "conversations:reveal": NOTHING,
    "conversations:transcript": VIEWED,
    "conversations:json": VIEWED,
    "conversations:print": VIEWED,
    "conversations:message": VIEWED,
    "conversations:run": VIEWED,
    "conversations:runs": VIEWED,
    "conversations:task": VIEWED,
    "conversations:payload": VIEWED,
    "conversations:payload_file": VIEWED,
    "conversations:redact": VIEWED,
    "conversations:erase": VIEWED,
    "conversations:erase_all": SEARCHED,
    # Forms and pages about one's own account.
    "login": NOTHING,
    "account_login": NOTHING,
    "mfa_authenticate": NOTHING,
    "mfa_login_webauthn": NOTHING,
    "provider": NOTHING,
    "provider_callback": NOTHING,
    "logout": NOTHING,
    "sign_out_everywhere": NOTHING,
    "choose_shortcuts": NOTHING,
    "account": NOTHING,
    "mfa_index": NOTHING,
    "mfa_list_webauthn": NOTHING,
    "mfa_activate_totp": NOTHING,
    "mfa_add_webauthn": NOTHING,
    "mfa_generate_recovery_codes": NOTHING,
    "change_password": NOTHING,
    "account_reauthenticate": NOTHING,
    "mfa_reauthenticate": NOTHING,
    "mfa_deactivate_totp": NOTHING,
    "mfa_remove_webauthn": NOTHING,
    "mfa_view_recovery_codes": NOTHING,
    # These are about the site and show no data.
    "help:index": NOTHING,
    "help:document": NOTHING,
    "help:picture": NOTHING,
    "favicon": NOTHING,
    "csp_report": NOTHING,
}
OF_PANEL = {
    # These only list tables and our own pages.
    "index": NOTHING,
    "app_list": NOTHING,
    "login": NOTHING,
    "logout": NOTHING,
    "password_change": NOTHING,
    "password_change_done": NOTHING,
    "autocomplete": NOTHING,
    "jsi18n": NOTHING,
    "": NOTHING,
    "auth_user_password_change": NOTHING,
    "accounts_user_add": NOTHING,
    "auth_group_add": NOTHING,
    "overview_threshold_add": NOTHING,
    **{
        f"{table}_{page}": VIEWED
        for table in ("accounts_user", "auth_group", "overview_threshold")
        for page in ("changelist", "change", "delete", "history")
    },
    "audit_entry_changelist": VIEWED,
    "audit_entry_change": VIEWED,
    "audit_entry_history": VIEWED,
    "audit_entry_add": NOTHING,
    "audit_entry_delete": NOTHING,
    **{f"conversations_{model}_{page}": NOTHING for model in TABLES for page in ("add", "delete")},
    **{
        f"conversations_{model}_{page}": VIEWED
        for model in TABLES
        for page in ("changelist", "change", "history")
    },
    # An agent's settings are not part of any conversation.
    "conversations_agent_change": NOTHING,
    "conversations_agent_history": NOTHING,
}


def acts_of(act) -> list:
    """The acts of the entries that `act` adds."""
    before = set(Entry.objects.values_list("pk", flat=True))
    act()
    new = Entry.objects.exclude(pk__in=before).order_by("pk")
    return list(new.values_list("act", flat=True))


def test_each_address_of_the_site_records_what_the_table_says(admin_client):
    found = {}
    for name, path in site_paths().items():
        found[name] = acts_of(lambda path=path: b"".join(admin_client.get(path)))
    assert found == OF_SITE
    assert found.keys() == SITE.keys()


def test_each_address_of_the_panel_records_what_the_table_says(admin_client):
    found = {
        name: acts_of(lambda path=path: admin_client.get(path))
        for name, path in paths(PANEL, make_examples()).items()
        if name != "logout"
    }
    tables = {name: OF_PANEL.get(name, "not in the table") for name in found}
    assert found == tables


@pytest.mark.parametrize("name", [name for name, acts in OF_SITE.items() if acts == VIEWED])
@pytest.mark.parametrize("headers", [HTMX, {**HTMX, "X-Refresh": "1"}, {"X-Refresh": "1"}])
def test_no_header_hides_a_download(admin_client, name, headers):
    path = site_paths()[name]
    admin_client.get(path)
    acts = acts_of(lambda: b"".join(admin_client.get(path, headers=headers)))
    is_page = name.split(":")[1] in ("detail", "message", "run", "runs", "task", "payload")
    # A request from an open page belongs to that page's view.
    assert acts == (NOTHING if is_page and "HX-Request" in headers else VIEWED)
    if not is_page:
        assert "by" not in Entry.objects.latest("pk").details


def test_a_list_in_the_panel_records_how_many_rows_it_showed(admin_client):
    make_session(make_agent())
    make_session(make_agent())
    admin_client.get("/admin/conversations/session/")
    assert Entry.objects.latest("pk").details == {"table": "sessions", "shown": 2}
    admin_client.get("/admin/audit/entry/?act__exact=erased&q=jane")
    entry = Entry.objects.latest("pk")
    assert entry.act == Act.SEARCHED
    query = "act__exact=erased&q=jane"
    assert read(entry.details) == {"table": "audit_entry", "query": query, "shown": 0}


@pytest.mark.parametrize(("external_id", "status"), [("jane-7", 200), ("nobody", 404)])
def test_previewing_an_erasure_is_a_search_whatever_it_finds(admin_client, external_id, status):
    make_session(make_agent(), external_id="jane-7")
    response = admin_client.get("/conversations/erase/", {"external_id": external_id})
    assert response.status_code == status
    entry = Entry.objects.latest("pk")
    assert entry.act == Act.SEARCHED
    query = f"external_id={external_id}"
    assert read(entry.details) == {"page": "erase_all", "query": query}


# Accounts


def test_an_account_created_by_the_provider_is_recorded(settings, rf):
    settings.OIDC_DOMAINS = {"example.com"}
    claims = {"iss": "https://id.example", "sub": "7", "email": "ann@example.com"}
    claims["email_verified"] = True
    with context.request_context(rf.get("/")):
        provider.admitted(claims)
    entry = Entry.objects.get()
    assert (entry.act, entry.username, entry.address) == (Act.EDITED, "", "127.0.0.1")
    details = entry.details
    assert (details["row"], details["how"], details["before"]) == (
        "ann@example.com",
        "provider",
        None,
    )
    assert details["after"]["groups"] == ["Viewer"]


def test_linking_an_invited_account_is_recorded(rf):
    make_user("ann", email="ann@example.com")
    claims = {"iss": "https://id.example", "sub": "7", "email": "ann@example.com"}
    claims["email_verified"] = True
    with context.request_context(rf.get("/")):
        provider.admitted(claims)
        provider.admitted(claims)
    details = Entry.objects.get().details
    assert (details["row"], details["before"], details["after"]) == (
        "ann",
        {"identity": False},
        {"identity": True},
    )


def test_no_account_is_created_if_that_cannot_be_recorded(settings, rf, monkeypatch):
    settings.OIDC_DOMAINS = {"example.com"}

    def broken(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr(provider, "record", broken)
    claims = {"iss": "https://id.example", "sub": "7", "email": "ann@example.com"}
    with context.request_context(rf.get("/")), pytest.raises(RuntimeError):
        provider.admitted(claims | {"email_verified": True})
    assert not get_user_model().objects.exists()


# Commands


def quietly(name, *arguments, **options):
    call_command(name, *arguments, stdout=StringIO(), stderr=StringIO(), **options)


def createsuperuser(tmp_path, monkeypatch):
    quietly("createsuperuser", "--no-input", username="root", email="root@example.com")
    details = Entry.objects.latest("pk").details
    assert (details["row"], details["before"]) == ("root", None)
    assert details["after"]["is_superuser"] is True


def changepassword(tmp_path, monkeypatch):
    make_user("alice")
    typed = "a whole new one 7"
    monkeypatch.setattr("getpass.getpass", lambda prompt: typed)
    quietly("changepassword", "alice")
    details = Entry.objects.latest("pk").details
    assert (details["row"], details["after"]) == ("alice", {"password": "changed"})
    assert typed not in str(details)


def demo_users(tmp_path, monkeypatch):
    quietly("demo_users")
    assert Group.objects.get(name="Admin").user_set.get().username == "admin"


def reset_second_factors(tmp_path, monkeypatch):
    make_user("alice")
    quietly("reset_second_factors", "alice")


def export_conversations(tmp_path, monkeypatch):
    quietly("export_conversations", output=str(tmp_path / "file"))


def export_summaries(tmp_path, monkeypatch):
    quietly("rollup")
    quietly("export_summaries", output=str(tmp_path / "file"))


def purge(tmp_path, monkeypatch):
    make_session(make_agent())
    quietly("purge", "--before", str(timezone.now()))


def audit_prune(tmp_path, monkeypatch):
    at = timezone.now() - timezone.timedelta(days=9)
    Entry.objects.create(act=Act.VIEWED, at=at, username="system", reason="manage.py audit_prune")
    quietly("audit_prune", days="3")


ACTING = {
    createsuperuser: EDITED,
    changepassword: EDITED,
    demo_users: [Act.EDITED, Act.EDITED],
    reset_second_factors: [Act.SIGNED_OUT_EVERYWHERE],
    export_conversations: [Act.EXPORTED, Act.EXPORTED],
    export_summaries: [Act.EXPORTED],
    purge: [Act.PURGED],
    audit_prune: [Act.PRUNED],
}
# These commands record nothing.
SILENT = {
    # These read or change no account or conversation, beyond what an earlier entry already says.
    "agent_indexes",
    "audit_forget",
    "audit_seal",
    "audit_verify",
    "clearsessions",
    "database_roles",
    "distribute",
    "encrypt_second_factors",
    "local_postgres",
    # Sends numbers to those whom the settings name, as /metrics does.
    "notify",
    "rollup",
    "serve",
    # These only touch conversations and databases that they created.
    "bench",
    "demo_conversations",
    # Whoever can run these has our database's password and does not need a command.
    "backup",
    "dbshell",
    "dumpdata",
    "flush",
    "loaddata",
    "migrate",
    "restore",
    "shell",
    # Commands of Django and other packages that do not touch our rows.
    "account_unsetmultipleprimaryemails",
    "check",
    "collectstatic",
    "compilemessages",
    "createcachetable",
    "diffsettings",
    "findstatic",
    "inspectdb",
    "makemessages",
    "makemigrations",
    "optimizemigration",
    "remove_stale_contenttypes",
    "runserver",
    "sendtestemail",
    "showmigrations",
    "sqlflush",
    "sqlmigrate",
    "sqlsequencereset",
    "squashmigrations",
    "startapp",
    "startproject",
    "test",
    "testserver",
}


def test_every_command_is_in_a_table():
    acting = {act.__name__ for act in ACTING}
    assert not acting & SILENT
    assert acting | SILENT == get_commands().keys()


@pytest.mark.parametrize("act", ACTING)
def test_a_command_records_its_act_as_system(act, tmp_path, monkeypatch):
    assert acts_of(lambda: act(tmp_path, monkeypatch)) == ACTING[act]
    entries = Entry.objects.order_by("pk")
    assert {entry.username for entry in entries} == {"system"}
    assert {entry.reason for entry in entries} == {f"manage.py {act.__name__}"}


@pytest.mark.parametrize("name", ["createsuperuser", "changepassword"])
def test_a_command_does_nothing_that_cannot_be_recorded(name, monkeypatch):
    user = make_user("alice")

    def broken(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr("accounts.recorded_saves.record", broken)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "a whole new one 7")
    arguments = {
        "createsuperuser": ["--no-input", "--username=root", "--email=root@example.com"],
        "changepassword": ["alice"],
    }[name]
    with pytest.raises(RuntimeError):
        quietly(name, *arguments)
    assert get_user_model().objects.get().password == user.password


def test_flush_does_not_empty_the_log():
    record(None, Act.VIEWED, session_id=uuid.uuid4())
    with pytest.raises(CommandError):
        quietly("flush", interactive=False)
