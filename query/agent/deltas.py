"""The parts of an answer that may be shown while the model still writes it."""

from __future__ import annotations

import re
from collections.abc import Callable

from query.agent.markup import drop_definitions
from query.agent.protocols import REFUSAL_MARKER

# Whether text ends in the middle of what may yet become a citation, or the link that follows one.
_OPEN = re.compile(r"(?:[\[\u3010]\^?(?:\d[\d\s,;^]*(?:\u2020[^\u3011\]\n]{0,80})?)?|[\]\u3011]\([^()\n]{0,300})$")
# A line of which a part alone may be read otherwise than the whole: code, a fence, a definition of a citation.
_WHOLE_LINE_ONLY = re.compile(r"[`~]|^[ >]*(?:\[|$)")
# How much must be new to look at the whole again: a hundredth of it, so that a long answer costs no more a word.
_LEAST_NEW_CHARACTERS = 12
_LEAST_NEW_SHARE = 0.01


class DeltaWriter:
    """Turns what a model writes, piece by piece, into text that can be shown at once.

    What was shown, joined, is the beginning of the answer that `clean` makes of the whole, whatever comes later: a
    piece waits until its citations can be read. Nothing is shown before the first citation that resolves, as without
    one there is no answer, nor after the model refused, nor after what seemed to be code turned out to be none.

    `clean` returns the text of an answer and the numbers that it cites.
    """

    def __init__(self, clean: Callable[[str], tuple[str, set[int]]]) -> None:
        self._clean = clean
        self._written = ""
        self._shown = ""
        self._looked_at = 0

    def feed(self, piece: str) -> str:
        """Take what the model wrote next; return what may be shown now, often nothing."""
        self._written += piece
        least = self._looked_at + max(_LEAST_NEW_CHARACTERS, int(_LEAST_NEW_SHARE * self._looked_at))
        if len(self._written) < least or REFUSAL_MARKER in self._written:
            return ""
        end = _find_settled_end(self._written)
        if end < least:
            return ""
        self._looked_at = end
        text, cited = self._clean(self._written[:end])
        return self._show(text) if cited else ""

    def finish(self, answer: str) -> str:
        """What of the whole answer was not shown yet; nothing when it is another one than what was shown."""
        return self._show(answer)

    @property
    def written(self) -> str:
        """All that the model wrote."""
        return self._written

    def _show(self, text: str) -> str:
        if not text.startswith(self._shown):
            return ""
        new = text[len(self._shown) :]
        self._shown = text
        return new


def _find_settled_end(text: str) -> int:
    """The length of the beginning that reads the same whatever follows: up to a line's end, or a word's within one."""
    line_start = text.rfind("\n") + 1
    line = text[line_start:]
    end = line_start + line.rfind(" ") + 1
    if end > line_start and not _WHOLE_LINE_ONLY.search(line) and not _is_open(text[:end]):
        return end
    while line_start and _is_open(text[:line_start]):
        line_start = text.rfind("\n", 0, line_start - 1) + 1
    return line_start


def _is_open(text: str) -> bool:
    return bool(_OPEN.search(drop_definitions(text)))
