"""Bytes to text, strictly: what is not what it claims to be is refused in words that its owner understands."""

from __future__ import annotations

import codecs
import re

from knowledge.errors import DocumentUnreadable

# The UTF-32 mark begins with the UTF-16 one, so it is tried first.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Where a browser looks for the declaration (HTML Standard, "prescan a byte stream to determine its encoding").
_META_SEARCH_BYTES = 1024
_META_CHARSET = re.compile(
    rb"<meta[^>]{0,300}?charset\s{0,10}=\s{0,10}[\"']?\s{0,10}([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE
)

# The encodings of the web. A page must not choose any other that Python knows: some are quadratic, some encode no text.
_WEB_ENCODINGS = frozenset(
    [
        "ascii", "big5", "big5hkscs", "cp866", "cp874", "cp932", "cp949", "euc_jp", "euc_kr", "gb18030", "gb2312",
        "gbk", "iso2022_jp", "koi8-r", "koi8-u", "mac-roman", "shift_jis", "tis-620", "utf-8",
        *(f"cp{number}" for number in range(1250, 1259)),
        *(f"iso8859-{number}" for number in range(1, 17)),
    ]
)  # fmt: skip
# Who says latin-1 means windows-1252, and a page whose declaration reads as ASCII is not UTF-16 (HTML Standard).
_MEANT_ENCODINGS = {
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
    "utf-16": "utf-8",
    "utf-16-le": "utf-8",
    "utf-16-be": "utf-8",
}


def decode(data: bytes, content_type: str) -> str:
    """Return the text of a document by its byte order mark, its HTML declaration, or else as UTF-8.

    Raises DocumentUnreadable when the bytes are no text of that encoding.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return check_text(_decode_strictly(data[len(mark) :], encoding))
    if b"\0" in data:
        raise DocumentUnreadable("The document is not text: it contains NUL bytes, as binary files do.")
    declared = _find_declared_encoding(data) if content_type == "text/html" else None
    return check_text(_decode_strictly(data, declared or "utf-8"))


def check_text(text: str) -> str:
    """Return `text` unchanged; raise DocumentUnreadable when it holds what no text has (NUL, half a surrogate pair)."""
    if "\0" in text:
        raise DocumentUnreadable("The document is not text: it contains NUL characters, as binary files do.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise DocumentUnreadable(f"The document is not valid Unicode text (character {exc.start}).") from exc
    return text


def _decode_strictly(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as exc:
        raise DocumentUnreadable(
            f"The document is not valid {encoding.upper()} text (byte {exc.start}). Save it as UTF-8 and send it again."
        ) from exc


def _find_declared_encoding(data: bytes) -> str | None:
    declared = _META_CHARSET.search(data[:_META_SEARCH_BYTES])
    if declared is None:
        return None
    label = declared.group(1).decode("ascii")
    try:
        name = codecs.lookup(label).name
    except LookupError as exc:
        raise DocumentUnreadable(f"The page declares an unknown encoding, {label!r}.") from exc
    name = _MEANT_ENCODINGS.get(name, name)
    if name not in _WEB_ENCODINGS:
        raise DocumentUnreadable(f"The page declares an encoding that is not supported, {label!r}.")
    return name
