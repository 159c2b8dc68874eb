"""What check 20 knows of every route: which scope a call asks for, and where the id of something may stand.

A new route needs an entry: in CALLS when a key opens it, in OPEN when it is for everybody or has a gate of its own. A
path parameter of a new name needs a line in `Tenant.ids` (tests/contract/tenants.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.urls import URLPattern, get_resolver

from tests.contract.tenants import WORD

Ids = Mapping[str, UUID]
Values = Callable[[Ids], dict[str, Any]]
METHODS = ("get", "post", "put", "patch", "delete", "head", "options")


@dataclass(frozen=True, slots=True)
class Stray:
    """A place beside the path where the id of another tenant may stand. `answers` is what comes of it."""

    query: Values | None = None
    body: Values | None = None
    answers: int = 404


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a key opens.

    `scope` is the contract's. `body` and `query` make it one that is understood; it is answered with `answers`.
    `strays` are tried with another tenant's ids, and must not differ from ids that nobody has. `probes` are queries and
    bodies that fish for another tenant's texts: they may find nothing.
    """

    scope: str
    body: Values | None = None
    query: Values | None = None
    answers: int = 200
    is_stream: bool = False
    strays: tuple[Stray, ...] = ()
    probes: tuple[Stray, ...] = ()


PROJECT = "/query/v1/projects/<id:project_id>"
CATEGORIES = f"{PROJECT}/categories/"
RUNS = f"{PROJECT}/categorisation/runs/"
THREADS = f"{PROJECT}/threads/"
DOCUMENTS = "/knowledge/v1/projects/<id:project_id>/documents/"


def _question(ids: Ids) -> dict[str, Any]:
    return {"question": f"What about {WORD}?"}


def _question_in_thread(ids: Ids) -> dict[str, Any]:
    return {"question": f"What about {WORD}?", "thread_id": str(ids["thread_id"])}


def _retrieval(ids: Ids) -> dict[str, Any]:
    return {"query": WORD, "top_k": 50}


def _category(ids: Ids) -> dict[str, Any]:
    return {"title": "Careers", "description": "Open positions."}


def _document(ids: Ids) -> dict[str, Any]:
    return {"title": "Pauses", "content": "# Pauses\n\nThere are pauses.", "content_type": "text/markdown"}


def _document_of_the_same_name(ids: Ids) -> dict[str, Any]:
    return {**_document(ids), "external_id": f"{WORD}.md"}


def _preview(ids: Ids) -> dict[str, Any]:
    return {"categories": [{"title": "Careers", "description": ""}], "sample_size": 5}


def _reclassify(ids: Ids) -> dict[str, Any]:
    return {"scope": "category", "category": str(ids["category_id"])}


_CHAT = Call(
    "chat",
    _question,
    strays=(Stray(body=_question_in_thread),),
    probes=(Stray(body=_question, answers=200),),
)
_BY_CATEGORY = Stray(query=lambda ids: {"category": str(ids["category_id"])})
_FISHING = Stray(query=lambda ids: {"search": WORD}, answers=200)

