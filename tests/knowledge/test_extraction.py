"""Files are read in a process of its own, which has bounds."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from knowledge import extraction
from knowledge.errors import DocumentUnreadable
from knowledge.extraction import ExtractionInterrupted, PdfExtractor
from knowledge.loaders.pdf import NO_TEXT, TOO_COMPLEX
from tests.knowledge import pdfs

MIB = 1 << 20


def make(**options: float) -> PdfExtractor:
    return PdfExtractor(**{"max_text_bytes": MIB, **options})


def cut(data: bytes) -> list[bytes]:
    return [data[start : start + 1000] for start in range(0, len(data), 1000)]


def test_the_text_comes_back():
    assert make().extract(cut(pdfs.pdf_of("Die Straße.", "x"))) == "Die Straße.\fx"


def test_so_does_the_reason_why_there_is_none():
    with pytest.raises(DocumentUnreadable, match="pictures") as refusal:
        make().extract(cut(pdfs.scanned()))
    assert str(refusal.value) == NO_TEXT


@pytest.mark.parametrize(
    "make_file",
    [pdfs.bomb, lambda: pdfs.bomb(layers=2), pdfs.bomb_in_object_stream, pdfs.nested_arrays, pdfs.recursive_form],
    ids=["bomb", "bomb in a bomb", "bomb of references", "nested arrays", "recursive form"],
)
def test_a_hostile_file_is_unreadable(make_file: Callable[[], bytes]):
    with pytest.raises(DocumentUnreadable):
        make().extract(cut(make_file()))


def test_more_memory_than_is_allowed_is_not_had():
    with pytest.raises(DocumentUnreadable) as refusal:
        make(max_memory_bytes=140 * MIB).extract(cut(pdfs.bomb(70 * MIB)))
    assert str(refusal.value) == TOO_COMPLEX


def test_more_computing_than_is_allowed_is_not_done():
    with pytest.raises(DocumentUnreadable, match="1 s of computing"):
        make(max_computing_s=1).extract(cut(pdfs.many_pages(50_000)))


def test_a_process_that_does_not_get_its_turn_may_be_asked_again():
    with pytest.raises(ExtractionInterrupted):
        make(max_wait_s=0.2).extract(cut(pdfs.many_pages(50_000)))


def test_it_knows_no_setting_of_the_service(monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", "secret")
    seen = tmp_path / "environment"
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\n/usr/bin/env > {seen}\nexit 3\n")
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(ExtractionInterrupted):
        make().extract([b"x"] * 100_000)
    assert "secret" not in seen.read_text()
    assert "DATABASE_URL" in os.environ


def test_no_child_is_left():
    before = children()
    with pytest.raises(ExtractionInterrupted):
        make(max_wait_s=0.2).extract(cut(pdfs.many_pages(50_000)))
    assert children() == before


def children() -> list[str]:
    return [
        child for thread in Path("/proc/self/task").iterdir() for child in (thread / "children").read_text().split()
    ]


def test_its_bounds_are_below_the_limit_of_a_task(settings):
    assert extraction.MAX_WAIT_S < settings.CELERY_TASK_SOFT_TIME_LIMIT
