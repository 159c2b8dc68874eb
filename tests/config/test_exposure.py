"""What follows from where people reach the service: hosts, cookies, redirects, whom it believes."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from django.core import checks
from django.test import Client, RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from config.environment import Environment, read_environment
from config.exposure import choose_hosts, choose_origins, name_cookie
from config.proxies import TrustedProxyMiddleware, find_caller, is_within, read_address
from teams.models import Project
from teams.services import create_api_key
from tests.factories.query import QuestionAnswerFactory

NEEDED: dict[str, Any] = {
    "secret_key": "a-secret-that-is-long-enough",
    "database_url": "postgres://localhost/x",
    "celery_broker_url": "redis://localhost/0",
}
PRODUCTION = {
    "PUBLIC_URL": "https://parley.example.com",
    "TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.7",
    "CLASSIFIER": "embedding",
    "SECRET_KEY": secrets.token_urlsafe(48),
    "VECTORDB_API_KEY": "x" * 32,
}
NETWORKS = [ip_network("10.0.0.0/8"), ip_network("192.0.2.7"), ip_network("fd00::/8")]
ASK = """
import json, django; django.setup()
from django.conf import settings
print(json.dumps({name: getattr(settings, name, None) for name in %r}, default=str))
"""


def make_environment(**given: Any) -> Environment:
    return Environment.model_validate({**NEEDED, **given})


def settings_of(environment: dict[str, str], *names: str) -> dict[str, Any]:
    outcome = subprocess.run(
        [sys.executable, "-c", ASK % (names,)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(outcome.stdout)


def test_djangos_check_of_a_deployment_finds_nothing():
    outcome = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        env={**os.environ, **PRODUCTION},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert "no issues" in outcome.stdout


@pytest.mark.parametrize(
    ("given", "warning"),
    [
        ({}, "config.W001"),
        ({"public_url": "http://parley.example.com"}, "config.W002"),
        ({"public_url": "https://parley.example.com"}, "config.W003"),
    ],
)
def test_it_names_what_a_deployment_lacks(settings: Any, given: dict[str, str], warning: str):
    settings.ENVIRONMENT = make_environment(**given)
    settings.IS_HTTPS = settings.ENVIRONMENT.public_url.startswith("https://")
    settings.TRUSTED_PROXIES = []
    found = checks.run_checks(tags=["config"], include_deployment_checks=True)
    assert [each.id for each in found] == [warning]


def test_behind_https_cookies_are_kept_to_it():
    found = settings_of(
        PRODUCTION,
        "SESSION_COOKIE_SECURE",
        "SESSION_COOKIE_HTTPONLY",
        "CSRF_COOKIE_SECURE",
        "SESSION_COOKIE_NAME",
        "SECURE_SSL_REDIRECT",
        "SECURE_HSTS_SECONDS",
        "ALLOWED_HOSTS",
        "CSRF_TRUSTED_ORIGINS",
    )
    assert found == {
        "SESSION_COOKIE_SECURE": True,
        "SESSION_COOKIE_HTTPONLY": True,
        "CSRF_COOKIE_SECURE": True,
        "SESSION_COOKIE_NAME": "__Host-parley_session",
        "SECURE_SSL_REDIRECT": True,
        "SECURE_HSTS_SECONDS": 31_536_000,
        "ALLOWED_HOSTS": ["parley.example.com", "localhost", "127.0.0.1", "[::1]"],
        "CSRF_TRUSTED_ORIGINS": ["https://parley.example.com"],
    }


def test_without_https_a_first_try_works_from_another_machine():
    given = {name: "" for name in PRODUCTION if name not in ("SECRET_KEY", "VECTORDB_API_KEY")}
    names = ("SESSION_COOKIE_SECURE", "SECURE_SSL_REDIRECT", "SECURE_HSTS_SECONDS", "ALLOWED_HOSTS")
    assert settings_of(given, *names) == {
        "SESSION_COOKIE_SECURE": False,
        "SECURE_SSL_REDIRECT": False,
        "SECURE_HSTS_SECONDS": 0,
        "ALLOWED_HOSTS": ["*"],
    }


def test_hosts_that_were_given_are_the_hosts():
    assert choose_hosts(make_environment(public_url="https://a.example", allowed_hosts="b.example")) == ["b.example"]


def test_a_host_that_is_an_address_stays_one():
    assert choose_hosts(make_environment(public_url="http://[fd00::1]:8002"))[0] == "[fd00::1]"


def test_other_origins_may_be_given():
    environment = make_environment(public_url="https://a.example:8443/", csrf_trusted_origins="https://b.example")
    assert choose_origins(environment) == ["https://a.example:8443", "https://b.example"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PUBLIC_URL", "parley.example.com"),
        ("PUBLIC_URL", "https://"),
        ("PUBLIC_URL", "https://a.example/parley"),
        ("PUBLIC_URL", "https://a.example:many"),
        ("PUBLIC_URL", "ftp://a.example"),
        ("PUBLIC_URL", "https://me@a.example"),
        ("TRUSTED_PROXIES", "10.0.0.1, everyone"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("HSTS_SECONDS", "-1"),
        ("SESSION_HOURS", "0"),
    ],
)
def test_what_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=f"{name}:"):
        read_environment()


@pytest.mark.parametrize(
    ("told", "caller"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.1.1.1", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),  # what the caller wrote himself stands before it
        ("127.0.0.1,203.0.113.9,192.0.2.7", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("", "10.0.0.2"),
        ("unknown", "10.0.0.2"),
        ("203.0.113.9, unknown, 10.1.1.1", "10.1.1.1"),
        ("10.5.5.5", "10.5.5.5"),
    ],
)
def test_the_caller_is_the_last_whom_no_proxy_of_ours_is(told: str, caller: str):
    assert str(find_caller(ip_address("10.0.0.2"), told, NETWORKS)) == caller


@given(st.lists(st.ip_addresses(), max_size=3), st.ip_addresses().filter(lambda a: not is_within(a, NETWORKS)))
def test_nobody_passes_for_another_by_what_he_writes_himself(forged: list[Any], real: Any):
    told = ",".join(map(str, [*forged, real]))
    assert find_caller(ip_address("10.0.0.2"), told, NETWORKS) == read_address(str(real))


@pytest.mark.parametrize("address", ["10.0.0.2", "203.0.113.9", ""])
def test_only_a_trusted_proxy_is_believed(settings: Any, address: str):
    settings.TRUSTED_PROXIES = NETWORKS
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    seen: list[Any] = []
    request = RequestFactory().get(
        "/", headers={"X-Forwarded-For": "198.51.100.1", "X-Forwarded-Proto": "https"}, REMOTE_ADDR=address
    )
    TrustedProxyMiddleware(seen.append)(request)  # type: ignore[arg-type]
    is_trusted = address == "10.0.0.2"
    assert request.is_secure() is is_trusted
    assert request.META["REMOTE_ADDR"] == ("198.51.100.1" if is_trusted else address)


def test_probes_come_by_address_and_are_not_sent_elsewhere(settings: Any):
    settings.ALLOWED_HOSTS = ["parley.example.com"]
    settings.SECURE_SSL_REDIRECT = True
    client = Client(headers={"Host": "10.1.2.3:8002"})
    assert client.get("/healthz").status_code == 200
    assert client.get("/healthz/").status_code == 200
    assert client.get("/redoc").status_code == 400


def test_who_comes_by_plain_http_is_sent_to_https(settings: Any):
    settings.ALLOWED_HOSTS = ["parley.example.com"]
    settings.SECURE_SSL_REDIRECT = True
    answer = Client(headers={"Host": "parley.example.com"}).get("/redoc")
    assert (answer.status_code, answer["Location"]) == (301, "https://parley.example.com/redoc")


@pytest.mark.django_db
def test_behind_its_proxy_cookies_and_links_are_https(settings: Any, project: Project):
    settings.ALLOWED_HOSTS = ["parley.example.com"]
    settings.TRUSTED_PROXIES = NETWORKS
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.SECURE_SSL_REDIRECT = settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    settings.SECURE_HSTS_SECONDS = 60
    settings.CSRF_COOKIE_NAME = name_cookie("parley_csrf", is_https=True)
    proxy: dict[str, Any] = {
        "headers": {"Host": "parley.example.com", "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"},
        "REMOTE_ADDR": "10.0.0.2",
    }
    page = Client(**proxy).get("/admin/login/")
    assert page.status_code == 200
    assert page["Strict-Transport-Security"] == "max-age=60"
    cookie = page.cookies["__Host-parley_csrf"]
    assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "")
    QuestionAnswerFactory.create_batch(2, thread__project=project)
    _, key = create_api_key(project=project, name="test", scopes=["read"])
    proxy["headers"]["X-API-KEY"] = key
    threads = Client(**proxy).get(f"/query/v1/projects/{project.pk}/threads/?page_size=1")
    assert threads.json()["next"].startswith("https://parley.example.com/")