CALLS: dict[tuple[str, str], Call] = {
    ("post", f"{PROJECT}/chat"): _CHAT,
    ("post", f"{PROJECT}/chat/stream"): Call("chat", _question, is_stream=True, strays=_CHAT.strays),
    ("post", "/query/v1/threads/<id:thread_id>/chat"): Call("chat", _question),
    ("post", "/query/v1/threads/<id:thread_id>/chat/stream"): Call("chat", _question, is_stream=True),
    ("post", f"{PROJECT}/retrieval"): Call(
        "read",
        _retrieval,
        probes=(
            Stray(body=_retrieval, answers=200),
            Stray(body=lambda ids: {**_retrieval(ids), "filters": {"owner": WORD}}, answers=200),
        ),
    ),
    ("get", THREADS): Call("read", strays=(_BY_CATEGORY,), probes=(_FISHING,)),
    ("get", f"{THREADS}<id:thread_id>/"): Call("read"),
    ("patch", f"{THREADS}<id:thread_id>/"): Call(
        "label",
        lambda ids: {"category": str(ids["category_id"])},
        strays=(Stray(body=lambda ids: {"category": str(ids["category_id"])}),),
    ),
    ("delete", f"{THREADS}<id:thread_id>/category/"): Call("label", answers=204),
    ("get", CATEGORIES): Call("read"),
    ("post", CATEGORIES): Call("manage", _category, answers=201),
    ("get", f"{CATEGORIES}<id:category_id>/"): Call("read"),
    ("put", f"{CATEGORIES}<id:category_id>/"): Call("manage", _category),
    ("patch", f"{CATEGORIES}<id:category_id>/"): Call("manage", lambda ids: {"description": "Other."}),
    ("delete", f"{CATEGORIES}<id:category_id>/"): Call(
        "manage", answers=204, strays=(Stray(query=lambda ids: {"reassign_to": str(ids["category_id"])}),)
    ),
    ("post", f"{CATEGORIES}preview/"): Call("manage", _preview, answers=202),
    ("post", f"{CATEGORIES}reclassify/"): Call("manage", _reclassify, answers=202, strays=(Stray(body=_reclassify),)),
    ("get", RUNS): Call("read"),
    ("post", RUNS): Call("manage", lambda ids: {"kind": "backfill"}, answers=202),
    ("get", f"{RUNS}<id:run_id>/"): Call("read"),
    ("post", f"{RUNS}<id:run_id>/pause/"): Call("manage"),
    ("post", f"{RUNS}<id:run_id>/resume/"): Call("manage", answers=409),  # it runs
    ("post", f"{RUNS}<id:run_id>/cancel/"): Call("manage", answers=409),  # it follows a deletion
    ("get", DOCUMENTS): Call("read", probes=(Stray(query=lambda ids: {"external_id": f"{WORD}.md"}, answers=200),)),
    ("post", DOCUMENTS): Call(
        "ingest", _document, answers=201, probes=(Stray(body=_document_of_the_same_name, answers=200),)
    ),
    ("get", f"{DOCUMENTS}reindex/"): Call("read"),
    ("post", f"{DOCUMENTS}reindex/"): Call("ingest", answers=202),
    ("get", f"{DOCUMENTS}<id:document_id>/"): Call("read"),
    ("patch", f"{DOCUMENTS}<id:document_id>/"): Call("ingest", lambda ids: {"title": "Another title"}),
    ("delete", f"{DOCUMENTS}<id:document_id>/"): Call("ingest", answers=204),
}

# What no key opens, with what whoever comes without a session is answered. A path is the beginning of its routes'.
TO_THE_LOGIN = 302
OPEN: dict[str, int] = {
    "/admin/": TO_THE_LOGIN,
    "/reports/": 404,  # without a link's token
    "/schema": 200,
    "/redoc": 200,
    "/docs": 200,
    "/healthz": 200,
    "/readyz": 200,
    "/metrics": 200,  # from this machine, without METRICS_TOKEN
}

HOW_TO_ADD = (
    "Check 20 knows no case for these routes:\n{routes}\n"
    "Add to CALLS in tests/contract/routes.py, with the scope and a body that the contract has,\n"
    '    ("get", "/the/route/<id:project_id>/"): Call("read"),\n'
    "and, where the id of anything may stand in its query or body, `strays=(Stray(body=...),)`;\n"
    "or, when no key opens it, its path and what a stranger is answered to OPEN."
)


def list_routes() -> Iterator[tuple[str, URLPattern]]:
    """Every route of the URL configuration, the admin's too, as its path is written there."""
    return _walk(get_resolver(), "/")


def list_calls() -> Iterator[tuple[str, str]]:
    """Method and route of each call that keys open, as the views serve them."""
    for route, pattern in list_routes():
        if gate_of(route) is None:
            for method in methods_of(pattern):
                yield method, route


def gate_of(route: str) -> str | None:
    """The entry of OPEN that the route is under."""
    return next((path for path in OPEN if route == path or (path.endswith("/") and route.startswith(path))), None)


def methods_of(pattern: URLPattern) -> list[str]:
    """What a view serves, but for HEAD and OPTIONS, which go with the others."""
    callback: Any = pattern.callback
    actions: dict[str, str] | None = getattr(callback, "actions", None)
    view = getattr(callback, "cls", None) or getattr(callback, "view_class", None)
    if actions is None and view is None:  # a function: whatever it lets pass
        return ["get"]
    return [method for method in METHODS[:5] if method in (actions or dir(view))]


def _walk(resolver: Any, prefix: str) -> Iterator[tuple[str, URLPattern]]:
    for pattern in resolver.url_patterns:
        route = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLPattern):
            yield route, pattern
        else:
            yield from _walk(pattern, route)
