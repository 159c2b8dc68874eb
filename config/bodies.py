"""How large a call's body may be."""

from __future__ import annotations

from typing import Literal

from django.conf import settings
from django.http import HttpRequest
from django.urls import Resolver404, resolve

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
