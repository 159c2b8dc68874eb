"""Django's settings, derived from the typed environment (config/environment.py) and from nothing else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import dj_database_url
import django_stubs_ext
from django.templatetags.static import static

from config import exposure
from config.environment import read_environment
from config.error_reports import report_errors
from observability.logs import configure

django_stubs_ext.monkeypatch()

ENVIRONMENT = read_environment()
BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = ENVIRONMENT.secret_key.get_secret_value()
SECRET_KEY_FALLBACKS = [key.get_secret_value() for key in ENVIRONMENT.secret_key_fallbacks]
DEBUG = ENVIRONMENT.debug

INSTALLED_APPS = [
    "config",
    "unfold.apps.BasicAppConfig",  # before the admin, whose templates it replaces
    "unfold.contrib.filters",
    "config.admin_site.ParleyAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "schema",
    "rest_framework",
    "drf_standardized_errors",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "teams.apps.AuditTrailConfig",
    "teams",
    "knowledge",
    "query",
    "categorisation",
    "insights",
]

MIDDLEWARE = [
    "config.middleware.RequestIdMiddleware",
    "config.middleware.MetricsMiddleware",
    "config.proxies.TrustedProxyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "config.page_security.PageSecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.middleware.RateLimitHeadersMiddleware",
    "config.middleware.OptionalTrailingSlashMiddleware",
    "config.middleware.RequestSizeLimitMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "config.middleware.AuditTrailMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "config.middleware.LoginLimitMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False  # config.middleware serves both spellings, for every method, without a redirect

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "config" / "templates"],
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

# -- How people reach the service, and what their browsers are told ---------------------------------------------------

PUBLIC_URL = ENVIRONMENT.public_url
IS_HTTPS = PUBLIC_URL.startswith("https://")
ALLOWED_HOSTS = exposure.choose_hosts(ENVIRONMENT)
CSRF_TRUSTED_ORIGINS = exposure.choose_origins(ENVIRONMENT)
TRUSTED_PROXIES = ENVIRONMENT.trusted_proxies
if TRUSTED_PROXIES:
    # config.proxies strips the header from whoever is none of them
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# without a proxy that tells, every request looks like plain HTTP, and would be sent round in circles
SECURE_SSL_REDIRECT = IS_HTTPS and bool(TRUSTED_PROXIES) and ENVIRONMENT.https_redirect
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)/?$"]
SECURE_HSTS_SECONDS = ENVIRONMENT.hsts_seconds if IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = ENVIRONMENT.hsts_include_subdomains
SECURE_HSTS_PRELOAD = ENVIRONMENT.hsts_preload
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# a name of one's own: cookies of other services on the same host, whatever their port, are sent along
SESSION_COOKIE_NAME = exposure.name_cookie("parley_session", is_https=IS_HTTPS)
SESSION_COOKIE_SECURE = IS_HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = int(ENVIRONMENT.session_hours * 3600)
CSRF_COOKIE_NAME = exposure.name_cookie("parley_csrf", is_https=IS_HTTPS)
CSRF_COOKIE_SECURE = IS_HTTPS
CSRF_COOKIE_SAMESITE = "Lax"

# -- PostgreSQL, everywhere -------------------------------------------------------------------------------------------

# CONN_MAX_AGE stays 0: a connection is given back after each request and task, and lent again
_DATABASE = dj_database_url.parse(ENVIRONMENT.database_url.get_secret_value(), engine="config.database")
# a server that went away without a word is noticed within a minute, in the middle of an answer, too
_KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
_OPTIONS = {
    "connect_timeout": 5,
    **_KEEPALIVE,
    "pool_size": ENVIRONMENT.database_pool_size,
    **_DATABASE.get("OPTIONS", {}),
}
DATABASES = {"default": {**_DATABASE, "OPTIONS": _OPTIONS}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# -- People -----------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "teams.User"
AUTHENTICATION_BACKENDS = ["teams.logins.LimitedBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# -- The admin --------------------------------------------------------------------------------------------------------

UNFOLD = {
    "SITE_TITLE": "Parley",
    "SITE_HEADER": "Parley",
    "SITE_SUBHEADER": "for its operators",
    "SITE_SYMBOL": "forum",
    "SITE_URL": None,
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("parley/icon.svg")},
    ],
    "STYLES": [lambda request: static("parley/admin.css")],
    "SCRIPTS": [lambda request: static("parley/admin.js")],
    "SIDEBAR": {"navigation": "config.admin_site.build_navigation"},
}
FLOWER_URL = ENVIRONMENT.flower_url
AUDITLOG_CID_GETTER = "observability.request_id.current"
AUDITLOG_DISABLE_REMOTE_ADDR = True  # what a proxy's header says of it is anybody's to write
AUDITLOG_STORE_JSON_CHANGES = True
AUDITLOG_USE_FK_STRING_REPRESENTATION = True  # names, not ids
AUDIT_LOG_DAYS = ENVIRONMENT.audit_log_days

# -- Mails: Django's own; reports have a dialogue of their own (insights/reports/smtp.py) -----------------------------

EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if ENVIRONMENT.email_host else 'dummy'}.EmailBackend"
EMAIL_HOST = ENVIRONMENT.email_host or ""
EMAIL_PORT = ENVIRONMENT.email_port
EMAIL_HOST_USER = ENVIRONMENT.email_host_user or ""
EMAIL_HOST_PASSWORD = ENVIRONMENT.email_host_password.get_secret_value() if ENVIRONMENT.email_host_password else ""
EMAIL_USE_TLS = ENVIRONMENT.email_security == "starttls"
EMAIL_USE_SSL = ENVIRONMENT.email_security == "tls"
EMAIL_TIMEOUT = ENVIRONMENT.email_timeout_s
DEFAULT_FROM_EMAIL = SERVER_EMAIL = ENVIRONMENT.email_from or "parley@localhost"

# -- Language, time, static files -------------------------------------------------------------------------------------

LANGUAGE_CODE = "en-gb"
FORMAT_MODULE_PATH = ["config.formats"]
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True  # the admin's files straight from the packages: nothing to collect before a first run

# -- The HTTP API -----------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["teams.authentication.APIKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["teams.permissions.KeyCoversProject", "teams.permissions.KeyHasScope"],
    "DEFAULT_THROTTLE_CLASSES": ["teams.throttling.KeyThrottle", "config.bodies.UploadThrottle"],
    "DEFAULT_PARSER_CLASSES": ["config.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["config.renderers.FastJSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "config.pagination.KeysetPagination",
    "DEFAULT_SCHEMA_CLASS": "config.openapi.ContractSchema",
    "EXCEPTION_HANDLER": "drf_standardized_errors.handler.exception_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "UNAUTHENTICATED_USER": None,
}
DRF_STANDARDIZED_ERRORS = {
    "EXCEPTION_HANDLER_CLASS": "config.errors.ContractExceptionHandler",
    "ENABLE_IN_DEBUG_FOR_UNHANDLED_EXCEPTIONS": True,
    "ALLOWED_ERROR_STATUS_CODES": ["400", "401", "403", "404", "406", "408", "409", "411", "413", "415", "429", "503"],
    "ERROR_SCHEMAS": {
        "400": "config.openapi.BadRequestResponse",
        "408": "config.openapi.RefusedResponse",
        "409": "config.openapi.RefusedResponse",
        "411": "config.openapi.RefusedResponse",
        "413": "config.openapi.RefusedResponse",
        "503": "config.openapi.UnavailableResponse",
    },
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Parley",
    "DESCRIPTION": "Question answering over a company's own documents, with every conversation sorted by category.",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "COMPONENT_SPLIT_REQUEST": True,
    "PATH_CONVERTER_OVERRIDES": {"id": UUID},
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "POSTPROCESSING_HOOKS": [
        "drf_standardized_errors.openapi_hooks.postprocess_schema_enums",
        "config.openapi.share_what_repeats",
        "config.openapi_links.link_calls",
    ],
    "ENUM_NAME_OVERRIDES": {
        "ContentTypeEnum": "knowledge.models.ContentType.choices",
        "TextTypeEnum": "knowledge.serializers.TEXT_CHOICES",
        "ClientErrorEnum": "drf_standardized_errors.openapi_serializers.ClientErrorEnum.choices",
        "ServerErrorEnum": "drf_standardized_errors.openapi_serializers.ServerErrorEnum.choices",
    },
}
MAX_DOCUMENT_SIZE_BYTES = ENVIRONMENT.max_document_size_bytes
MAX_PDF_SIZE_BYTES = ENVIRONMENT.max_pdf_size_bytes
# Beyond these no body is read at all (config/bodies.py). JSON may write a character as six bytes, or as twelve
# (\\u00e9, \\ud83d\\ude00): so large is the longest question with its asker's metadata, and so the longest draft of all
# categories. A document's characters take two of its bytes at least where JSON writes six. A form's file comes as it
# is, and lies in a temporary file, not in memory, from 2.5 MB on.
MAX_REQUEST_SIZE_BYTES = 256 * 1024
MAX_DRAFT_SIZE_BYTES = 8 * 1024 * 1024
MAX_DOCUMENT_BODY_SIZE_BYTES = 3 * MAX_DOCUMENT_SIZE_BYTES + MAX_REQUEST_SIZE_BYTES
MAX_FORM_SIZE_BYTES = max(MAX_DOCUMENT_SIZE_BYTES, MAX_PDF_SIZE_BYTES) + MAX_REQUEST_SIZE_BYTES
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_REQUEST_SIZE_BYTES  # of a form's fields, without its file
DATA_UPLOAD_MAX_NUMBER_FILES = 1
UPLOADS_AT_ONCE = ENVIRONMENT.uploads_at_once

# -- Background work --------------------------------------------------------------------------------------------------

CELERY_BROKER_URL = ENVIRONMENT.celery_broker_url.get_secret_value()
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True  # without it a killed child's message is acknowledged, and lost
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 30
# Ending the processes would leave what they have in hand to its leases. A message that comes again is harmless.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # workers and beat outlast any outage; the default ends them within an hour
CELERY_BROKER_CHANNEL_ERROR_RETRY = True  # Valkey's refusal for want of memory is one, and would end the worker
CELERY_TASK_SOFT_TIME_LIMIT = 110
CELERY_TASK_TIME_LIMIT = 120
CELERY_TASK_DEFAULT_QUEUE = "live"
CELERY_TASK_ROUTES = {
    "categorisation.tasks.run_batch": {"queue": "backfill"},
    "categorisation.tasks.empty_categories": {"queue": "backfill"},
    "categorisation.tasks.classify_old_thread": {"queue": "backfill"},
    "categorisation.tasks.*": {"queue": "live"},
    "knowledge.tasks.*": {"queue": "ingest"},
    "query.tasks.*": {"queue": "backfill"},  # the worker of live labels has none to spare
    "teams.tasks.*": {"queue": "backfill"},
    "insights.tasks.*": {"queue": "mail"},
}
CELERY_TASK_SEND_SENT_EVENT = True
CELERY_WORKER_SEND_TASK_EVENTS = True
CELERY_BROKER_CONNECTION_TIMEOUT = 1.0
if CELERY_BROKER_URL.startswith("redis"):
    # a message whose worker died comes back when the worker restarts; the timeout must outlive any task
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "visibility_timeout": 3600,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "socket_connect_timeout": 1.0,
        "socket_timeout": 5.0,  # a broker that accepts and then is mute must not hold anybody
        "socket_keepalive": True,
    }
else:
    CELERY_BROKER_TRANSPORT_OPTIONS = {"confirm_publish": True}
CELERY_BEAT_SCHEDULER = "config.beat:TableScheduler"
CELERY_BEAT_SCHEDULE = {
    "sweep-unlabelled-threads": {
        "task": "categorisation.tasks.sweep_unlabelled_threads",
        "schedule": timedelta(seconds=ENVIRONMENT.sweeper_interval_s),
        "description": "Labels new conversations that no message announced.",
    },
    "plan-runs": {
        "task": "categorisation.tasks.plan",
        "schedule": timedelta(seconds=ENVIRONMENT.planner_interval_s),
        "description": "Begins, measures and ends runs, and sends their work to the workers.",
    },
    "erase-conversations": {
        "task": "query.tasks.erase_conversations",
        "schedule": timedelta(seconds=30),
        "description": "Erases conversations that somebody asked to be erased, or that are kept for no longer.",
    },
    "empty-deleted-projects": {
        "task": "teams.tasks.empty_deleted_projects",
        "schedule": timedelta(seconds=30),
        "description": "Empties projects and teams that are deleted.",
    },
    "sweep-unindexed-documents": {
        "task": "knowledge.tasks.sweep_documents",
        "schedule": timedelta(seconds=30),
        "description": "Indexes and erases documents that no message announced.",
    },
    "forget-expired-logins": {
        "task": "teams.tasks.forget_expired_logins",
        "schedule": timedelta(days=1),
        "description": "Deletes expired sessions, and old counts of attempts to log in.",
    },
    "forget-old-audit-entries": {
        "task": "teams.tasks.forget_old_audit_entries",
        "schedule": timedelta(days=1),
        "description": "Deletes what the audit trail has kept for longer than AUDIT_LOG_DAYS.",
    },
    "send-reports": {
        "task": "insights.tasks.send_reports",
        "schedule": timedelta(minutes=10),
        "description": "Looks for usage reports that are due, and sends them.",
    },
}

# -- Logs -------------------------------------------------------------------------------------------------------------

LOGGING = configure(ENVIRONMENT.log_format, ENVIRONMENT.log_level, shows_texts=ENVIRONMENT.log_texts)

report_errors(ENVIRONMENT)

SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # HSTS for subdomains: which other services have names below this one's is the operator's to know
    "security.W021",  # and so is a place on browsers' lists, which is hard to leave
]
