"""Who acts in the admin."""

from __future__ import annotations

from django.http import HttpRequest

from categorisation.services import Actor
from teams.models import User


def actor_of(request: HttpRequest) -> Actor:
    """The user who is logged in."""
    assert isinstance(request.user, User)
    return Actor.of_user(request.user)
