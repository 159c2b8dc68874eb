"""How large a call's body may be, and how many large ones are read at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

from django.conf import settings
from django.http import HttpRequest
from django.urls import Resolver404, resolve
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from teams.models import ProjectAPIKey
from teams.rates import Taken
from teams.throttling import ATTRIBUTE

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which imports this module, by DRF's settings

# What a view says of its actions in `large_bodies`; of those that it does not name, no body is large.
Kind = Literal["document", "draft"]


def find_limit_bytes(request: HttpRequest, size_bytes: int) -> int:
    """What a body of the call may have at most. The path is looked at only where the size makes a difference."""
    if size_bytes <= settings.MAX_REQUEST_SIZE_BYTES:
        return int(settings.MAX_REQUEST_SIZE_BYTES)
    kind = _find_kind(request)
    if kind == "document":
        is_form = request.META.get("CONTENT_TYPE", "").lower().startswith("multipart/")
        return int(settings.MAX_FORM_SIZE_BYTES if is_form else settings.MAX_DOCUMENT_BODY_SIZE_BYTES)
    return int(settings.MAX_DRAFT_SIZE_BYTES if kind == "draft" else settings.MAX_REQUEST_SIZE_BYTES)


def _find_kind(request: HttpRequest) -> Kind | None:
    try:
        view = resolve(request.path_info).func
    except Resolver404:
        return None
    action = (getattr(view, "actions", None) or {}).get((request.method or "").lower())
    kind: Kind | None = getattr(getattr(view, "cls", None), "large_bodies", {}).get(action)
    return kind


class TooManyUploads(Exception):
    """As many large bodies as are read at once are being read."""


class Uploads:
    """The large bodies that a process has in hand: so many at once, because each takes memory or a temporary file.

    Who finds no place waits for one a little: most are done within a second.
    """

    def __init__(self, at_once: int, wait_s: float) -> None:
        self._free = threading.BoundedSemaphore(at_once)
        self._wait_s = wait_s
        self._in_hand: set[HttpRequest] = set()

    def __len__(self) -> int:
        return len(self._in_hand)

    def begin(self, request: HttpRequest) -> None:
        """Take a place for the request's body, if it is large. Raises TooManyUploads."""
        if int(request.META.get("CONTENT_LENGTH") or 0) <= settings.MAX_REQUEST_SIZE_BYTES:
            return
        if not self._free.acquire(timeout=self._wait_s):
            raise TooManyUploads("Too many large bodies are being read.")
        self._in_hand.add(request)

    def end(self, request: HttpRequest) -> None:
        """Give the place back, if the request has one; its temporary files are deleted before."""
        if request not in self._in_hand:
            return
        try:
            request.close()
        finally:
            self._in_hand.discard(request)
            self._free.release()


uploads = Uploads(settings.UPLOADS_AT_ONCE, wait_s=1.0)


class UploadThrottle(BaseThrottle):
    """Lets a call begin with a large body, which the middleware that read its size ends.

    Not one whose body nobody will read, because it has no key, or made too many calls.
    """

    def allow_request(self, request: Request, view: APIView) -> bool:
        taken: Taken | None = getattr(request._request, ATTRIBUTE, None)
        if isinstance(request.auth, ProjectAPIKey) and (taken is None or taken.is_allowed):
            uploads.begin(request._request)
        return True
