"""What every embedder does to a text before it leaves Python."""

from __future__ import annotations


def replace_lone_surrogates(text: str) -> str:
    """Return the text with each lone surrogate as `?`.

    JSON can carry half a surrogate pair, which is no character: neither UTF-8 nor a tokenizer takes it.
    """
    return text.encode("utf-8", errors="replace").decode("utf-8")
