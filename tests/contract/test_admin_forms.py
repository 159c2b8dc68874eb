"""No form of the admin, however crafted, ends in a server error."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.db.models import Model
from django.test import Client

import config.urls  # noqa: F401  # makes the last of the admin's pages
from query.models import Thread
from teams.models import Project
from tests.factories.admin import MAKERS
from tests.factories.teams import ProjectFactory, UserFactory

pytestmark = pytest.mark.django_db

A_THOUSAND = "9" * 400  # as a count it is cut to a thousand rows, which take seconds to draw: sent once, for all fields
HOSTILE: list[Any] = [
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800".encode("utf-8", "surrogatepass"),
    "x" * 100_000,
    A_THOUSAND,
    "-1",
    "nonsense",
    str(uuid.uuid4()),
    "{",
    '{"a": "\\u0000"}',
    "[" * 10_000,
    "0001-01-01",
    "9999-12-31",
    ["a", "b"],
    ["\0"],
    [str(uuid.uuid4())],
]


FEW: list[Any] = ["\0", "nonsense", ["a", "b"]]  # CI sends all of them
NO_NUMBERS: list[Any] = ["", "\0", "-1", "nonsense", ["a", "b"]]  # for what counts an inline's rows


@pytest.fixture
def browser() -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    return client


def read_form(page: Any) -> dict[str, Any]:
    """What the page's form would send, every field of it."""
    adminform = page.context["adminform"].form
    sent: dict[str, Any] = {}
    for bound in adminform:
        value = bound.value()
        for part, text in _parts(bound, value):
            sent[part] = text
    for inline in page.context["inline_admin_formsets"]:
        for bound in inline.formset.management_form:
            sent[bound.html_name] = bound.value()
    return {name: value for name, value in sent.items() if value is not None}


def _parts(bound: Any, value: Any) -> Iterator[tuple[str, Any]]:
    widgets = getattr(bound.field.widget, "widgets_names", None)
    if widgets is None:
        prepared = bound.field.prepare_value(value)
        if isinstance(prepared, list | tuple | set):
            yield bound.html_name, [str(getattr(each, "pk", each)) for each in prepared]
        else:
            yield bound.html_name, prepared
        return
    texts = bound.field.widget.decompress(value)
    for suffix, text in zip(widgets, texts, strict=True):
        yield f"{bound.html_name}{suffix}", text


FILLED = {"name": "A name", "title": "A title", "email": "new@example.com", "scopes": ["read"]}
PASSWORD = "correct-horse-battery"
FILLED |= {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}


def attack(browser: Client, url: str, foreign: Project, hostile: list[Any]) -> list[str]:
    """The errors that crafted values meet, one field at a time and all fields at once."""
    page = browser.get(url)
    if page.status_code != 200:  # closed to everybody
        return []
    related = {"project": str(foreign.pk), "team": str(foreign.team_id)}
    fields = page.context["adminform"].form.fields
    base = read_form(page) | {name: value for name, value in FILLED.items() if name in fields}
    base = {name: value for name, value in related.items() if name in fields} | base
    strange = [str(foreign.pk), str(foreign.categories.first().pk)]
    one_at_a_time = [
        {**base, name: value}
        for name in base
        for value in (NO_NUMBERS if name.endswith("_FORMS") else [*hostile, *strange])
    ]
    all_at_once = [dict.fromkeys(base, value) for value in [*hostile, *strange]]
    broken = []
    for form in [{}, *one_at_a_time, *all_at_once]:
        answer = browser.post(url, form)
        if answer.status_code >= 500:
            broken.append(f"{ {name: str(value)[:40] for name, value in form.items()} }: {answer.exc_info[1]!r:.200}")
    return broken


def test_every_admin_is_attacked():
    assert set(admin.site._registry) == set(MAKERS)


@pytest.mark.parametrize("model", MAKERS, ids=lambda model: model.__name__)
@pytest.mark.parametrize("page", ["add", "change"])
@pytest.mark.parametrize("hostile", [FEW, pytest.param(HOSTILE, marks=pytest.mark.ci)], ids=["few", "all"])
def test_no_form_ends_in_a_server_error(
    browser: Client, project: Project, model: type[Model], page: str, hostile: list[Any]
):
    url = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    made = MAKERS[model](project)
    url += "add/" if page == "add" else f"{made.pk}/change/"
    assert attack(browser, url, ProjectFactory(), hostile) == []


@pytest.mark.ci
@pytest.mark.parametrize("model", MAKERS, ids=lambda model: model.__name__)
def test_no_list_ends_in_a_server_error(browser: Client, project: Project, model: type[Model]):
    MAKERS[model](project)
    url = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    filters = browser.get(url).context["cl"].filter_specs
    names = [name for spec in filters for name in spec.expected_parameters()]
    names += ["q", "p", "o", "e", "all", "x"] if model is Thread else ["q"]
    broken = []
    for name in names:
        for value in ("\0", "²", A_THOUSAND):
            answer = browser.get(url, {name: value})
            if answer.status_code >= 500:
                broken.append(f"{name}={value[:20]!r}: {answer.exc_info[1]!r:.200}")
    assert broken == []


@pytest.mark.parametrize("email", ["ada@example.com", "ADA@Example.com"])
def test_a_taken_address_is_told_in_words(browser: Client, email: str):
    UserFactory(email="ada@example.com")
    form = {"email": email, "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    page = browser.post("/admin/teams/user/add/", form).content
    assert b"There is a user with this e-mail address already." in page
    assert b"user_email_without_case" not in page
    other = UserFactory()
    page = browser.post(f"/admin/teams/user/{other.pk}/change/", {"email": email}).content
    assert b"There is a user with this e-mail address already." in page
    assert browser.post(f"/admin/teams/user/{other.pk}/change/", {"email": other.email.upper()}).status_code == 302
