"""Check 20: no tenant sees, changes or even finds out about another's, by any route, with any key.

`tests/contract/routes.py` holds a case for each route; one without fails here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

import knowledge.composition
from teams import keys, services
from teams.models import Project, Scope
from teams.views import KeyView
from tests.contract.routes import (
    CALLS,
    HOW_TO_ADD,
    METHODS,
    OPEN,
    TO_THE_LOGIN,
    Stray,
    gate_of,
    list_calls,
    list_routes,
)
from tests.contract.tenants import FOREIGN, OWN, Tenant, ids_of_nobody, make_tenant, rows_of
from tests.factories.teams import UserFactory

PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")
# what differs from answer to answer, whoever is asked for
PER_ANSWER = {"X-Request-ID", "Date", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"}
API = sorted({route for _, route in CALLS})
Seen = tuple[int, bytes, tuple[tuple[str, str], ...]]
Ids = Mapping[str, UUID]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand refusals make a thousand warnings."""
    caplog.set_level(logging.ERROR, "django.request")


@pytest.fixture
def tiny_embedder(settings: Any, vectordb_server: object) -> Iterator[None]:
    changes = {"embedder": "tests.knowledge.fakes.TinyEmbedder", "calls_per_minute": 0}
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update=changes)
    knowledge.composition.forget_parts()
    yield
    knowledge.composition.forget_parts()


@pytest.fixture
def own(tiny_embedder: None, db: None) -> Tenant:
    return make_tenant(OWN)


@pytest.fixture
def foreign(tiny_embedder: None, db: None) -> Tenant:
    return make_tenant(FOREIGN)


# -- calls ------------------------------------------------------------------------------------------------------------


def fill(route: str, ids: Ids) -> str:
    return PARAMETER.sub(lambda match: str(ids[match[1]]), route)


def send(
    client: Client, method: str, path: str, query: dict[str, Any] | None = None, body: dict[str, Any] | None = None
) -> Seen:
    """One call; what there is to see of its answer."""
    options: dict[str, Any] = {"QUERY_STRING": "&".join(f"{k}={v}" for k, v in (query or {}).items())}
    if method not in ("get", "head"):
        options["data"] = body
    if isinstance(client, APIClient) and method not in ("get", "head"):
        options["format"] = "json"
    answer = getattr(client, method)(path, **options)
    return answer.status_code, read(answer), tuple(sorted((k, v) for k, v in answer.items() if k not in PER_ANSWER))


def read(answer: HttpResponse | StreamingHttpResponse) -> bytes:
    if isinstance(answer, StreamingHttpResponse):
        return b"".join(answer)  # type: ignore[arg-type]
    return answer.content


def call_as(
    client: Client, call: tuple[str, str], ids: Ids, others: Ids | None = None, stray: Stray | None = None
) -> Seen:
    """The call with `ids` in its path; with `others` where the stray, or else the call itself, wants any."""
    method, route = call
    known = CALLS.get(call)
    query = stray.query if stray is not None else known.query if known else None
    body = stray.body if stray is not None else known.body if known else None
    where = ids if others is None else others
    return send(client, method, fill(route, ids), query and query(where), body and body(where))


def tell(call: tuple[str, str], seen: Seen, what: str) -> str:
    return f"{call[0].upper()} {call[1]}, {what}: {seen[0]} {seen[1][:200]!r}"


def leaks(seen: Seen) -> bool:
    return FOREIGN in seen[1].decode(errors="replace") or any(FOREIGN in text for header in seen[2] for text in header)


# -- keys -------------------------------------------------------------------------------------------------------------


def client_with(plain: str | None) -> APIClient:
    return APIClient(headers={} if plain is None else {"X-API-KEY": plain})


def client_of(project: Project, *scopes: str, **options: Any) -> APIClient:
    return client_with(services.create_api_key(project=project, name="k", scopes=scopes, **options)[1])


def clients_by_scope(project: Project) -> dict[str, APIClient]:
    return {scope: client_of(project, scope) for scope in Scope.values}


def strangers(project: Project) -> dict[str, APIClient]:
    """Clients whose key opens nothing."""
    row, revoked = services.create_api_key(project=project, name="revoked", scopes=Scope.values)
    services.revoke_api_key(row.pk)
    return {
        "no key": client_with(None),
        "no key of ours": client_with("nonsense"),
        "an unknown key": client_with(keys.generate_key()),
        "a revoked key": client_with(revoked),
        "an expired key": client_of(project, *Scope.values, expires_at=timezone.now() - timedelta(seconds=1)),
    }


