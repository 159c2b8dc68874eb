"""What every call that bears a key passes."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.views import APIView


class KeyView(APIView):
    """Counts a call before it looks at what the key may do, so that nobody guesses at ids without a limit.

    DRF does it the other way round, and what is refused with 403 or 404 would cost nothing.
    """

    def check_permissions(self, request: Request) -> None:
        super().check_throttles(request)
        super().check_permissions(request)

    def check_throttles(self, request: Request) -> None:
        """Done already."""
