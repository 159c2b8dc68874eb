"""Ids in paths."""

from __future__ import annotations

from django.urls.converters import UUIDConverter, register_converter


class IdConverter(UUIDConverter):
    """A UUID in either case: as input it is case-insensitive (RFC 9562, section 4)."""

    regex = f"(?i:{UUIDConverter.regex})"


def register_converters() -> None:
    """Let every room's paths say `<id:name>`."""
    register_converter(IdConverter, "id")
