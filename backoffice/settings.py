"""Settings come from the environment; .env.example describes each one."""

import os
import re
import tomllib
from pathlib import Path

import phonenumbers

from . import env, logs, time_zones
from .databases import uris
from .local_postgres.server import LocalPostgres, LocalPostgresError

BASE_DIR = Path(__file__).resolve().parent.parent
env.load(BASE_DIR / ".env")

VERSION = tomllib.loads((BASE_DIR / "pyproject.toml").read_text("utf-8"))["project"]["version"]

# Files kept on this computer: the local PostgreSQL, the key, static files.
LOCAL_DATA_DIR = (BASE_DIR / env.text("DESK_DATA_DIR", ".data")).resolve()

# For `make run`.
PORT = env.integer("PORT", 8000, 1, 65535)
DEMO_PASSWORD = env.text("DEMO_PASSWORD")

DEBUG = env.boolean("DEBUG")
SECRET_KEY = env.text("SECRET_KEY")
AUDIT_KEY = env.text("AUDIT_KEY")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")
BEHIND_PROXY = env.boolean("BEHIND_PROXY")

# Without a key of its own the site is for one computer: it answers to loopback names only and
# over plain HTTP. With one it is a deployment: its hosts must be named and HTTPS is required.
LOCAL = not SECRET_KEY
if LOCAL:
    # Probably a deployment whose key was forgotten.
    for name in ("ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "BEHIND_PROXY"):
        if globals()[name]:
            raise env.stop(f"{name} without SECRET_KEY; a deployment needs both.")
    ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
    SECRET_KEY = env.kept_secret(LOCAL_DATA_DIR / "secret_key")
    AUDIT_KEY = AUDIT_KEY or env.kept_secret(LOCAL_DATA_DIR / "audit_key")
else:
    if not env.is_secret(SECRET_KEY):
        raise env.stop("SECRET_KEY must be at least 50 random characters.")
    # Without it, `check --deploy` warns.
    if AUDIT_KEY and not env.is_secret(AUDIT_KEY):
        raise env.stop("AUDIT_KEY must be at least 50 random characters.")
    # Each by its name: a star or a leading dot would trust hosts that others may own.
    if not ALLOWED_HOSTS or not all(map(env.is_host, ALLOWED_HOSTS)):
        raise env.stop("ALLOWED_HOSTS must name the hosts of this site, separated by commas.")
    for origin in CSRF_TRUSTED_ORIGINS:
        if not env.is_https_origin(origin):
            raise env.stop(
                f"CSRF_TRUSTED_ORIGINS must be like https://desk.example.com, not {origin!r}."
            )
    if DEBUG:
        raise env.stop("DEBUG must be off where SECRET_KEY is set.")

INSTALLED_APPS = [
    "backoffice",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "accounts",
    "conversations",
    "audit",
    "bench",
    "demo",
    "django_filters",
    "django_htmx",
    "csp",
    "backoffice.admin.AdminConfig",
    "django.contrib.auth",
    "django.contrib.humanize",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    # Headers for every answer come first, to cover answers that later middleware makes.
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "backoffice.middleware.security_headers",
    "backoffice.health.probes",
    "backoffice.client.watch_client",
    "backoffice.databases.time_limits.limit_pages",
    "backoffice.middleware.request_id",
    "backoffice.middleware.access_log",
    "backoffice.middleware.compressed_pages",
    "backoffice.middleware.whole_bodies",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "backoffice.middleware.method_not_allowed_page",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "accounts.middleware.session_limits",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "backoffice.middleware.LoginRequiredMiddleware",
    "accounts.middleware.SignInMiddleware",
    "backoffice.middleware.viewer_time_zone",
    "conversations.access.agent_limits.middleware",
    "conversations.access.reveal.MaskingMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "backoffice.middleware.streams_keep_context",
]

ROOT_URLCONF = "backoffice.urls"
WSGI_APPLICATION = "backoffice.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Databases: ours, the agent runtime's for reading, and the same one for edits.

LOCAL_POSTGRES = LocalPostgres(LOCAL_DATA_DIR)
STATEMENT_TIMEOUT_SECONDS = env.integer("STATEMENT_TIMEOUT_SECONDS", 5, 1, 3600)
# How many exports may run at once, over all processes, and how long one may take with its reader.
EXPORTS_AT_ONCE = env.integer("EXPORTS_AT_ONCE", 2, 1, 100)
EXPORT_TIMEOUT_SECONDS = env.integer("EXPORT_TIMEOUT_SECONDS", 3600, 1, 86_400)
# How many rows a workbook may have: it is made on this computer before anything of it is sent.
XLSX_MAX_ROWS = env.integer("XLSX_MAX_ROWS", 500_000, 1, 100_000_000)
# 0: each thread keeps a connection of its own; else the threads of a process share a pool.
POOL_SIZE = env.integer("DATABASE_POOL_SIZE", 0, 0, 1000)
AGENT_SCHEMA = env.text("KAVALAI_DB_SCHEMA")

desk_uri = env.text("DATABASE_URL")
agents_uri = env.text("KAVALAI_DB_URI")
replica_uri = env.text("KAVALAI_DB_REPLICA_URI")
write_uri = env.text("KAVALAI_DB_WRITE_URI")
if not agents_uri and (replica_uri or write_uri):
    raise env.stop("KAVALAI_DB_URI must be set where a replica or a write URI is.")

# {alias: database} in the local PostgreSQL. The demo has a database of its own for its users: their
# password was printed to a terminal, so they must not see real conversations.
LOCAL_DATABASES = {}
if not desk_uri:
    LOCAL_DATABASES["default"] = "desk" if agents_uri else "demo"
if not agents_uri:
    LOCAL_DATABASES["agents"] = "agents"
if len(LOCAL_DATABASES) == 2:
    # PGSERVICE, PGHOSTADDR, PGOPTIONS and the like name or tune another server. libpq takes from
    # them what a URI leaves out, which is right only for a URI that an operator has written.
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
try:
    desk_uri = desk_uri or LOCAL_POSTGRES.uri(LOCAL_DATABASES["default"])
    agents_uri = agents_uri or LOCAL_POSTGRES.uri(LOCAL_DATABASES["agents"])
except LocalPostgresError as error:
    raise env.stop(str(error)) from None

DATABASES = {
    "default": uris.from_uri("DATABASE_URL", desk_uri, pool_size=POOL_SIZE),
    "agents": uris.from_uri(
        "KAVALAI_DB_REPLICA_URI" if replica_uri else "KAVALAI_DB_URI",
        replica_uri or agents_uri,
        schema=AGENT_SCHEMA,
        read_only=True,
        timeout_seconds=STATEMENT_TIMEOUT_SECONDS,
        pool_size=POOL_SIZE,
        test={"MIGRATE": False, "MIRROR": "agents_write"},
    ),
}
if replica_uri:
    # Read while the replica does not answer, and to measure the replica's lag.
    DATABASES["agents_primary"] = uris.from_uri(
        "KAVALAI_DB_URI",
        agents_uri,
        schema=AGENT_SCHEMA,
        read_only=True,
        timeout_seconds=STATEMENT_TIMEOUT_SECONDS,
        pool_size=POOL_SIZE,
        test={"MIGRATE": False, "MIRROR": "agents_write"},
    )
    DATABASES["agents"]["ENGINE"] = "backoffice.databases.replica"
    DATABASES["agents"]["OPTIONS"]["fallback"] = "agents_primary"
    TEMPLATES[0]["OPTIONS"]["context_processors"].append("backoffice.databases.replica.lag.context")
if not env.boolean("KAVALAI_DB_READ_ONLY"):
    DATABASES["agents_write"] = uris.from_uri(
        "KAVALAI_DB_WRITE_URI" if write_uri else "KAVALAI_DB_URI",
        write_uri or agents_uri,
        schema=AGENT_SCHEMA,
        pool_size=POOL_SIZE,
        test={"MIGRATE": False},
    )
DATABASE_ROUTERS = ["backoffice.databases.router.Router"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# People

AUTH_USER_MODEL = "accounts.User"
# For users without the permission to see personal data.
MASK_PERSONAL_DATA = env.boolean("MASK_PERSONAL_DATA")
# Whose phone numbers are also found without a country code.
PHONE_REGION = env.text("PHONE_REGION").upper()
if PHONE_REGION and PHONE_REGION not in phonenumbers.SUPPORTED_REGIONS:
    raise env.stop(f"PHONE_REGION must be a country like EE or US, not {PHONE_REGION!r}.")
# What pages call an external id; if empty, just that.
EXTERNAL_ID_LABEL = env.text("EXTERNAL_ID_LABEL")
if len(EXTERNAL_ID_LABEL) > 30 or not EXTERNAL_ID_LABEL.isprintable():
    raise env.stop("EXTERNAL_ID_LABEL must be at most 30 characters in one line.")
# How long the audit trail keeps searched texts readable.
AUDIT_TEXT_DAYS = env.integer("AUDIT_TEXT_DAYS", 90, 1, 36_500)
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "conversations:list"
LOGOUT_REDIRECT_URL = "login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# Signing in

# For users who may use the admin panel.
REQUIRE_MFA = env.boolean("REQUIRE_MFA")
SESSION_IDLE_MINUTES = env.integer("SESSION_IDLE_MINUTES", 480, 1, 100_000)
SESSION_HOURS = env.integer("SESSION_HOURS", 24, 1, 10_000)
SESSION_COOKIE_AGE = SESSION_HOURS * 3600

OIDC_ISSUER = env.text("OIDC_ISSUER").rstrip("/")
OIDC_CLIENT_ID = env.text("OIDC_CLIENT_ID")
OIDC_CLIENT_SECRET = env.text("OIDC_CLIENT_SECRET")
OIDC_NAME = env.text("OIDC_NAME", "single sign-on")
OIDC_DOMAINS = {domain.lower() for domain in env.words("OIDC_DOMAINS")}
# Issuers whose addresses count as verified though they do not say so.
OIDC_VERIFIED_PROVIDERS = {each.rstrip("/") for each in env.words("OIDC_VERIFIED_PROVIDERS")}
if len({bool(OIDC_ISSUER), bool(OIDC_CLIENT_ID), bool(OIDC_CLIENT_SECRET)}) == 2:
    raise env.stop("OIDC_ISSUER, OIDC_CLIENT_ID and OIDC_CLIENT_SECRET need one another.")
schemes = r"https://|http://(127\.0\.0\.1|localhost)(:\d+)?(/|$)" if LOCAL else "https://"
if OIDC_ISSUER and not re.match(schemes, OIDC_ISSUER):
    raise env.stop("OIDC_ISSUER must begin with https://.")
if OIDC_DOMAINS and not OIDC_ISSUER:
    raise env.stop("OIDC_DOMAINS without OIDC_ISSUER.")
if OIDC_VERIFIED_PROVIDERS - {OIDC_ISSUER}:
    raise env.stop("OIDC_VERIFIED_PROVIDERS may name OIDC_ISSUER, exactly as it is, and no other.")
for domain in OIDC_DOMAINS:
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", domain):
        raise env.stop(f"OIDC_DOMAINS must be like example.com, not {domain!r}.")

ACCOUNT_ADAPTER = "accounts.adapters.AccountAdapter"
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_FORMS = {"reauthenticate": "accounts.forms.PasswordAgainForm"}
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*"]
# accounts.lockout counts over all processes; these limits count in each.
ACCOUNT_RATE_LIMITS = False
ACCOUNT_REAUTHENTICATION_TIMEOUT = 600
MFA_ADAPTER = "accounts.adapters.MFAAdapter"
MFA_FORMS = {
    "authenticate": "accounts.forms.CodeForm",
    "reauthenticate": "accounts.forms.CodeAgainForm",
    "add_webauthn": "accounts.forms.AddPasskeyForm",
    "authenticate_webauthn": "accounts.forms.PasskeyForm",
    "login_webauthn": "accounts.forms.PasskeySignInForm",
}
MFA_RATE_LIMITS = False
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_TOLERANCE = 1
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = LOCAL
MFA_WEBAUTHN_USER_VERIFICATION = "required"

LANGUAGE_CODE = "en-gb"
USE_I18N = False
USE_TZ = True
# Until the browser has reported the viewer's own.
TIME_ZONE = env.text("TIME_ZONE", "UTC")
if TIME_ZONE not in time_zones.known_names():
    raise env.stop(f"TIME_ZONE must be a name like Europe/Tallinn, not {TIME_ZONE!r}.")

# Static files

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = BASE_DIR / env.text("STATIC_ROOT", str(LOCAL_DATA_DIR / "static"))
STORAGES = {
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# Security

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "manifest-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        # Only one policy turns text into HTML: app.js makes it for htmx.
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["htmx"],
        # Browsers support one or the other.
        "report-to": ["csp"],
        "report-uri": ["/csp-report/"],
    }
}
CSRF_FAILURE_VIEW = "accounts.views.csrf_failure"
X_FRAME_OPTIONS = "DENY"
# Other sites learn nothing. "no-referrer" would send our own forms' origin as null, which the
# CSRF check refuses.
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_NAME = "desk_session"
CSRF_COOKIE_HTTPONLY = True
if not LOCAL:
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    # Preloading into browsers cannot be undone: that is for the domain's owner to decide.
    SILENCED_SYSTEM_CHECKS = ["security.W021"]
    SESSION_COOKIE_SECURE = True
    SESSION_COOKIE_NAME = "__Host-desk_session"
    CSRF_COOKIE_SECURE = True
    CSRF_COOKIE_NAME = "__Host-csrftoken"
    if BEHIND_PROXY:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Operating

LOGGING = logs.configuration()
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")
for former in SECRET_KEY_FALLBACKS:
    if LOCAL or len(former) < 50:
        raise env.stop("SECRET_KEY_FALLBACKS must be former SECRET_KEYs, beside a new one.")
METRICS_TOKEN = env.text("METRICS_TOKEN")
if METRICS_TOKEN and not (
    METRICS_TOKEN.isascii() and env.is_secret(METRICS_TOKEN, 20, different=6)
):
    raise env.stop("METRICS_TOKEN must be at least 20 random letters and digits.")
