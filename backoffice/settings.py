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

# Without a SECRET_KEY the site is for one computer: it answers only to loopback names, over plain
# HTTP. With one it is a deployment: its hosts must be named, and HTTPS is required.
LOCAL = not SECRET_KEY
if LOCAL:
    # Most likely a deployment that lacks its key.
    for name in ("ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "BEHIND_PROXY"):
        if globals()[name]:
            raise env.stop(f"{name} without SECRET_KEY; a deployment needs both.")
    ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
    SECRET_KEY = env.kept_secret(LOCAL_DATA_DIR / "secret_key")
    AUDIT_KEY = AUDIT_KEY or env.kept_secret(LOCAL_DATA_DIR / "audit_key")
else:
    if not env.is_secret(SECRET_KEY):
        raise env.stop("SECRET_KEY must be at least 50 random characters.")
    # If it is missing, `check --deploy` warns.
    if AUDIT_KEY and not env.is_secret(AUDIT_KEY):
        raise env.stop("AUDIT_KEY must be at least 50 random characters.")
    # Full names only: a star or a leading dot would trust hosts that may belong to others.
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
    "overview",
    "bench",
    "demo",
    "django_filters",
    "django_htmx",
    "backoffice.admin.AdminConfig",
    "django.contrib.auth",
    "django.contrib.humanize",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    # Middleware that adds headers comes first, so that responses of later middleware get them too.
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
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

# Databases: our own, the agent runtime's for reading, and the agent runtime's again for edits.

LOCAL_POSTGRES = LocalPostgres(LOCAL_DATA_DIR)
STATEMENT_TIMEOUT_SECONDS = env.integer("STATEMENT_TIMEOUT_SECONDS", 5, 1, 3600)
# How many exports may run at once across all processes, and how long each may take.
EXPORTS_AT_ONCE = env.integer("EXPORTS_AT_ONCE", 2, 1, 100)
EXPORT_TIMEOUT_SECONDS = env.integer("EXPORT_TIMEOUT_SECONDS", 3600, 1, 86_400)
# The most rows a workbook may have: it is written to this computer's disk before it is sent.
XLSX_MAX_ROWS = env.integer("XLSX_MAX_ROWS", 500_000, 1, 100_000_000)
# 0: each thread keeps its own connection; otherwise the threads of a process share a pool.
POOL_SIZE = env.integer("DATABASE_POOL_SIZE", 0, 0, 1000)
AGENT_SCHEMA = env.text("KAVALAI_DB_SCHEMA")

desk_uri = env.text("DATABASE_URL")
agents_uri = env.text("KAVALAI_DB_URI")
replica_uri = env.text("KAVALAI_DB_REPLICA_URI")
write_uri = env.text("KAVALAI_DB_WRITE_URI")
if not agents_uri and (replica_uri or write_uri):
    raise env.stop("KAVALAI_DB_URI must be set where a replica or a write URI is.")

# {alias: database} in the local PostgreSQL. The demo has its own database for users: their password
# was printed to a terminal, so they must never see real conversations.
LOCAL_DATABASES = {}
if not desk_uri:
    LOCAL_DATABASES["default"] = "desk" if agents_uri else "demo"
if not agents_uri:
    LOCAL_DATABASES["agents"] = "agents"
if len(LOCAL_DATABASES) == 2:
    # PGSERVICE, PGHOSTADDR, PGOPTIONS and so on describe another server. libpq uses them for
    # whatever a URI leaves out, which is right only for a URI that an operator wrote.
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
    # For reading while the replica does not answer, and for measuring the replica's lag.
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
AUTHENTICATION_BACKENDS = ["accounts.signed_in.Backend"]
SESSION_ENGINE = "accounts.signed_in"
# Applies to users without the permission to see personal data.
MASK_PERSONAL_DATA = env.boolean("MASK_PERSONAL_DATA")
# The country whose phone numbers are also found without their country code.
PHONE_REGION = env.text("PHONE_REGION").upper()
if PHONE_REGION and PHONE_REGION not in phonenumbers.SUPPORTED_REGIONS:
    raise env.stop(f"PHONE_REGION must be a country like EE or US, not {PHONE_REGION!r}.")
# Whether the site keeps the figures of Home up to date by itself.
ROLLUP = env.boolean("ROLLUP", True)
# What pages call an external id; "External id" if empty.
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

# For everyone who may use the admin panel.
REQUIRE_MFA = env.boolean("REQUIRE_MFA")
SESSION_IDLE_MINUTES = env.integer("SESSION_IDLE_MINUTES", 480, 1, 100_000)
SESSION_HOURS = env.integer("SESSION_HOURS", 24, 1, 10_000)
SESSION_COOKIE_AGE = SESSION_HOURS * 3600

OIDC_ISSUER = env.text("OIDC_ISSUER").rstrip("/")
OIDC_CLIENT_ID = env.text("OIDC_CLIENT_ID")
OIDC_CLIENT_SECRET = env.text("OIDC_CLIENT_SECRET")
OIDC_NAME = env.text("OIDC_NAME", "single sign-on")
OIDC_DOMAINS = {domain.lower() for domain in env.words("OIDC_DOMAINS")}
# Issuers whose e-mail addresses count as verified even if they do not say so.
OIDC_VERIFIED_PROVIDERS = {each.rstrip("/") for each in env.words("OIDC_VERIFIED_PROVIDERS")}
if len({bool(OIDC_ISSUER), bool(OIDC_CLIENT_ID), bool(OIDC_CLIENT_SECRET)}) == 2:
    raise env.stop("OIDC_ISSUER, OIDC_CLIENT_ID and OIDC_CLIENT_SECRET must be set together.")
schemes = r"https://|http://(127\.0\.0\.1|localhost)(:\d+)?(/|$)" if LOCAL else "https://"
if OIDC_ISSUER and not re.match(schemes, OIDC_ISSUER):
    raise env.stop("OIDC_ISSUER must begin with https://.")
if OIDC_DOMAINS and not OIDC_ISSUER:
    raise env.stop("OIDC_DOMAINS needs OIDC_ISSUER.")
if OIDC_VERIFIED_PROVIDERS - {OIDC_ISSUER}:
    raise env.stop("OIDC_VERIFIED_PROVIDERS may only name OIDC_ISSUER, written the same way.")
for domain in OIDC_DOMAINS:
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", domain):
        raise env.stop(f"OIDC_DOMAINS must be like example.com, not {domain!r}.")

ACCOUNT_ADAPTER = "accounts.adapters.AccountAdapter"
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_FORMS = {"reauthenticate": "accounts.forms.PasswordAgainForm"}
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*"]
# accounts.lockout counts across all processes; allauth's limits would count in each.
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
# The time zone until the browser has reported the viewer's.
TIME_ZONE = env.text("TIME_ZONE", "UTC")
if TIME_ZONE not in time_zones.known_names():
    raise env.stop(f"TIME_ZONE must be a name like Europe/Tallinn, not {TIME_ZONE!r}.")

# What `manage.py notify` sends, and how

EMAIL_HOST = env.text("EMAIL_HOST")
EMAIL_PORT = env.integer("EMAIL_PORT", 25, 1, 65535)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env.text("EMAIL_HOST_PASSWORD")
EMAIL_USE_TLS = env.boolean("EMAIL_USE_TLS")
EMAIL_USE_SSL = env.boolean("EMAIL_USE_SSL")
EMAIL_TIMEOUT = 10
if EMAIL_USE_TLS and EMAIL_USE_SSL:
    raise env.stop("Only one of EMAIL_USE_TLS and EMAIL_USE_SSL may be 1.")
DEFAULT_FROM_EMAIL = env.text("EMAIL_FROM")
NOTIFY_EMAILS = env.words("NOTIFY_EMAILS")
for address in NOTIFY_EMAILS + ([DEFAULT_FROM_EMAIL] if DEFAULT_FROM_EMAIL else []):
    if not env.is_email(address):
        raise env.stop(f"{address!r} is not an e-mail address.")
if NOTIFY_EMAILS and not (EMAIL_HOST and DEFAULT_FROM_EMAIL):
    raise env.stop("NOTIFY_EMAILS needs EMAIL_HOST and EMAIL_FROM.")
# Django's own error pages hide settings whose names contain SECRET.
NOTIFY_WEBHOOK_SECRET = env.text("NOTIFY_WEBHOOK")
if NOTIFY_WEBHOOK_SECRET and not env.is_web_address(NOTIFY_WEBHOOK_SECRET):
    raise env.stop("NOTIFY_WEBHOOK must be an address like https://hooks.example.com/….")
NOTIFY_WEBHOOK_PRIVATE = env.boolean("NOTIFY_WEBHOOK_PRIVATE")
NOTIFY_PER_HOUR = env.integer("NOTIFY_PER_HOUR", 4, 1, 1000)
# How links in messages begin.
SITE_URL = env.text("SITE_URL").rstrip("/")
if SITE_URL and not env.is_web_address(SITE_URL):
    raise env.stop(f"SITE_URL must be like https://desk.example.com, not {SITE_URL!r}.")
SITE_URL = SITE_URL or (f"http://127.0.0.1:{PORT}" if LOCAL else f"https://{ALLOWED_HOSTS[0]}")

# What is cached for a while. gunicorn.conf.py creates the folder that its processes share.
if folder := os.environ.get("DESK_SHARED_CACHE"):
    CACHES = {
        "default": {
            "BACKEND": "backoffice.shared_cache.SharedCache",
            "LOCATION": folder,
            "OPTIONS": {"MAX_ENTRIES": 1_000},
        }
    }

# Static files

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = BASE_DIR / env.text("STATIC_ROOT", str(LOCAL_DATA_DIR / "static"))
STORAGES = {
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# Security

CSRF_FAILURE_VIEW = "accounts.views.csrf_failure"
X_FRAME_OPTIONS = "DENY"
# Other sites learn nothing about our addresses. "no-referrer" would send our own forms' origin as
# null, which the CSRF check refuses.
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_NAME = "desk_session"
CSRF_COOKIE_HTTPONLY = True
if not LOCAL:
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    # Preloading cannot be undone, so it is for the domain's owner to decide.
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
        raise env.stop("SECRET_KEY_FALLBACKS must be former SECRET_KEYs, next to a new SECRET_KEY.")
METRICS_TOKEN = env.text("METRICS_TOKEN")
if METRICS_TOKEN and not (
    METRICS_TOKEN.isascii() and env.is_secret(METRICS_TOKEN, 20, different=6)
):
    raise env.stop("METRICS_TOKEN must be at least 20 random letters and digits.")
