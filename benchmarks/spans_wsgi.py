"""The web application as it is deployed, and in each answer's `Server-Timing` (W3C) where its time went, in ms.

Spans do not overlap: what is measured within another one is taken off that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import wraps
from typing import Any

from config.wsgi import application as parley

# isort: split
from rest_framework.response import Response
from rest_framework.views import APIView

import knowledge.composition
from query import services
from query.agent import retriever
from query.composition import ProjectChunks, llm
from teams.authentication import APIKeyAuthentication
from teams.throttling import KeyThrottle


class Spans:
    """The spans of one request, innermost last."""

    def __init__(self) -> None:
        self.taken_s: dict[str, float] = {}
        self._within_s = [0.0]

    def measure(self, name: str, call: Callable[[], Any]) -> Any:
        self._within_s.append(0.0)
        started = time.perf_counter()
        try:
            return call()
        finally:
            took_s = time.perf_counter() - started
            self.taken_s[name] = self.taken_s.get(name, 0.0) + took_s - self._within_s.pop()
            self._within_s[-1] += took_s


_spans: ContextVar[Spans | None] = ContextVar("spans", default=None)


def measure(owner: Any, method: str, name: str) -> None:
    """Have every call of the method be a span of that name."""
    inner = getattr(owner, method)

    @wraps(inner)
    def measured(*arguments: Any, **named: Any) -> Any:
        spans = _spans.get()
        call = lambda: inner(*arguments, **named)  # noqa: E731
        return call() if spans is None else spans.measure(name, call)

    setattr(owner, method, measured)


measure(APIView, "dispatch", "view")
measure(APIKeyAuthentication, "authenticate", "authentication")
measure(KeyThrottle, "allow_request", "throttle")
measure(type(knowledge.composition.embedder()), "embed_query", "embedding")
measure(ProjectChunks, "hybrid_search", "search")
measure(retriever, "judge_relevance", "relevance")
measure(type(llm()), "generate", "model")
measure(services, "_save", "commit")
measure(Response, "render", "rendering")


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The WSGI application."""
    spans = Spans()
    started: list[tuple[Any, ...]] = []

    def hold(*arguments: Any) -> None:
        started.append(arguments)

    token = _spans.set(spans)
    try:
        body = spans.measure("middleware", lambda: parley(environ, hold))
    finally:
        _spans.reset(token)
    status, headers, *rest = started[0]
    told = ", ".join(f"{name};dur={taken_s * 1e3:.3f}" for name, taken_s in spans.taken_s.items())
    start_response(status, [*headers, ("Server-Timing", told)], *rest)
    result: Iterable[bytes] = body
    return result
