"""PDF files, and their text as blocks."""

from __future__ import annotations

import pytest

from knowledge.errors import DocumentUnreadable
from knowledge.loaders import PdfLoader
from knowledge.loaders.pdf import ENCRYPTED, NO_PDF, NO_TEXT, extract_text
from tests.knowledge import pdfs

ENOUGH = 1_000_000


def extract(data: bytes, max_bytes: int = ENOUGH) -> str:
    return extract_text(data, max_bytes=max_bytes)


def test_every_page_is_a_section_named_by_its_number():
    text = extract(pdfs.pdf_of("The first word.\nAnd another.", "", "The last word."))
    blocks = PdfLoader().load(text)
    assert [(block.kind, block.text) for block in blocks] == [
        ("heading", "Page 1"),
        ("text", "The first word.\nAnd another."),
        ("heading", "Page 3"),
        ("text", "The last word."),
    ]


def test_words_that_a_line_end_cut_are_whole_again():
    assert extract(pdfs.pdf_of("an exam-\nple, and E-\nMail")) == "an example, and E-\nMail"


def test_what_a_page_says_is_never_markup_of_ours():
    text = extract(pdfs.pdf_of("# no heading\n```\n<b>no tag</b>"))
    assert [block.kind for block in PdfLoader().load(text)] == ["heading", "text"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pdfs.scanned(), NO_TEXT),
        (pdfs.pdf_of("", " "), NO_TEXT),
        (pdfs.encrypted("password"), ENCRYPTED),
        (pdfs.pdf_of("The word.")[:300], NO_PDF),
        (b"%PDF-1.7\n" + bytes(range(256)) * 20, NO_PDF),
        (b"%PDF-1.7\n", NO_PDF),
        (b"", NO_PDF),
        (pdfs.endless_page_tree(), NO_PDF),
    ],
    ids=["scanned", "blank", "encrypted", "truncated", "garbage", "header alone", "empty", "endless page tree"],
)
def test_what_cannot_be_read_is_refused_in_words_for_its_owner(data: bytes, message: str):
    with pytest.raises(DocumentUnreadable) as refusal:
        extract(data)
    assert str(refusal.value) == message


def test_one_that_is_encrypted_without_a_password_is_read():
    assert extract(pdfs.encrypted("")) == "The secret word."


def test_a_page_that_cannot_be_read_leaves_the_others():
    broken = b"BT /F1 12 Tf [" + b"[" * 5_000
    good = b"BT /F1 12 Tf (The word.) Tj ET"
    assert extract(pdfs.pdf_of_streams([broken, good])).strip() == "The word."
    with pytest.raises(DocumentUnreadable):
        extract(pdfs.pdf_of_streams([broken]))


def test_the_text_is_bounded():
    data = pdfs.pdf_of(*["x" * 90] * 12)
    assert len(extract(data)) == 12 * 90 + 11
    with pytest.raises(DocumentUnreadable, match="1000 bytes"):
        extract(data, max_bytes=1_000)


def test_a_stored_text_without_any_letter_is_refused():
    with pytest.raises(DocumentUnreadable):
        PdfLoader().load("\f \n\f")
