"""The service's settings as the environment gives them.

Every setting is declared here, with its type and its default. A value that is not understood stops the process with a
message that names the setting and never shows the value (it may be a secret).
"""

from __future__ import annotations

import sys
from email.utils import parseaddr
from importlib.util import find_spec
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, IPvAnyNetwork, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from observability.logs import LogFormat

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
DEFAULT_PUBLIC_URL = "http://localhost:8002"


class Environment(BaseSettings):
    """What an operator may set. README.md explains each; this is the one place that reads it."""

    model_config = SettingsConfigDict(extra="ignore", hide_input_in_errors=True, env_ignore_empty=True)

    # the process
    secret_key: SecretStr = Field(min_length=16)
    secret_key_fallbacks: Annotated[list[SecretStr], NoDecode] = []  # former ones, whose signatures still count
    debug: bool = False
    public_url: str = DEFAULT_PUBLIC_URL  # how people reach the service; https:// makes cookies secure and sends HSTS
    allowed_hosts: Annotated[list[str], NoDecode] = []
    csrf_trusted_origins: Annotated[list[str], NoDecode] = []
    trusted_proxies: Annotated[list[IPvAnyNetwork], NoDecode] = []
    https_redirect: bool = True
    hsts_seconds: int = Field(default=365 * 24 * 3600, ge=0)
    hsts_include_subdomains: bool = False
    hsts_preload: bool = False
    session_hours: float = Field(default=12.0, gt=0, le=24 * 365)
    log_level: LogLevel = "INFO"
    log_format: LogFormat = "line"
    log_texts: bool = False  # questions and answers in the logs, and what exceptions quote of them
    metrics_token: SecretStr | None = None  # who may read /metrics from elsewhere; without one, nobody
    sentry_dsn: SecretStr | None = None  # where errors are reported to; nowhere without
    sentry_environment: str = "production"
    sentry_traces_sample_rate: float = Field(default=0.0, ge=0, le=1)
    sentry_send_texts: bool = False  # bodies, variables and what exceptions quote: questions, answers, and perhaps keys
    metrics_port: int | None = Field(default=None, ge=1, le=65535)  # a worker's /metrics; none without

    # its neighbours
    database_url: SecretStr
    database_pool_size: int = Field(default=16, ge=1, le=1000)
    celery_broker_url: SecretStr
    vectordb_url: str = "http://127.0.0.1:8003"
    vectordb_api_key: SecretStr | None = None
    vectordb_timeout_s: float = Field(default=10.0, gt=0, le=40)

    # what turns texts into vectors: "minilm", "openai", or a dotted path to an Embedder's factory;
    # "openai" has no default endpoint or model: texts never go to a provider that nobody named
    embedder: str = "minilm"
    embedder_base_url: str | None = None
    embedder_model: str | None = None
    embedder_api_key: SecretStr | None = None
    embedder_timeout_s: float = Field(default=10.0, gt=0, le=40)
    # what embedded before: answers from libraries that it filled, until their documents are indexed anew
    previous_embedder: str | None = None
    previous_embedder_base_url: str | None = None
    previous_embedder_model: str | None = None
    previous_embedder_api_key: SecretStr | None = None
    splitter: str = "headings"
    loaders: dict[str, str] = {}

    # what answers: "quoting", "openai", or a dotted path to an LLMClient's factory
    llm: str = "quoting"
    llm_base_url: str | None = None
    llm_model: str | None = None
    llm_api_key: SecretStr | None = None
    llm_timeout_s: float = Field(default=60.0, gt=0, le=600)
    retrieval_top_k: int = Field(default=8, ge=1, le=50)
    relevance_threshold: float | None = Field(default=None, ge=-1, le=1)

    # what labels: "dummy", "embedding", or a dotted path to a Classifier's factory
    classifier: str = "dummy"
    dummy_classifier_seconds: float = Field(default=2.0, ge=0, le=600)
    classification_enabled: bool = True

    # how it labels in the background; docs/operations.md explains each
    classification_lease_s: float = Field(default=130.0, gt=0)
    classification_pauses_s: Annotated[tuple[float, float, float, float], NoDecode] = (10.0, 60.0, 300.0, 1800.0)
    breaker_pauses_s: Annotated[tuple[float, ...], NoDecode] = (10.0, 30.0, 60.0)
    live_lanes: int = Field(default=64, ge=1, le=2000)
    backfill_lanes: int = Field(default=100, ge=1, le=2000)
    backfill_batch_s: float = Field(default=60.0, gt=0, le=60)
    backfill_drain_s: float = Field(default=45.0, gt=0, le=45)
    planner_interval_s: float = Field(default=5.0, gt=0)
    sweeper_interval_s: float = Field(default=30.0, gt=0)

    # for its operators
    flower_url: str | None = None
    audit_log_days: int = Field(default=365, ge=0, le=36_500)

    # reports by e-mail; without a host there are none
    email_host: str | None = None
    email_port: int = Field(default=587, ge=1, le=65535)
    email_host_user: str | None = None
    email_host_password: SecretStr | None = None
    email_security: Literal["none", "starttls", "tls"] = "starttls"
    email_from: Annotated[str | None, Field(validate_default=True)] = None
    email_timeout_s: float = Field(default=10.0, gt=0, le=30)
    reports_default_frequency: Literal["daily", "weekly", "biweekly", "monthly", "off"] = "weekly"
    reports_from_hour: int = Field(default=7, ge=0, le=23)

    # limits
    calls_per_minute: int = Field(default=3_000, ge=0, le=1_000_000)
    max_document_size_bytes: int = Field(default=5 * 1024 * 1024, gt=0)
    max_pdf_size_bytes: int = Field(default=20 * 1024 * 1024, gt=0)
    uploads_at_once: int = Field(default=4, ge=1, le=1000)  # of each process

    @field_validator("secret_key_fallbacks", "allowed_hosts", "csrf_trusted_origins", "trusted_proxies", mode="before")
    @classmethod
    def split_commas(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return [part.strip() for part in value.split(",") if part.strip()]

    @field_validator("public_url")
    @classmethod
    def public_url_is_an_origin(cls, value: str) -> str:
        return _as_origin(value)

    @field_validator("classification_pauses_s", "breaker_pauses_s", mode="before")
    @classmethod
    def split_seconds(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("classification_pauses_s", "breaker_pauses_s")
    @classmethod
    def pauses_grow(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or min(value) < 0 or list(value) != sorted(value):
            raise ValueError("must be seconds, separated by commas, none below the one before")
        return value

    @field_validator("email_from")
    @classmethod
    def sender_is_known(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            if info.data.get("email_host"):
                raise ValueError("must be set with EMAIL_HOST, such as Parley <parley@example.com>")
            return None
        _, address = parseaddr(value)
        local, at, domain = address.rpartition("@")
        if not (local and at and domain and value.isprintable() and address.isascii()) or " " in address:
            raise ValueError("must be an address, such as parley@example.com or Parley <parley@example.com>")
        return value

    @field_validator("database_url")
    @classmethod
    def database_is_postgresql(cls, value: SecretStr) -> SecretStr:
        return _with_scheme(value, {"postgres", "postgresql"})

    @field_validator("sentry_dsn")
    @classmethod
    def sentry_is_an_address(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else _with_scheme(value, {"http", "https"})

    @field_validator("celery_broker_url")
    @classmethod
    def broker_is_known(cls, value: SecretStr) -> SecretStr:
        return _with_scheme(value, {"amqp", "amqps", "pyamqp", "redis", "rediss", "redis+socket", "memory"})

    @field_validator("flower_url")
    @classmethod
    def flower_is_a_page(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must be an address that begins with http:// or https://")
        return value

    @field_validator("embedder", "previous_embedder")
    @classmethod
    def embedder_is_known(cls, value: str | None) -> str | None:
        return None if value is None else _known_or_dotted(value, {"minilm", "openai"})

    @field_validator("splitter")
    @classmethod
    def splitter_is_known(cls, value: str) -> str:
        return _known_or_dotted(value, {"headings"})

    @field_validator("llm")
    @classmethod
    def llm_is_known(cls, value: str) -> str:
        return _known_or_dotted(value, {"quoting", "openai"})

    @field_validator("classifier")
    @classmethod
    def classifier_is_known(cls, value: str) -> str:
        return _known_or_dotted(value, {"dummy", "embedding"})


def _as_origin(value: str) -> str:
    """Without its trailing slash."""
    parts = urlsplit(value)
    try:
        is_origin = bool(parts.hostname) and parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:  # a port that is none
        is_origin = False
    if not is_origin or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("must be an address without a path, such as https://parley.example.com")
    return f"{parts.scheme}://{parts.netloc}"


def _with_scheme(value: SecretStr, schemes: set[str]) -> SecretStr:
    scheme, separator, _ = value.get_secret_value().partition("://")
    if not separator or scheme not in schemes:
        raise ValueError(f"must be an address that begins with {', '.join(f'{name}://' for name in sorted(schemes))}")
    return value


def _known_or_dotted(value: str, known: set[str]) -> str:
    if value in known:
        return value
    module, dot, _ = value.rpartition(".")
    if not dot:
        raise ValueError(f"must be one of {', '.join(sorted(known))}, or a dotted path")
    try:
        found = find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise ValueError(f"there is no module {module}")
    return value


def read_environment() -> Environment:
    """The settings, or the end of the process with a message that says which of them is not understood."""
    try:
        return Environment()
    except ValidationError as error:
        lines = [
            f"  {str(fault['loc'][0]).upper()}: {_explain(fault['type'], fault['msg'])}" for fault in error.errors()
        ]
        sys.exit("Parley cannot start: these settings are missing or not understood.\n" + "\n".join(lines))


def _explain(fault_type: str, message: str) -> str:
    if fault_type == "missing":
        return "is not set (`make run` sets it where nothing else does)"
    return message.removeprefix("Value error, ")
