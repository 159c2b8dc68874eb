"""Which bytes are text, and in what words the others are refused."""

from __future__ import annotations

import codecs

import pytest

from knowledge.decoding import check_text, decode
from knowledge.errors import DocumentUnreadable


@pytest.mark.parametrize(
    "data",
    [
        "Zürich".encode(),
        codecs.BOM_UTF8 + "Zürich".encode(),
        "Zürich".encode("utf-16"),
        codecs.BOM_UTF32_LE + "Zürich".encode("utf-32-le"),
    ],
)
def test_a_byte_order_mark_or_else_utf8_decides(data: bytes):
    assert decode(data, "text/plain") == "Zürich"


@pytest.mark.parametrize("label", ["iso-8859-1", "windows-1252", "latin1", "ISO-8859-15"])
def test_a_page_is_read_in_the_encoding_that_it_declares(label: str):
    page = f'<html><head><meta charset="{label}"></head><p>Zürich</p>'
    assert decode(page.encode(label), "text/html") == page


def test_an_older_declaration_is_read_too():
    page = '<meta http-equiv="Content-Type" content="text/html; charset=shift_jis"><p>日本</p>'
    assert decode(page.encode("shift_jis"), "text/html") == page


def test_only_pages_declare_their_encoding():
    with pytest.raises(DocumentUnreadable, match="UTF-8"):
        decode('<meta charset="latin1">ü'.encode("latin1"), "text/markdown")


@pytest.mark.parametrize("label", ["punycode", "idna", "utf-7", "unicode_escape", "zlib", "hex", "klingon"])
def test_encodings_that_are_none_of_the_web_are_refused(label: str):
    with pytest.raises(DocumentUnreadable, match="encoding"):
        decode(f'<meta charset="{label}">x'.encode(), "text/html")


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "text/markdown"),
        ("Zürich".encode("latin1"), "text/plain"),
        ('<meta charset="utf-8">Zürich'.encode("latin1"), "text/html"),
        (codecs.BOM_UTF16_LE + b"a", "text/plain"),
    ],
    ids=["binary", "latin-1", "page that lies", "half a unit"],
)
def test_what_is_no_text_is_refused_clearly(data: bytes, content_type: str):
    with pytest.raises(DocumentUnreadable, match=r"not (text|valid)"):
        decode(data, content_type)


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_characters_that_no_text_has_are_refused(text: str):
    with pytest.raises(DocumentUnreadable):
        check_text(text)
