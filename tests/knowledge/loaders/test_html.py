"""What the HTML loader keeps, and what it makes of hostile input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge.errors import DocumentUnreadable
from knowledge.loaders import Block, HtmlLoader

loader = HtmlLoader()


def test_headings_paragraphs_and_code_become_blocks():
    page = """<html><head><title>T</title><style>p{}</style></head><body><nav><a>Home</a></nav>
    <h1>Install <code>parley</code></h1><p>First   <b>this</b>,<br>then <code>make&nbsp;run</code>.</p>
    <pre><code class="language-sh">make run
# ready</code></pre><script>var x = "<p>no</p>";</script><template><p>no</p></template></body></html>"""
    assert loader.load(page) == [
        Block("heading", "Install parley", 1),
        Block("text", "First this,\nthen `make\u00a0run`."),
        Block("code", "make run\n# ready", language="sh"),
    ]


def test_lists_and_tables_become_lines():
    page = "<ul><li>one</li><li><p>two</p><ol><li>deep</li></ol></li></ul>"
    page += "<table><tr><th>a<th>b</tr><tr><td>1</td><td>2</td></tr></table>"
    assert loader.load(page) == [Block("text", "- one\n- two\n  1. deep"), Block("text", "a | b\n1 | 2")]


def test_nested_navigation_ends_where_the_outer_one_ends():
    assert loader.load("<nav><nav>a</nav>b</nav><p>c</p>") == [Block("text", "c")]


def test_entities_are_read_and_comments_are_not():
    assert loader.load("<p>a &lt; b &amp; c<!-- no --></p>") == [Block("text", "a < b & c")]


@pytest.mark.parametrize("page", ["", "<p> </p>", "<script>x()</script>", "<!-- a", "<nav>everything"])
def test_a_page_without_text_is_refused(page: str):
    with pytest.raises(DocumentUnreadable, match="no text"):
        loader.load(page)


@pytest.mark.parametrize(
    "page",
    [
        "x" * 2_000_000,
        "<div>" * 80_000 + "x" + "</div>" * 80_000,
        "x" + "<!--" * 500_000,
        "x" + "<a b='" * 300_000,
        "x" + "<ul><li>" * 50_000,
        "<pre>" * 100_000 + "x",
        "<h1>h</h1>" * 40_000,
        "<table><tr><td>x" * 50_000,
        "x" + "</" * 500_000 + "<![CDATA[" * 50_000,
    ],
    ids=["one line", "deep", "comments", "attributes", "lists", "pre", "headings", "tables", "broken tags"],
)
def test_hostile_input_is_read_to_its_end(page: str):
    assert any("x" in block.text or "h" in block.text for block in loader.load(page))


@given(st.text(alphabet="<>/!-ab pre='\"\n&;", max_size=300))
def test_any_text_is_read_or_refused_as_empty(page: str):
    try:
        blocks = loader.load(page)
    except DocumentUnreadable:
        return
    assert all(block.text.strip() for block in blocks)
