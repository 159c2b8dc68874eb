"""Who is calling: the project whose key stands in `X-API-KEY`."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from teams import keys, selectors, services
from teams.models import ProjectAPIKey

HEADER = "X-API-KEY"


class APIKeyAuthentication(BaseAuthentication):
    """`request.auth` becomes the key's row, its project beside it, in one query. No key of ours: 401."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, ProjectAPIKey] | None:
        plain = request.headers.get(HEADER)
        if plain is None:
            return None
        if not keys.is_well_formed(plain):
            raise AuthenticationFailed("The API key is not valid.")
        found = selectors.find_key(keys.hash_key(plain))
        now = timezone.now()
        if found is None or not found.is_usable(now):
            raise AuthenticationFailed("The API key is not valid.")
        services.note_use(found, now)
        return AnonymousUser(), found

    def authenticate_header(self, request: Request) -> str:
        return f'ApiKey realm="parley", header="{HEADER}"'
