"""From text to the words that BM25 counts: lower case, without stop words, stemmed (Snowball's English, "Porter2")."""

import re
import threading

import snowballstemmer

_WORD = re.compile(r"[^\W_]+")
_STOP_WORDS = frozenset(
    """a about above after again all am an and any are as at be because been before being below between both but by can
    could did do does doing down during each few for from further had has have having he her here hers him his how i if
    in into is it its itself just me more most my myself no nor not now of off on once only or other our ours out over
    own same she should so some such than that the their theirs them then there these they this those through to too
    under until up very was we were what when where which while who whom why will with would you your yours""".split()  # noqa: SIM905 - one word a line would be a page
)
_LONGEST_WORD = 64


class Tokeniser:
    """Splits text into stems; a word's stem is computed once while it is cached. Safe to share between threads.

    A full cache is emptied: the words that are common are back in it soon.
    """

    def __init__(self, *, most_cached_words: int = 100_000) -> None:
        self._stemmer = snowballstemmer.stemmer("english")
        self._stemming = threading.Lock()  # the stemmer works on fields of its own
        self._most_cached_words = most_cached_words
        self._stems: dict[str, str] = {}

    def tokenise(self, text: str) -> list[str]:
        """Return the stems of `text` in order, stop words left out, words cut at 64 characters."""
        stems = self._stems
        tokens: list[str] = []
        for whole in _WORD.findall(text.lower()):
            word = whole[:_LONGEST_WORD]  # before it is kept anywhere: a megabyte without a space is one word
            if word in _STOP_WORDS:
                continue
            stem = stems.get(word)
            tokens.append(self._stem(word) if stem is None else stem)
        return tokens

    def _stem(self, word: str) -> str:
        with self._stemming:
            stem: str = self._stemmer.stemWord(word)
        if len(self._stems) >= self._most_cached_words:
            self._stems = {}
        self._stems[word] = stem
        return stem
