"""Settings: typed, and refused when they are not understood."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from config.environment import Environment, read_environment

NEEDED = {
    "SECRET_KEY": "a-secret-that-is-long-enough",
    "DATABASE_URL": "postgres://localhost/x",
    "CELERY_BROKER_URL": "redis://localhost/0",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.lower() in Environment.model_fields:
            monkeypatch.delenv(name)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_defaults_are_offline_and_safe(environment: pytest.MonkeyPatch):
    settings = read_environment()
    assert (settings.debug, settings.llm, settings.embedder, settings.classifier) == (
        False,
        "quoting",
        "minilm",
        "dummy",
    )


def test_lists_are_separated_by_commas(environment: pytest.MonkeyPatch):
    environment.setenv("ALLOWED_HOSTS", "a.example, b.example,")
    assert read_environment().allowed_hosts == ["a.example", "b.example"]


def test_former_secret_keys_are_kept_as_secrets(environment: pytest.MonkeyPatch):
    environment.setenv("SECRET_KEY_FALLBACKS", "the-one-before, the-one-before-that")
    former = read_environment().secret_key_fallbacks
    assert [key.get_secret_value() for key in former] == ["the-one-before", "the-one-before-that"]
    assert "before" not in repr(former)


def test_pauses_are_seconds_separated_by_commas(environment: pytest.MonkeyPatch):
    environment.setenv("CLASSIFICATION_PAUSES_S", "0.1, 1,2,3")
    environment.setenv("BREAKER_PAUSES_S", "1,2")
    settings = read_environment()
    assert settings.classification_pauses_s == (0.1, 1.0, 2.0, 3.0)
    assert settings.breaker_pauses_s == (1.0, 2.0)


def test_who_names_a_mail_server_names_a_sender(environment: pytest.MonkeyPatch):
    environment.setenv("EMAIL_HOST", "smtp.example.com")
    with pytest.raises(SystemExit, match="EMAIL_FROM: must be set with EMAIL_HOST"):
        read_environment()
    environment.setenv("EMAIL_FROM", "Parley <parley@example.com>")
    settings = read_environment()
    assert (settings.email_port, settings.email_security) == (587, "starttls")


def test_an_empty_setting_counts_as_not_set(environment: pytest.MonkeyPatch):
    environment.setenv("LLM", "")
    assert read_environment().llm == "quoting"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEBUG", "perhaps"),
        ("CLASSIFIER", "embeding"),
        ("LLM", "gpt"),
        ("EMBEDDER", "bert"),
        ("SPLITTER", "x"),
        ("DUMMY_CLASSIFIER_SECONDS", "two"),
        ("LLM_TIMEOUT_S", "-1"),
        ("RETRIEVAL_TOP_K", "0"),
        ("CLASSIFICATION_PAUSES_S", "10,60"),
        ("CLASSIFICATION_PAUSES_S", "10,60,30,1800"),
        ("BREAKER_PAUSES_S", "soon"),
        ("BACKFILL_LANES", "0"),
        ("BACKFILL_BATCH_S", "61"),
        ("LOG_LEVEL", "LOUD"),
        ("SECRET_KEY", "short"),
        ("DATABASE_URL", "garbage"),
        ("DATABASE_URL", "sqlite:///x.db"),
        ("CELERY_BROKER_URL", "nonsense://"),
        ("CELERY_BROKER_URL", "http://x"),
        ("CLASSIFIER", "no.such.Classifier"),
        ("LLM", "no_such_module.Client"),
        ("EMAIL_PORT", "0"),
        ("EMAIL_SECURITY", "ssl"),
        ("EMAIL_FROM", "parley"),
        ("EMAIL_FROM", "Parley <parley@example.com>\r\nBcc: mallory@example.com"),
        ("EMAIL_TIMEOUT_S", "31"),
        ("REPORTS_DEFAULT_FREQUENCY", "hourly"),
        ("REPORTS_FROM_HOUR", "24"),
    ],
)
def test_a_setting_that_is_not_understood_ends_the_process_and_is_named(
    environment: pytest.MonkeyPatch, name: str, value: str
):
    environment.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        read_environment()
    assert f"{name}:" in str(ended.value)


def test_the_message_never_shows_a_value(environment: pytest.MonkeyPatch):
    environment.setenv("SECRET_KEY", "hunter2")
    with pytest.raises(SystemExit) as ended:
        read_environment()
    assert "hunter2" not in str(ended.value)


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_a_needed_setting_that_is_missing_is_named(environment: pytest.MonkeyPatch, name: str):
    environment.delenv(name)
    with pytest.raises(SystemExit, match=name):
        read_environment()


@pytest.mark.parametrize("command", [["manage.py", "check"], ["-m", "celery", "-A", "config", "report"]])
def test_every_process_refuses_to_start_and_says_which_setting(command: list[str]):
    outcome = subprocess.run(
        [sys.executable, *command], env={**os.environ, "CLASSIFIER": "nonsense"}, capture_output=True, text=True
    )
    assert outcome.returncode != 0
    assert "CLASSIFIER: must be one of dummy, embedding, or a dotted path" in outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("LLM", "json.nope"),
        ("CLASSIFIER", "json.dumps"),
        pytest.param("LLM", "json.dumps", marks=pytest.mark.ci),
        pytest.param("CLASSIFIER", "json.nope", marks=pytest.mark.ci),
    ],
)
def test_no_web_server_starts_with_a_part_that_cannot_be_made(setting: str, value: str):
    outcome = subprocess.run(
        [sys.executable, "-c", "import config.wsgi"],
        env={**os.environ, setting: value},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode != 0
    assert f"{setting}: {value} cannot be" in outcome.stderr


@pytest.mark.parametrize(
    ("setting", "missing"),
    [
        ("LLM", "BASE_URL"),
        ("EMBEDDER", "MODEL"),
        pytest.param("LLM", "MODEL", marks=pytest.mark.ci),
        pytest.param("EMBEDDER", "BASE_URL", marks=pytest.mark.ci),
    ],
)
def test_no_web_server_starts_with_a_provider_named_by_half(setting: str, missing: str):
    named = {setting: "openai", f"{setting}_BASE_URL": "http://127.0.0.1:1/v1", f"{setting}_MODEL": "m"}
    outcome = subprocess.run(
        [sys.executable, "-c", "import config.wsgi"],
        env={**os.environ, **named, f"{setting}_{missing}": ""},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode != 0
    assert (
        f"Parley cannot start: these settings are missing or not understood.\n  {setting}_{missing}: must"
        in outcome.stderr
    )
    assert f"when {setting} is openai" in outcome.stderr


def test_a_database_that_is_not_postgresql_is_refused():
    outcome = subprocess.run(
        [sys.executable, "manage.py", "check"],
        env={**os.environ, "DATABASE_URL": "sqlite:///x.db"},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode != 0
    assert "DATABASE_URL: must be an address that begins with postgres://" in outcome.stderr
