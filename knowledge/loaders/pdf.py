"""PDF: first its text, taken out of the file once; then, from that text, blocks with a heading for each page.

The text is what is stored, so that indexing anew reads no file again. Files are written by anybody: `extract_text`
belongs into a process of its own, with limits (knowledge.extraction).
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator

from pypdf import PageObject, PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError, LimitReachedError, PyPdfError

from knowledge.errors import DocumentUnreadable
from knowledge.loaders.plain import PlainTextLoader
from knowledge.loaders.protocol import Block

logger = logging.getLogger(__name__)

MAGIC = b"%PDF-"
MAGIC_SEARCH_BYTES = 1024  # as readers do: some files begin with what a mail or a printer put there
PAGE_END = "\f"

NO_PDF = "The file is no PDF, or is damaged."
ENCRYPTED = "The PDF is encrypted. Remove its password and its protection, and send it again."
NO_TEXT = "The PDF has no text: its pages are pictures, scanned perhaps. Send it with its text recognised (OCR)."
TOO_COMPLEX = "The PDF is too complex to be read: it asks for more memory or more steps than are allowed."
TOO_MUCH_TEXT = "The PDF has more text than a document may have ({limit} bytes). Send it in parts."

_HYPHENATED = re.compile(r"(?<=[^\W\d_A-Z])-\n(?=[^\W\d_A-Z])")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class PdfLoader:
    """Reads the text of an application/pdf as `extract_text` gives it: each page is a section, named by its number."""

    def load(self, content: str) -> list[Block]:
        """Return a heading and paragraphs for each page that has text. Raises DocumentUnreadable when none has."""
        blocks: list[Block] = []
        for number, page in enumerate(content.split(PAGE_END), start=1):
            if page.strip():
                blocks += [Block("heading", f"Page {number}", 1), *PlainTextLoader().load(page)]
        if not blocks:
            raise DocumentUnreadable(NO_TEXT)
        return blocks


def looks_like_pdf(beginning: bytes) -> bool:
    """Whether a file that begins so says that it is a PDF."""
    return MAGIC in beginning[:MAGIC_SEARCH_BYTES]


def extract_text(data: bytes, *, max_bytes: int) -> str:
    """Return the pages' text, PAGE_END between two pages; as UTF-8 it has at most `max_bytes`.

    A page that cannot be read is passed over, if another can. Raises DocumentUnreadable in words for the file's owner.
    """
    try:
        text = _join_pages(PdfReader(io.BytesIO(data)), max_bytes)
    except DocumentUnreadable:
        raise
    except (DependencyError, FileNotDecryptedError) as exc:
        raise DocumentUnreadable(ENCRYPTED) from exc
    except (LimitReachedError, MemoryError, RecursionError) as exc:
        raise DocumentUnreadable(TOO_COMPLEX) from exc
    except Exception as exc:
        raise DocumentUnreadable(NO_PDF) from exc
    if not text.strip():
        raise DocumentUnreadable(NO_TEXT)
    return text


def _join_pages(reader: PdfReader, max_bytes: int) -> str:
    if reader.is_encrypted and not reader.decrypt(""):  # many are, with no password: against being changed
        raise DocumentUnreadable(ENCRYPTED)
    pages: list[str] = []
    size = 0
    for text in _read_pages(reader):
        size += len(text.encode()) + len(PAGE_END)
        if size > max_bytes:
            raise DocumentUnreadable(TOO_MUCH_TEXT.format(limit=max_bytes))
        pages.append(text)
    return PAGE_END.join(pages)


def _read_pages(reader: PdfReader) -> Iterator[str]:
    """Yield each page's text. Raises what the first unreadable page raised when no page has any text."""
    first_fault: Exception | None = None
    has_text = False
    for page in reader.pages:
        try:
            text = _read_page(page)
        except (PyPdfError, MemoryError, RecursionError, ValueError, TypeError, LookupError, AttributeError) as exc:
            first_fault = first_fault or exc
            text = ""
        has_text = has_text or bool(text.strip())
        yield text
    if first_fault is not None and not has_text:
        raise first_fault


def _read_page(page: PageObject) -> str:
    text = _UNSTORABLE.sub("", page.extract_text()).replace(PAGE_END, "\n")
    return _HYPHENATED.sub("", text).strip("\n")
