"""Titles of categories: what one must look like, and when two are the same."""

from __future__ import annotations

import unicodedata

from django.core.exceptions import ValidationError

MAX_TITLE_LENGTH = 100
# They turn around what stands after them on a page, in Unicode's words: embeddings, overrides and isolates.
TURNS_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def fold_title(title: str) -> str:
    """What titles are compared by: without regard to case or surrounding space."""
    return unicodedata.normalize("NFC", title.strip().casefold())


def validate_title(title: str) -> None:
    """Raises Django's ValidationError for one that nobody could read, or that spoils the line it stands in."""
    kinds = [unicodedata.category(character) for character in title]
    if all(kind[0] in "CZ" for kind in kinds):
        raise ValidationError("A title must have a visible character.", code="invisible")
    if any(kind in ("Cc", "Zl", "Zp") for kind in kinds) or TURNS_DIRECTION.intersection(title):
        raise ValidationError("A title must not have line breaks or control characters.", code="control")
