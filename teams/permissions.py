"""What a key may do: in its own project, within its scopes.

A view declares `scopes`, a mapping from its action (or, for a plain view, the method in lower case) to the scope that
it asks for. A view that declares none for an action that it serves is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.http import Http404
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from teams.models import ProjectAPIKey

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which imports this module, by DRF's settings


class KeyCoversProject(BasePermission):
    """Another project answers as one that does not exist: 404."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not isinstance(request.auth, ProjectAPIKey):
            return False
        project_id: UUID | None = view.kwargs.get("project_id")
        if project_id is not None and project_id != request.auth.project_id:
            raise Http404
        return True


class KeyHasScope(BasePermission):
    """A key that lacks the scope: 403."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        method = str(request.method).lower()
        if method == "options":
            return True
        action = getattr(view, "action", method)
        if action is None or not hasattr(view, action):  # the method is not served here: the dispatcher says so
            return True
        scopes: dict[str, Any] = getattr(view, "scopes", {})
        return isinstance(request.auth, ProjectAPIKey) and scopes.get(action) in request.auth.scopes


def key_of(request: Request) -> ProjectAPIKey:
    """The key that the call was made with."""
    assert isinstance(request.auth, ProjectAPIKey)
    return request.auth
