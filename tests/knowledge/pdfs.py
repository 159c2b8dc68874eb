"""PDF files as tests need them, well-behaved and hostile: written by hand, so that nothing of them is cleaned up."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

from pypdf import PdfReader, PdfWriter

FONT = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
_PAGE = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 5 0 R /Resources"
PAGE = f"{_PAGE} << /Font << /F1 3 0 R >> >> >>"
PAGE_OF_A_FORM = f"{_PAGE} << /XObject << /X 6 0 R >> >> >>"
FORM = "/Type /XObject /Subtype /Form /BBox [0 0 9 9]"
MIB = 1 << 20


def write_pdf(objects: Sequence[str | bytes], *, version: str = "1.7") -> bytes:
    """A file of these objects, the first of which is the catalogue. Objects are numbered from 1."""
    out = io.BytesIO()
    out.write(f"%PDF-{version}\n%\xe2\xe3\xcf\xd3\n".encode("latin-1"))
    places = []
    for number, each in enumerate(objects, start=1):
        places.append(out.tell())
        body = each if isinstance(each, bytes) else each.encode("latin-1")
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    for place in places:
        out.write(b"%010d 00000 n \n" % place)
    out.write(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    return out.getvalue()


def stream(data: bytes, entries: str = "") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), entries.encode(), data)


def pdf_of(*pages: str | Sequence[str], compressed: bool = True) -> bytes:
    """A document of a page for each text, whose lines stand below each other."""
    return pdf_of_streams([_show(page.split("\n") if isinstance(page, str) else page) for page in pages], compressed)


def pdf_of_streams(contents: Sequence[bytes], compressed: bool = True) -> bytes:
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(contents)))
    objects: list[str | bytes] = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(contents)} >>",
        FONT,
    ]
    for number, content in enumerate(contents):
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * number} 0 R >>"
        )
        objects.append(stream(zlib.compress(content), "/Filter /FlateDecode") if compressed else stream(content))
    return write_pdf(objects)


def _show(lines: Sequence[str]) -> bytes:
    shown = "\n".join(f"({_escape(line)}) Tj T*" for line in lines)
    return f"BT /F1 12 Tf 14 TL 72 770 Td\n{shown}\nET".encode("latin-1")


def _escape(line: str) -> str:
    return line.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def linked_to(address: str) -> bytes:
    """A page that leads to an address, runs a script, and whose text is said to lie in a file at that address."""
    return write_pdf(
        [
            f"<< /Type /Catalog /Pages 2 0 R /OpenAction << /S /URI /URI ({address}) >> "
            f"/Names << /JavaScript << /Names [(a) << /S /JavaScript /JS (app.launchURL\\('{address}'\\)) >>] >> >> >>",
            "<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
            FONT,
            PAGE[:-2]
            + f"/Annots [<< /Type /Annot /Subtype /Link /Rect [0 0 9 9] /A << /S /URI /URI ({address}) >> >>] >>",
            stream(_show(["The word."]), f"/F << /FS /URL /F ({address}) >> /FFilter /FlateDecode"),
        ]
    )


def scanned() -> bytes:
    """A picture of a page, and not a letter."""
    return pdf_of_streams([b"q 595 0 0 842 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x00 EI Q"])


def encrypted(password: str, text: str = "The secret word.") -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf_of(text))))
    writer.encrypt(user_password=password, owner_password="owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def deflate_blanks(size_bytes: int, layers: int = 1) -> bytes:
    """A few bytes that inflate to `size_bytes` of blanks; with `layers`, compressed again and again."""
    squeeze = zlib.compressobj(9)
    head = squeeze.compress(b"") + squeeze.flush(zlib.Z_FULL_FLUSH)
    block = squeeze.compress(b" " * MIB) + squeeze.flush(zlib.Z_FULL_FLUSH)  # the same again for every mebibyte
    data = head + block * (size_bytes // MIB) + zlib.compress(b"")[2:]
    for _ in range(layers - 1):
        data = zlib.compress(data, 9)
    return data


def bomb(size_bytes: int = 1 << 30, layers: int = 1) -> bytes:
    """A page whose content inflates to `size_bytes`."""
    filters = "[" + " ".join(["/FlateDecode"] * layers) + "]"
    return _one_page(stream(deflate_blanks(size_bytes, layers), f"/Filter {filters}"))


def bomb_of_many(pages: int = 200, each_bytes: int = 70 << 20) -> bytes:
    """Pages that share a stream, each inflation of which alone would be allowed."""
    kids = " ".join("4 0 R" for _ in range(pages))
    return write_pdf(
        [
            "<< /Type /Catalog /Pages 2 0 R >>",
            f"<< /Type /Pages /Kids [{kids}] /Count {pages} >>",
            FONT,
            PAGE,
            stream(deflate_blanks(each_bytes), "/Filter /FlateDecode"),
        ]
    )


def bomb_in_object_stream(size_bytes: int = 1 << 30) -> bytes:
    """A cross-reference stream that inflates to `size_bytes`: met before any page."""
    data = deflate_blanks(size_bytes)
    head = b"%PDF-1.7\n"
    body = b"1 0 obj\n" + stream(
        data, f"/Type /XRef /Size {size_bytes // 4} /W [1 2 1] /Root 1 0 R /Filter /FlateDecode"
    )
    return head + body + b"\nendobj\nstartxref\n%d\n%%%%EOF\n" % len(head)


def many_pages(count: int) -> bytes:
    """`count` pages in the tree, all of them the same object."""
    kids = " ".join("4 0 R" for _ in range(count))
    return write_pdf(
        [
            "<< /Type /Catalog /Pages 2 0 R >>",
            f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
            FONT,
            PAGE,
            stream(_show(["The word."])),
        ]
    )


def endless_page_tree() -> bytes:
    """A node of the page tree that is its own child."""
    return write_pdf(["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 2 >>"])


def recursive_form() -> bytes:
    """A form that draws itself twice."""
    return write_pdf(
        [
            "<< /Type /Catalog /Pages 2 0 R >>",
            "<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
            FONT,
            PAGE_OF_A_FORM,
            stream(b"/X Do /X Do"),
            stream(
                b"/X Do /X Do", "/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 6 0 R >> >>"
            ),
        ]
    )


def nested_forms(depth: int = 30) -> bytes:
    """Forms of which each draws the next one twice: two to the power of `depth` drawings."""
    objects: list[str | bytes] = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
        FONT,
        PAGE_OF_A_FORM,
        stream(b"/X Do /X Do"),
    ]
    for number in range(depth):
        objects.append(stream(b"/X Do /X Do", f"{FORM} /Resources << /XObject << /X {7 + number} 0 R >> >>"))
    objects.append(stream(b"BT (x) Tj ET", FORM))
    return write_pdf(objects)


def nested_arrays(depth: int = 100_000) -> bytes:
    """A content stream of brackets in brackets."""
    return pdf_of_streams([b"[" * depth + b"]" * depth + b" TJ"])


def slow_content(operators: int = 1_500_000) -> bytes:
    """Text operators without end, well compressed."""
    return pdf_of_streams([b"BT /F1 12 Tf\n" + b"(a) Tj 1 0 Td\n" * operators + b"ET"])


def _one_page(contents: bytes) -> bytes:
    return write_pdf(
        [
            "<< /Type /Catalog /Pages 2 0 R >>",
            "<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
            FONT,
            PAGE,
            contents,
        ]
    )
