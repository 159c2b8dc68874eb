"""JSON as the API answers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework.renderers import JSONRenderer


class FastJSONRenderer(JSONRenderer):
    """What DRF's renderer writes, by orjson, which knows ids and times too: those may stay what they are."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        """UTF-8; nothing for None, as of an answer without a body."""
        if data is None:
            return b""
        try:
            return orjson.dumps(data, default=self.encoder_class().default, option=orjson.OPT_UTC_Z)
        except orjson.JSONEncodeError:  # a number of more than 64 bits, which a document's metadata may hold
            return super().render(data, accepted_media_type, renderer_context)