# -- the walk ---------------------------------------------------------------------------------------------------------


def test_every_call_of_a_key_is_counted_before_it_is_judged():
    """Who guesses at ids meets the key's limit."""
    views = {route: pattern.callback.cls for route, pattern in list_routes() if gate_of(route) is None}
    assert {route for _, route in CALLS} == views.keys()
    assert [route for route, view in views.items() if not issubclass(view, KeyView)] == []


def test_check_20_every_route_has_a_case():
    unknown = sorted(set(list_calls()) - set(CALLS))
    assert not unknown, HOW_TO_ADD.format(routes="\n".join(f"    {method} {route}" for method, route in unknown))
    assert set(CALLS) == set(list_calls()), "these cases have no route any more"
    gone = [path for path in OPEN if not any(gate_of(route) == path for route, _ in list_routes())]
    assert not gone, "nothing is served there any more"


def test_check_20_every_kind_of_id_in_a_path_is_known(own: Tenant):
    names = {name for route in API for name in PARAMETER.findall(route)}
    assert names <= set(own.ids), "name a tenant's own in Tenant.ids (tests/contract/tenants.py)"


def test_check_20_a_foreign_id_in_the_path_is_as_one_that_nobody_has(own: Tenant, foreign: Tenant):
    """Each way to put foreign ids into a path beside own ones, each method (served or not), each kind of key."""
    nobody = ids_of_nobody(own)
    before = rows_of(foreign)
    everything = client_of(own.project, *Scope.values)
    revoked = strangers(own.project)["a revoked key"]
    clients = {"all scopes": everything, **clients_by_scope(own.project), "a revoked key": revoked}
    wrong = []
    for route, method in product(API, METHODS):
        call, names = (method, route), PARAMETER.findall(route)
        innermost, everywhere = [False] * (len(names) - 1) + [True], [True] * len(names)
        for strange in map(list, list(product([False, True], repeat=len(names)))[1:]):
            if call not in CALLS and strange != everywhere:
                continue
            of_foreign, of_nobody = (
                {**own.ids, **{name: ids[name] for name, is_strange in zip(names, strange, strict=True) if is_strange}}
                for ids in (foreign.ids, nobody)
            )
            for who, client in clients.items():
                if who != "all scopes" and (call not in CALLS or strange != innermost):
                    continue
                seen, expected = (call_as(client, call, ids, own.ids) for ids in (of_foreign, of_nobody))
                if seen != expected or leaks(seen):
                    wrong.append(tell(call, seen, f"{who}, {strange}; an id of nobody's: {expected[0]}"))
                if who == "all scopes" and call in CALLS and seen[0] != 404:
                    wrong.append(tell(call, seen, f"{who}, {strange}; 404 is wanted"))
    assert not wrong, "\n".join(wrong)
    assert rows_of(foreign) == before


def test_check_20_a_foreign_id_in_query_or_body_is_as_one_that_nobody_has(own: Tenant, foreign: Tenant):
    nobody = ids_of_nobody(own)
    before = rows_of(foreign)
    client = client_of(own.project, *Scope.values)
    wrong = []
    for call, known in CALLS.items():
        for stray in known.strays:
            seen, expected = (call_as(client, call, own.ids, ids, stray) for ids in (foreign.ids, nobody))
            if seen != expected or seen[0] != stray.answers or leaks(seen):
                wrong.append(tell(call, seen, f"{stray.answers} is wanted; an id of nobody's: {expected[0]}"))
    assert not wrong, "\n".join(wrong)
    assert rows_of(foreign) == before


def test_check_20_fishing_for_another_tenants_texts_finds_nothing(own: Tenant, foreign: Tenant):
    before = rows_of(foreign)
    client = client_of(own.project, *Scope.values)
    wrong = []
    for call, known in CALLS.items():
        for probe in known.probes:
            with undone():
                seen = call_as(client, call, own.ids, foreign.ids, probe)
            if seen[0] != probe.answers or leaks(seen):
                wrong.append(tell(call, seen, f"{probe.answers} without another's secret is wanted"))
    assert not wrong, "\n".join(wrong)
    assert rows_of(foreign) == before


