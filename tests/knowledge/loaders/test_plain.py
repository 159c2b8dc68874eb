"""What the plain text loader keeps."""

from __future__ import annotations

import pytest

from knowledge.errors import DocumentUnreadable
from knowledge.loaders import LOADERS, Block, PlainTextLoader


def test_blank_lines_part_paragraphs():
    assert PlainTextLoader().load("# one\r\ntwo\r\n \r\n\r\nthree\n") == [
        Block("text", "# one\ntwo"),
        Block("text", "three"),
    ]


def test_a_file_without_text_is_refused():
    with pytest.raises(DocumentUnreadable, match="no text"):
        PlainTextLoader().load(" \n\n\t")


def test_a_line_of_two_million_characters_is_one_block():
    assert len(PlainTextLoader().load("a" * 2_000_000)) == 1


def test_there_is_a_loader_for_each_served_content_type():
    assert set(LOADERS) == {"application/pdf", "text/markdown", "text/html", "text/plain", "text/x-rst"}
