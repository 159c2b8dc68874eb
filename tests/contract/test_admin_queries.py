"""Every page of the admin asks the database as often for thirty rows as for three."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin import BooleanFieldListFilter, ChoicesFieldListFilter, SimpleListFilter
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext

from categorisation.models import LabelChange
from teams.admin import OperatorAdmin, PeriodFilter, RelatedFilter
from tests.factories.admin import MAKERS
from tests.factories.query import QuestionAnswerFactory
from tests.factories.teams import ProjectFactory, TeamFactory

pytestmark = pytest.mark.django_db

FEW, MANY = 3, 30
ALPINE = re.compile(r'\s(?:x-(?!ref|cloak|transition|teleport|data-)[\w:.-]+|@[\w:.-]+|:[\w-]+)="([^"]*)"')
NOT_UNDERSTOOD = re.compile(r"=>|`|\bnew\b|\bif\b|\blocalStorage\b|\bdocument\b|\bDate\b|;.*\S|\.\.\.")


def grow_thread(thread: Any) -> None:
    QuestionAnswerFactory(thread=thread)
    category = thread.project.categories.first()
    LabelChange.objects.create(
        thread=thread, from_category=category, to_category=category, actor_kind="user", actor="ada@example.com"
    )


def grow_user(user: Any) -> None:
    user.teams.add(TeamFactory())
    user.user_permissions.add(Permission.objects.exclude(pk__in=user.user_permissions.all()).first())


# what a row's own page shows many of
GROWERS: dict[str, Callable[[Any], None]] = {
    "query.thread": grow_thread,
    "teams.user": grow_user,
    "auth.group": lambda group: group.permissions.add(
        Permission.objects.exclude(pk__in=group.permissions.all()).first()
    ),
}


@pytest.fixture(autouse=True)
def warm_content_types(db: None) -> None:
    ContentType.objects.get_for_models(*admin.site._registry)


def follow(row: Any, path: str) -> Any:
    for name in path.split("__"):
        row = getattr(row, name, None)
    return row


def filters_of(model_admin: Any, page: Any, row: Model) -> Iterator[dict[str, str]]:
    """A query string for each filter of the list. A new kind of filter wants a line here."""
    for spec in page.context["cl"].filter_specs:
        match spec:
            case PeriodFilter(parameter_name=name):
                yield {f"{name}_from": "2020-01-01", f"{name}_to": "2120-01-01"}
            case RelatedFilter(lookup_kwarg=name, field_path=path):
                related = follow(row, path)
                yield {name: str(getattr(related, "pk", TeamFactory().pk))}
            case BooleanFieldListFilter(lookup_kwarg=name):
                yield {name: "1"}
            case ChoicesFieldListFilter(lookup_kwarg=name):
                yield {name: str(spec.field.flatchoices[0][0])}
            case SimpleListFilter(parameter_name=name):
                yield from ({name: str(value)} for value, _ in spec.lookup_choices)
            case _:
                pytest.fail(f"no case for {spec!r} of {model_admin}")


def pages_of(model_admin: Any, browser: Client, row: Model) -> list[tuple[str, dict[str, str]]]:
    list_url = model_admin.url_of("changelist")
    page = browser.get(list_url)
    pages = [(list_url, {}), *((list_url, query) for query in filters_of(model_admin, page, row))]
    if fields := model_admin.get_search_fields(None):
        pages.append((list_url, {"q": re.search(r"\w+", str(follow(row, fields[0])))[0]}))
    return [*pages, (model_admin.url_of("change", row.pk), {})]


def too_much_for_strict_pages(page: str) -> list[str]:
    """What Alpine.js's build for strict pages does not understand (config/static/unfold/js/alpine)."""
    return [text for text in ALPINE.findall(page) if NOT_UNDERSTOOD.search(text)]


def count_queries(browser: Client, url: str, query: dict[str, str]) -> int:
    with CaptureQueriesContext(connection) as queries:
        page = browser.get(url, query)
    assert page.status_code == 200, (url, query)
    assert not too_much_for_strict_pages(page.content.decode())
    if "q" in query:
        assert page.context["cl"].result_count, (url, query)
    return len(queries)


@pytest.mark.parametrize("model", MAKERS, ids=lambda model: model.__name__)
def test_no_list_search_filter_or_page_costs_a_query_a_row(admin_client: Client, model: type[Model]):
    model_admin = admin.site._registry[model]
    rows = [MAKERS[model](ProjectFactory()) for _ in range(FEW)]
    grow = GROWERS.get(model._meta.label_lower, lambda row: None)
    for _ in range(FEW):
        grow(rows[0])
    pages = pages_of(model_admin, admin_client, rows[0])
    counts = [(page, count_queries(admin_client, *page)) for page in pages]

    for _ in range(MANY - FEW):
        MAKERS[model](ProjectFactory())
        grow(rows[0])

    assert [(page, count_queries(admin_client, *page)) for page in pages] == counts


def test_every_page_is_an_operators():
    assert [
        model for model, model_admin in admin.site._registry.items() if not isinstance(model_admin, OperatorAdmin)
    ] == []


def test_every_page_has_its_place_in_the_sidebar(admin_client: Client):
    page = admin_client.get("/admin/")
    links = [item["link"] for section in page.context["sidebar_navigation"] for item in section["items"]]
    assert sorted(links) == sorted(model_admin.url_of("changelist") for model_admin in admin.site._registry.values())


def test_no_list_counts_all_its_rows(admin_client: Client, project: Any):
    for model_admin in admin.site._registry.values():
        with CaptureQueriesContext(connection) as queries:
            assert admin_client.get(model_admin.url_of("changelist")).status_code == 200
        counts = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
        assert [sql for sql in counts if "LIMIT" not in sql] == []
