"""What browsers are told that pages may do."""

from __future__ import annotations

import re

import pytest
from django.template.loader import render_to_string
from django.test import Client

from config.page_security import directives_of
from teams.models import User

PAGES = ["/redoc", "/docs", "/admin/login/"]
SCRIPT = re.compile(r"<script(?P<attributes>[^>]*)>(?P<text>.*?)</script>", re.DOTALL)
HANDLER = re.compile(r"<[^>]+\son[a-z]+\s*=", re.IGNORECASE)


def policy_of(answer: object) -> dict[str, str]:
    header: str = answer["Content-Security-Policy"]  # type: ignore[index]
    return dict(directive.partition(" ")[::2] for directive in header.split("; "))


@pytest.mark.parametrize("path", ["/healthz", "/schema", "/nowhere", "/administration", "/redocs"])
def test_answers_run_nothing_but_the_services_own_files(path: str):
    policy = policy_of(Client().get(path))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["object-src"] == "'none'"
    assert policy["base-uri"] == "'none'"
    assert not [value for value in policy.values() if "unsafe" in value]


@pytest.mark.django_db
@pytest.mark.parametrize("path", PAGES)
def test_no_page_runs_a_script_that_stands_in_it_without_the_answers_nonce(path: str):
    answer = Client().get(path)
    assert answer.status_code == 200
    policy, text = policy_of(answer), answer.content.decode()
    assert "unsafe-inline" not in policy["script-src"]
    inline = [match for match in SCRIPT.finditer(text) if "src=" not in match["attributes"] and match["text"].strip()]
    for script in inline:
        nonce = re.search(r'nonce="([^"]+)"', script["attributes"])
        assert nonce is not None, script[0][:200]
        assert f"'nonce-{nonce[1]}'" in policy["script-src"]
    assert not HANDLER.search(text)


@pytest.mark.parametrize("path", ["/redoc", "/docs"])
def test_each_answer_has_a_nonce_of_its_own(path: str):
    assert policy_of(Client().get(path))["script-src"] != policy_of(Client().get(path))["script-src"]


def test_what_the_admin_needs_is_allowed_below_it_alone():
    assert "'unsafe-inline'" in directives_of("/admin/teams/project/")["style-src"]
    assert "'unsafe-inline'" in directives_of("/admin")["style-src"]
    for path in ("/", "/adminx", "/chat/admin/"):
        assert "'unsafe-inline'" not in directives_of(path)["style-src"]


def test_no_page_may_evaluate_text():
    for path in ("/", "/admin/", "/admin/teams/project/", "/docs", "/redoc"):
        assert "'unsafe-eval'" not in directives_of(path)["script-src"]


def test_browsers_are_told_the_rest():
    answer = Client().get("/healthz")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in answer["Permissions-Policy"]
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.django_db
def test_errors_of_the_admin_are_pages_that_need_no_style():
    client = Client()
    client.force_login(User.objects.create_superuser("a@example.com", "a password that is long"))
    answer = client.get("/admin/nowhere/")
    assert answer.status_code == 404
    assert "There is nothing here" in answer.content.decode()
    for name in ("400", "403", "403_csrf", "404", "429", "500"):
        text = render_to_string(f"{name}.html")
        assert "<h1>" in text
        assert "style" not in text
        assert "script" not in text


@pytest.mark.django_db
def test_a_form_without_its_token_is_refused_with_a_page():
    answer = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "a", "password": "b"})
    assert answer.status_code == 403
    assert "too old" in answer.content.decode()