def test_check_20_a_key_opens_the_calls_of_its_scope_and_no_other(own: Tenant, foreign: Tenant):
    clients = clients_by_scope(own.project)
    wrong = []
    for call, known in CALLS.items():
        for scope, client in clients.items():
            may = scope == known.scope
            if may and known.is_stream:
                continue  # of streams below
            with undone():
                seen = call_as(client, call, own.ids)
            if seen[0] != (known.answers if may else 403) or leaks(seen):
                wrong.append(tell(call, seen, f"the scope {scope}; {known.answers if may else 403} is wanted"))
            if seen[0] == 403 and b'"permission_denied"' not in seen[1]:
                wrong.append(tell(call, seen, "a 403 of another shape"))
    assert not wrong, "\n".join(wrong)


def test_check_20_who_has_no_usable_key_is_told_so_and_nothing_else(own: Tenant):
    wrong = []
    for call, (who, client) in product(CALLS, strangers(own.project).items()):
        seen = call_as(client, call, own.ids)
        is_told = any(name == "WWW-Authenticate" and text.startswith("ApiKey") for name, text in seen[2])
        if seen[0] != 401 or not is_told or OWN in seen[1].decode():
            wrong.append(tell(call, seen, f"{who}; 401 is wanted"))
    assert not wrong, "\n".join(wrong)


@pytest.mark.django_db(transaction=True)
def test_check_20_a_streamed_answer_holds_nothing_of_anybody_else(tiny_embedder: None):
    own, foreign = make_tenant(OWN), make_tenant(FOREIGN)
    client = client_of(own.project, "chat")
    streams = [call for call, known in CALLS.items() if known.is_stream]
    assert streams
    for call in streams:
        status, body, _ = seen = call_as(client, call, own.ids)
        assert status == 200, tell(call, seen, "200 is wanted")
        assert b"event: " in body
        assert b"event: error" not in body
        assert OWN in body.decode(), "there is something to find, and it is found"
        assert not leaks(seen), tell(call, seen, "it holds another's secret")
    assert rows_of(foreign)


# -- what keys do not open --------------------------------------------------------------------------------------------


def paths_of_others() -> Iterator[tuple[str, str]]:
    """Each path that no key opens, filled with something, and the entry of OPEN that it is under."""
    for route, _ in list_routes():
        gate = gate_of(route)
        if gate is not None:
            yield gate, _fill_with_anything(route)


def _fill_with_anything(route: str) -> str:
    plain = re.sub(r"\(\?P<\w+>(\w+)[^)]*\)", r"\1", route.replace("(?P<url>.*)$", "nonsense/"))
    return PARAMETER.sub("1", plain).replace("^", "").replace("$", "")


def test_check_20_what_no_key_opens_shows_nothing_to_strangers(own: Tenant, foreign: Tenant):
    person = Client()
    person.force_login(UserFactory())  # no member of the staff
    clients: dict[str, Client] = {
        "nobody": Client(),
        "a key": client_of(own.project, *Scope.values),
        "a user who is no member of the staff": person,
    }
    wrong = []
    for (gate, path), (who, client) in product(paths_of_others(), clients.items()):
        if who == "a key" and OPEN[gate] == TO_THE_LOGIN and path != gate:
            continue  # pages look at sessions alone
        for method in ("get", "post") if who == "nobody" and OPEN[gate] == TO_THE_LOGIN else ("get",):
            seen = send(client, method, path)
            if OWN in seen[1].decode(errors="replace") or leaks(seen) or not is_as_expected(gate, path, seen):
                wrong.append(f"{who}: {method} {path}: {seen[0]} {dict(seen[2]).get('Location')} {seen[1][:100]!r}")
    assert not wrong, "\n".join(wrong)


def is_as_expected(gate: str, path: str, seen: Seen) -> bool:
    if OPEN[gate] != TO_THE_LOGIN:
        return seen[0] == OPEN[gate]
    if path in (f"{gate}login/", f"{gate}logout/"):  # the way in, and out
        return seen[0] in (200, 302, 405)
    return seen[0] == 302 and dict(seen[2])["Location"].startswith(f"{gate}login/")


@contextmanager
def undone() -> Iterator[None]:
    """Whatever is done within is not done in the end."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
