"""Answers that do nothing but be read, whatever the documents or the asker made the model write.

An answer is shown by somebody else's page. A picture in it is fetched by the reader's browser, and its address may
carry away what was asked; a tag may run as a script; a link may lead anywhere. So in an answer's prose

- raw HTML is text (`<` in front of what could be a tag becomes `&lt;`),
- pictures are text, without their address,
- links lead where the sources lead, by http, https or mailto, or are text without an address,
- addresses are not defined elsewhere (`[name]: address`).

Each rule looks at a few characters and none that come later, so that the beginning of an answer stays as it was shown.
What stands in code is code, and stays as it is, if a reader of CommonMark agrees that it is code: which is asked.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from query.agent.markup import drop_definitions, map_prose, split_code
from query.agent.protocols import Source

_TAG_START = re.compile(r"<(?=[A-Za-z/!?])")
_LINK_TARGET = re.compile(r"\]\((?:(?P<address>[^()\s<>]{1,2000})\))?")
_DEFINITION = re.compile(r"(?P<numbered>(?<=\w)[^\n\[\]]{0,200}\[\^?\d{1,4})?\]:")
_RISKY = re.compile(r"<[A-Za-z/!?]|!\[|\]\(|\]:")
_SCHEME = re.compile(r"[^/?#:]*:")
_SAFE_SCHEMES = frozenset(("http:", "https:", "mailto:"))
_COMMONMARK = MarkdownIt("commonmark")

IsKnown = Callable[[str], bool]


def links_of(sources: Iterable[Source]) -> IsKnown:
    """Whether an address is one that the sources hold, and one that a reader may follow."""
    texts = [passage.content for source in sources for passage in source.passages]
    held = "\n".join([*texts, *(source.source_url for source in sources)])
    return lambda address: address in held and _is_safe(address)


def make_inert(text: str, is_known: IsKnown) -> str:
    """Return Markdown that reads like `text` and does nothing. `is_known` tells which addresses links may have."""

    def change(prose: str) -> str:
        prose = _TAG_START.sub("&lt;", drop_definitions(prose)).replace("![", "!\\[")
        prose = _DEFINITION.sub(lambda found: found[0] if found["numbered"] else "]\\:", prose)
        return _LINK_TARGET.sub(lambda found: _keep_known(found, is_known), prose)

    changed = map_prose(text, change)
    has_doubtful_code = any(is_code and _RISKY.search(part) for is_code, part in split_code(changed))
    return change(text) if has_doubtful_code and not _is_inert(changed, is_known) else changed


def _keep_known(found: re.Match[str], is_known: IsKnown) -> str:
    if found["address"] is None:  # with a title, or brackets: nobody needs these
        return "]\\("
    return found[0] if is_known(found["address"]) else "]"


def _is_safe(address: str) -> bool:
    scheme = _SCHEME.match("".join(html.unescape(address).split()))
    return scheme is None or scheme[0].lower() in _SAFE_SCHEMES


def _is_inert(text: str, is_known: IsKnown) -> bool:
    """Whether a reader of CommonMark finds no tag, no picture and no unknown link in it."""
    return all(
        token.type not in ("html_block", "html_inline", "image")
        and (token.type != "link_open" or _is_known_to_reader(str(token.attrGet("href")), is_known))
        for token in _walk(_COMMONMARK.parse(text))
    )


def _is_known_to_reader(address: str, is_known: IsKnown) -> bool:
    return is_known(address) or is_known(unquote(address))


def _walk(tokens: Iterable[Token]) -> Iterable[Token]:
    for token in tokens:
        yield token
        yield from _walk(token.children or ())
