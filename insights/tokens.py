"""The secret part of the links in a mail: a signed id that tells nothing, and holds as long as its row is there.

Old mails lie in mailboxes for years, and their links must still unsubscribe, so a token does not expire. Who changes
SECRET_KEY keeps the old one in SECRET_KEY_FALLBACKS, or the links of mails sent before are dead.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

from django.core.signing import BadSignature, Signer

from insights.errors import LinkNotValid

_ID_LENGTH = 22  # of 16 bytes in base64, without its padding


def make_token(preference_id: UUID) -> str:
    return _signer().sign(urlsafe_b64encode(preference_id.bytes)[:_ID_LENGTH].decode())


def read_token(token: str) -> UUID:
    """Raises LinkNotValid."""
    try:
        return UUID(bytes=urlsafe_b64decode(_signer().unsign(token) + "=="))
    except (BadSignature, ValueError) as error:
        raise LinkNotValid("This link is not valid.") from error


def _signer() -> Signer:
    return Signer(salt="insights.report_preference", sep=".")
