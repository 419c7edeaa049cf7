"""One settings file, all from the environment; runs with nothing set: SQLite, embedded Valkey, local files."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from csp.constants import NONCE, NONE, SELF

from apps import tracking

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent
# Everything that is state and not given by URL lives under one folder, so a backup is one copy.
DATA_DIR = Path(env.str("VOICECLOUD_DATA", default=str(BASE_DIR / "var"))).resolve()
DATA_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)


def _kept_secret_key() -> str:
    """Return the key kept in the data folder (mode 600), made at the first start."""
    path = DATA_DIR / "secret-key"
    if not path.exists():
        # Linking a finished file fails when another starting process was first: then its key is the key.
        temporary = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as handle:
            handle.write(secrets.token_urlsafe(50))
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
    return path.read_text().strip()


DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="") or _kept_secret_key()
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
SITE_URL = env.str("SITE_URL", default="http://127.0.0.1:8000").rstrip("/")
SITE_NAME = env.str("SITE_NAME", default="voicecloud")
_HOST = urlsplit(SITE_URL).hostname or "127.0.0.1"
_HTTPS = SITE_URL.startswith("https://")
ALLOWED_HOSTS = env.list(
    "ALLOWED_HOSTS", default=sorted({_HOST, "127.0.0.1", "localhost", "[::1]"} if not _HTTPS else {_HOST})
)
CSRF_TRUSTED_ORIGINS = [SITE_URL] if _HTTPS else []

INSTALLED_APPS = [
    "servestatic.runserver_nostatic",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "channels",
    "csp",
    "django_htmx",
    "django_rq",
    "ninja",
    "apps.accounts",
    "apps.webhooks",
    "apps.billing",
    "apps.jobs",
    "apps.voices",
    "apps.studio",
    "apps.pages",
    "apps.api",
    "voicecloud",
]
MIDDLEWARE = [
    "voicecloud.middleware.ConnectionMiddleware",
    "voicecloud.middleware.RequestIdMiddleware",
    "apps.pages.metrics.MetricsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "voicecloud.middleware.PermissionsPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "voicecloud.middleware.HtmxRedirectMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "voicecloud.middleware.RefusedMiddleware",
]
ROOT_URLCONF = "voicecloud.urls"
ASGI_APPLICATION = "voicecloud.asgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
                "apps.pages.context.site",
            ],
            "builtins": ["apps.pages.templatetags.icons"],
        },
    }
]

# --- state -----------------------------------------------------------------------------------------------------------
DATABASE_POOL_SIZE = env.int("DATABASE_POOL_SIZE", default=16)
# Pages and calls that a web process answers at once. More wait for a thread, which only takes time; in a thread they
# would wait for a connection, and fail. The pool's others are for sockets, streams and calls that wait for a job.
REQUEST_THREADS = max(1, DATABASE_POOL_SIZE - 4)
DATABASES: dict[str, dict[str, Any]] = {
    "default": env.db_url_config(env.str("DATABASE_URL", default="") or f"sqlite:///{DATA_DIR}/db.sqlite3")
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        # A transaction takes the write lock at its start: a later upgrade from read to write could only fail.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
    # Opening the file and preparing the connection takes as long as a query does; each thread keeps its own.
    DATABASES["default"]["CONN_MAX_AGE"] = None
else:
    DATABASES["default"]["OPTIONS"] = {
        # A page waits no longer than this for a connection, be the server away or all of them in use.
        # Nor does the pool try longer than that to reach a lost server; whoever asks next makes it try again. Left to
        # itself it waits twice as long before each try: after an hour's outage the site would be away for another.
        "pool": {"timeout": 5, "reconnect_timeout": 5, "max_size": DATABASE_POOL_SIZE},
        "connect_timeout": 5,
        **DATABASES["default"].get("OPTIONS", {}),
    }
    # After a restart of the server no page meets a connection that died with it.
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
REDIS_URL = env.str("REDIS_URL", default="") or f"unix://{DATA_DIR}/redis.sock?db=0"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "voicecloud",
        "OPTIONS": {"socket_timeout": 5},
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "voicecloud"},
    }
}
_QUEUE_URL = f"{REDIS_URL}{'&' if '?' in REDIS_URL else '?'}socket_timeout=10"
RQ_QUEUES = {name: {"URL": _QUEUE_URL, "DEFAULT_TIMEOUT": 3600} for name in ("gpu", "default")}
# RQ's own pages would change queues past the rows, which are the truth, and past the audit log.
RQ_SHOW_ADMIN_LINK = False
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"

S3_BUCKET = env.str("S3_BUCKET", default="")
STORAGES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": DATA_DIR / "media"},
    },
    "staticfiles": {"BACKEND": "voicecloud.static.Storage"},
}
if S3_BUCKET:
    STORAGES["default"] = {
        "BACKEND": "apps.jobs.s3.BucketStorage",
        "OPTIONS": {
            "bucket_name": S3_BUCKET,
            "endpoint_url": env.str("S3_ENDPOINT_URL", default="") or None,
            "region_name": env.str("S3_REGION", default="us-east-1"),
            "access_key": env.str("S3_ACCESS_KEY", default="") or None,
            "secret_key": env.str("S3_SECRET_KEY", default="") or None,
            "addressing_style": env.str("S3_ADDRESSING_STYLE", default="path"),
            "default_acl": None,
            "file_overwrite": False,
            "querystring_expire": 300,
            # A file that is opened comes whole: above this into a temporary file, not into memory.
            "max_memory_size": 8 * 1024 * 1024,
        },
    }


def _storage_origin(options: dict[str, Any]) -> str:
    """Return the origin that signed addresses lead to, as the S3 client forms it."""
    region, virtual = options["region_name"], options["addressing_style"] == "virtual"
    amazon = "https://s3.amazonaws.com" if region == "us-east-1" else f"https://s3.{region}.amazonaws.com"
    parts = urlsplit(options["endpoint_url"] or amazon)
    return f"{parts.scheme}://{S3_BUCKET + '.' if virtual else ''}{parts.netloc}"


MEDIA_URL = "/never-served-directly/"
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]

# --- figures: every web process of this machine counts into files of its own here ------------------------------------
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
METRICS_DIR = DATA_DIR / "metrics"
METRICS_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)
os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(METRICS_DIR))  # before its client is imported

# --- faults of ours, told to an error tracker -------------------------------------------------------------------------
SENTRY_DSN = env.str("SENTRY_DSN", default="")
if SENTRY_DSN:
    tracking.start(SENTRY_DSN, environment=_HOST)

# --- what a workspace costs, for staff to see; in whatever currency, 0 shows none ------------------------------------
COST_PER_GPU_HOUR = env.float("COST_PER_GPU_HOUR", default=0.0)
COST_PER_GB_MONTH = env.float("COST_PER_GB_MONTH", default=0.0)

# --- uploads: streamed to disk, never held in memory -----------------------------------------------------------------
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
FILE_UPLOAD_TEMP_DIR = DATA_DIR / "uploads"
FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FILES = 100
UPLOAD_MAX_BYTES = env.int("UPLOAD_MAX_BYTES", default=100 * 1024 * 1024)
UPLOAD_MAX_SECONDS = env.int("UPLOAD_MAX_SECONDS", default=60 * 60)
REQUEST_MAX_BYTES = env.int("REQUEST_MAX_BYTES", default=5 * UPLOAD_MAX_BYTES)  # a form may bring several files
UPLOAD_CHUNK_BYTES = 4 * 1024 * 1024

# --- jobs ------------------------------------------------------------------------------------------------------------
JOBS_INLINE = env.bool("JOBS_INLINE", default=False)  # unit tests: run a job at once, in the caller
JOB_HEARTBEAT_SECONDS = env.int("JOB_HEARTBEAT_SECONDS", default=4)
JOB_LOST_AFTER_SECONDS = env.int("JOB_LOST_AFTER_SECONDS", default=15)
JOBS_PER_WORKSPACE = env.int("JOBS_PER_WORKSPACE", default=4)  # of one queue at once; 0: any number
MODEL_CACHE_SIZE = env.int("MODEL_CACHE_SIZE", default=3)  # opened voices that a worker keeps; 0: as memory allows
DEFAULT_CONVERTER = env.str("DEFAULT_CONVERTER", default="native")
ENGINE_DEVICE = env.str("ENGINE_DEVICE", default="auto")

# --- plans and money: without Stripe's keys the site runs, and staff assign plans ------------------------------------
STRIPE_SECRET_KEY = env.str("STRIPE_SECRET_KEY", default="")
STRIPE_WEBHOOK_SECRET = env.str("STRIPE_WEBHOOK_SECRET", default="")
STRIPE_API_BASE = env.str("STRIPE_API_BASE", default="")  # another server that speaks its API: tests and the demo
# Where a form of ours may lead: Chromium follows a redirect of a sent form only to origins that are named.
_PAY_ORIGINS = (
    []
    if not STRIPE_SECRET_KEY
    else ["{0.scheme}://{0.netloc}".format(urlsplit(STRIPE_API_BASE))]
    if STRIPE_API_BASE
    else ["https://checkout.stripe.com", "https://billing.stripe.com"]
)
STRIPE_TAX = env.bool("STRIPE_TAX", default=False)
STRIPE_PROMOTION_CODES = env.bool("STRIPE_PROMOTION_CODES", default=False)
# The plan of workspaces without a subscription.
DEFAULT_PLAN = env.str("DEFAULT_PLAN", default="free" if STRIPE_SECRET_KEY else "unlimited")

# --- webhooks: true lets them call machines that are not on the public internet --------------------------------------
WEBHOOK_ALLOW_PRIVATE = env.bool("WEBHOOK_ALLOW_PRIVATE", default=False)

# --- the API: requests a minute, all of which may come at once; 0 is any number ------------------------------------
API_RATE_PER_KEY = env.int("API_RATE_PER_KEY", default=6000)
API_RATE_PER_WORKSPACE = env.int("API_RATE_PER_WORKSPACE", default=12_000)
API_RATE_NORMAL = env.int("API_RATE_NORMAL", default=6000)  # of a workspace, to routes that change something
API_RATE_DEAR = env.int("API_RATE_DEAR", default=600)  # of a workspace, to routes that start work or take files

# --- people ----------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "pages:dashboard"
LOGOUT_REDIRECT_URL = "pages:home"
ACCOUNT_ADAPTER = "apps.accounts.adapter.AccountAdapter"
MFA_ADAPTER = "apps.accounts.adapter.SecondFactorAdapter"
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
# An address can be proved only where letters leave the house: with EMAIL_URL unset they go to the console.
ACCOUNT_EMAIL_VERIFICATION = "mandatory" if env.str("EMAIL_URL", default="") else "none"
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = ACCOUNT_EMAIL_VERIFICATION == "mandatory"
ACCOUNT_LOGIN_BY_CODE_ENABLED = True
ACCOUNT_LOGIN_ON_PASSWORD_RESET = True
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if _HTTPS else "http"
ACCOUNT_RATE_LIMITS = {"login_failed": "10/m/ip,5/5m/key"}
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = SITE_NAME
USERSESSIONS_TRACK_ACTIVITY = False
INVITATION_DAYS = 7
WORKSPACE_GRACE_DAYS = 14
RETENTION_DAYS = env.int("RETENTION_DAYS", default=30)

EMAIL_CONFIG = env.email_url_config(env.str("EMAIL_URL", default="") or "consolemail://")
vars().update(EMAIL_CONFIG)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default=f"{SITE_NAME} <no-reply@{_HOST}>")

# --- language and time -----------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True

# --- security --------------------------------------------------------------------------------------------------------
SECURE_SSL_REDIRECT = _HTTPS and env.bool("SECURE_SSL_REDIRECT", default=True)
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("BEHIND_PROXY", default=False) else None
SECURE_HSTS_SECONDS = 31_536_000 if _HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _HTTPS
SECURE_HSTS_PRELOAD = _HTTPS
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _HTTPS
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "voicecloud.errors.csrf_failure"
# Whose log-ins are throttled: the nearest proxy's word for it, and nobody else's.
ALLAUTH_TRUSTED_PROXY_COUNT = 1 if env.bool("BEHIND_PROXY", default=False) else 0
# Sound is played from there, and recordings are sent there: by signed addresses.
_STORAGE_ORIGIN = [_storage_origin(STORAGES["default"]["OPTIONS"])] if S3_BUCKET else []
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        # The waveform player writes one style element and carries the nonce.
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "media-src": [SELF, "blob:", *_STORAGE_ORIGIN],
        "connect-src": [SELF, "blob:", *_STORAGE_ORIGIN],
        "worker-src": [SELF, "blob:"],
        "manifest-src": [SELF],
        "base-uri": [NONE],
        "form-action": [SELF, *_PAY_ORIGINS],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
    }
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"belonging": {"()": "apps.logs.Belonging"}},
    "formatters": {
        "plain": {"format": "{asctime} {levelname} {name} [{request_id} {job} {workspace}] {message}", "style": "{"},
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "format": "{asctime}{levelname}{name}{message}{request_id}{job}{workspace}",
            "style": "{",
            "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
        },
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": env.str("LOG_FORMAT", default="plain"),
            "filters": ["belonging"],
        }
    },
    "loggers": {"stripe": {"level": "WARNING"}},  # else two lines for each question to it
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
}
