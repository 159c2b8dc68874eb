"""The words of a text that carry its meaning, and which of them are names."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache

import snowballstemmer

# Words of grammar, and of the way questions are put: they say how something is asked, not what about.
STOP_WORDS = frozenset(
    """
    a about above after again against all also am an and another any anything are as at away back be because
    been before being below between both but by can cannot could did do does doing don done down during each
    either else etc even ever every everything few for from further get gets getting give given goes going got
    had has have having he help her here hers him his how i if in instead into is isn it its itself just keep
    kind know let like lot make makes making many may maybe me mean means might more most much must my need
    needs never no nor not nothing now of off often on once one ones only or other our out over own particular please
    possible put quite really right same say see several shall she should so some somehow someone something sort
    still such sure take tell than thank thanks that the their them then there these they thing things this
    those though through to together too toward try trying under until up upon us use used uses using very via
    want wanted was way ways we well were what whatever when where whether which while who whom whose why will
    with within without won wont would yes yet you your yours across along among around besides beyond despite except
    inside longer near onto outside per rather since towards unless upon whether able certain different
    difference best better good example explain describe mine show switch turn turned work works working
    """.split()  # noqa: SIM905 - one word a line would be a page
)
_WORD = re.compile(r"[^\W_]+(?:[_.-][^\W_]+)*_?", re.UNICODE)
_PARTS = re.compile(r"[^\W_]+")
# A name ("Dramatiq") says more of what a question is about than a common word ("topology").
_NAME_WEIGHT = 3.0
_WORD_WEIGHT = 1.0
_FIRST_WORD = re.compile(r"\W*(\w+)")
_MAX_WORD_CHARACTERS = 64
_MAX_SCANNED_CHARACTERS = 20_000

_stemmer = snowballstemmer.stemmer("english")
_stemming = threading.Lock()  # the stemmer works on fields of its own


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """Return the stem of a lower-case English word (Snowball's "Porter2")."""
    with _stemming:
        stemmed: str = _stemmer.stemWord(word[:_MAX_WORD_CHARACTERS])
    return stemmed


def content_words(text: str) -> list[str]:
    """Return the words of `text` in order, in their own spelling, without stop words; identifiers stay whole."""
    return [word for word in _WORD.findall(text[:_MAX_SCANNED_CHARACTERS]) if word.lower() not in STOP_WORDS]


def stems_of_word(word: str) -> frozenset[str]:
    """Return the stems of a word's parts: `task_acks_late` has three."""
    parts = (part.lower() for part in _PARTS.findall(word))
    return frozenset(stem(part) for part in parts if part not in STOP_WORDS)


def content_stems(text: str) -> set[str]:
    """Return the stems of all the words of `text` that are no stop words."""
    return {stem(part) for part in _PARTS.findall(text[:_MAX_SCANNED_CHARACTERS].lower()) if part not in STOP_WORDS}


def is_name(word: str, *, is_first: bool) -> bool:
    """Whether a word looks like a name: a capital not due to a sentence's start, a digit, an identifier's form."""
    if not any(character.isalpha() for character in word):
        return False
    has_inner_capital = any(character.isupper() for character in word[1:])
    is_identifier = "_" in word or "." in word or any(character.isdigit() for character in word)
    return has_inner_capital or is_identifier or (word[0].isupper() and not is_first)


def weigh_words(question: str) -> list[tuple[frozenset[str], float]]:
    """Return the stems and the weight of each content word of the question."""
    first = _FIRST_WORD.match(question)
    weighed = []
    for word in dict.fromkeys(content_words(question)):
        is_first = first is not None and word == first[1]
        weight = _NAME_WEIGHT if is_name(word, is_first=is_first) else _WORD_WEIGHT
        weighed.append((stems_of_word(word), weight))
    return [(stems, weight) for stems, weight in weighed if stems]


def share_held(weights: Sequence[tuple[frozenset[str], float]], mentioned: AbstractSet[str]) -> float:
    """Return the weight of the words that are mentioned as a share of all; 0 when there are none."""
    total = sum(weight for _, weight in weights)
    held = sum(weight * len(stems & mentioned) / len(stems) for stems, weight in weights)
    return held / total if total else 0.0
