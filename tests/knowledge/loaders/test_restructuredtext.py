"""What the reStructuredText loader keeps, and what it makes of hostile input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge.errors import DocumentUnreadable
from knowledge.loaders import Block, ReStructuredTextLoader

loader = ReStructuredTextLoader()


def test_overlines_and_underlines_become_headings_by_order_of_appearance():
    blocks = loader.load("=====\n Top\n=====\n\nSection\n=======\n\nSub ``x``\n---------\n\nSection 2\n=========\n")
    assert [(block.text, block.level) for block in blocks] == [
        ("Top", 1),
        ("Section", 2),
        ("Sub x", 3),
        ("Section 2", 2),
    ]


def test_literal_blocks_and_code_directives_become_code():
    source = "Run this::\n\n    $ make run\n\n      # indented\n\n"
    source += ".. code-block:: python\n    :linenos:\n\n    x = 1\n\nAfter.\n"
    assert loader.load(source) == [
        Block("text", "Run this:"),
        Block("code", "$ make run\n\n  # indented"),
        Block("code", "x = 1", language="python"),
        Block("text", "After."),
    ]


def test_the_text_of_notes_is_kept_with_the_code_inside():
    source = ".. note::\n\n    Mind the gap.\n\n    .. code-block:: sh\n\n        ls\n\n.. warning:: Hot.\n"
    assert loader.load(source) == [
        Block("text", "Note:\nMind the gap."),
        Block("code", "ls", language="sh"),
        Block("text", "Warning: Hot."),
    ]


def test_what_is_no_text_is_dropped():
    source = ".. _target:\n\n.. toctree::\n    :maxdepth: 2\n\n    a\n    b\n\n.. raw:: html\n\n    <b>no</b>\n\n"
    source += ".. a comment\n   of two lines\n\nText.\n\n.. image:: x.png\n"
    assert loader.load(source) == [Block("text", "Text.")]


def test_roles_and_references_are_reduced_to_what_a_reader_sees():
    source = "See :ref:`the guide <guide>`, :class:`~celery.app.task.Task`, :setting:`task_acks_late`, ``code``,"
    source += " `site <https://e.org>`_, `named`_ and name_ [1]_.\n"
    assert loader.load(source) == [
        Block("text", "See the guide, `Task`, `task_acks_late`, `code`, [site](https://e.org), named and name.")
    ]


def test_the_description_of_an_object_keeps_its_name():
    source = ".. attribute:: Task.max_retries\n\n    The maximum.\n\n.. setting:: bare\n\nNext\n====\n"
    assert loader.load(source) == [
        Block("text", "**Task.max_retries**"),
        Block("text", "The maximum."),
        Block("heading", "Next", 1),
    ]


def test_list_items_and_tables_stay_lines():
    source = "#. one\n#. two\n\n=====  =====\nA      B\n=====  =====\n1      2\n=====  =====\n"
    assert [block.text for block in loader.load(source)] == ["1. one\n1. two", "A      B\n1      2"]


def test_a_doctest_is_code():
    assert loader.load(">>> add(1, 2)\n3\n") == [Block("code", ">>> add(1, 2)\n3", language="pycon")]


@pytest.mark.parametrize("source", ["", ".. toctree::\n\n    a\n", ".. comment\n", "====\n"])
def test_a_document_without_text_is_refused(source: str):
    with pytest.raises(DocumentUnreadable, match="no text"):
        loader.load(source)


@pytest.mark.parametrize(
    "source",
    [
        "a" * 2_000_000,
        "h\n===\n\n" * 100_000,
        "".join("  " * depth + ".. note::\n\n" for depth in range(800)) + "x",
        ":a:`" * 300_000 + "`a <" * 300_000,
        "a::\n\n  b\n\n" * 50_000,
        "====\n" * 100_000 + "x",
    ],
    ids=["one line", "headings", "deep", "roles", "literal blocks", "overlines"],
)
def test_hostile_input_is_read_to_its_end(source: str):
    assert loader.load(source)


@given(st.text(alphabet=".:`=-_ ab|[]<>*\n", max_size=300))
def test_any_text_is_read_or_refused_as_empty(source: str):
    try:
        blocks = loader.load(source)
    except DocumentUnreadable:
        return
    assert all(block.text.strip() for block in blocks)
