"""BM25 over an inverted index in flat arrays.

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), section 3; idf in the form
ln(1 + (N - n + 0.5) / (n + 0.5)), which is never negative.

    slots    one per text that was added, in the order of adding: its id, its length in words, live or dead
    terms    the number of each word; grows until a merge leaves out, and numbers anew, what no text holds any more
    main     postings by term: those of term t at offsets[t] .. offsets[t + 1], by rising slot
    tail     postings of texts added since, in order of adding: (term, slot, frequency)

A search reads its terms' stretches of `main` and scans the tail. When the tail has grown to a fraction of `main`, both
are merged into a new `main`, and dead texts are left behind. States are immutable as in `FlatIndex`.
"""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from vectordb.errors import IndexFileInvalid, Invalid
from vectordb.index.array_file import read_arrays, write_arrays
from vectordb.index.tokens import Tokeniser
from vectordb.kernels import pad_results, select_top_k
from vectordb.schemas.arrays import FloatArray, IdArray

_KIND = "lexical"
_TAIL_FRACTION = 4

_Ints = NDArray[np.int32]
_Int = TypeVar("_Int", np.int32, np.int64)


@dataclass(frozen=True, slots=True)
class _Postings:
    """Postings by term; immutable."""

    offsets: IdArray  # (terms + 1,)
    slots: _Ints
    frequencies: _Ints


@dataclass(frozen=True, slots=True)
class _State:
    terms: dict[str, int]  # shared with later states until a merge; a term that this state lacks has no postings in it
    ids: IdArray  # (slot capacity,)
    lengths: _Ints  # (slot capacity,)
    live: NDArray[np.bool_]  # (slot capacity,); True beyond `slot_count`
    slot_count: int
    live_count: int
    live_words: int
    main: _Postings
    tail_terms: _Ints  # (tail capacity,)
    tail_slots: _Ints
    tail_frequencies: _Ints
    tail_count: int


class LexicalIndex:
    """BM25 with k1 = 1.2 and b = 0.75 by default; English stems and stop words."""

    def __init__(self, *, k1: float = 1.2, b: float = 0.75, smallest_tail: int = 16_384) -> None:
        """`smallest_tail`: so many postings may wait in the tail before a merge, however small the index."""
        self._k1 = k1
        self._b = b
        self._smallest_tail = smallest_tail
        self._tokeniser = Tokeniser()
        self._writing = threading.Lock()
        self._slots: dict[int, int] = {}  # the writer's: id -> its live slot
        self._state = _make_state()

    def __len__(self) -> int:
        return self._state.live_count

    def memory_bytes(self) -> int:
        """Return the bytes of the arrays; the vocabulary is not counted."""
        state = self._state
        arrays = (state.ids, state.lengths, state.live, state.tail_terms, state.tail_slots, state.tail_frequencies)
        main = (state.main.offsets, state.main.slots, state.main.frequencies)
        return sum(array.nbytes for array in (*arrays, *main))

    def add(self, ids: IdArray, texts: Sequence[str]) -> None:
        """Add `texts` under distinct `ids` (n,); an id that is there is replaced."""
        if len(ids) != len(texts):
            raise Invalid(f"{len(ids)} ids for {len(texts)} texts")
        if len(ids) == 0:
            return
        counted = [Counter(self._tokeniser.tokenise(text)) for text in texts]
        with self._writing:
            state = self._append(self._without(self._state, ids), ids, counted)
            if state.tail_count > max(self._smallest_tail, len(state.main.slots) // _TAIL_FRACTION):
                state = self._merge(state)
            self._state = state

    def remove(self, ids: IdArray) -> None:
        """Remove `ids`; those that are not there are passed over."""
        with self._writing:
            state = self._without(self._state, ids)
            for removed in ids.tolist():
                self._slots.pop(removed, None)
            if self._is_mostly_dead(state):
                state = self._merge(state)
            self._state = state

    def search(self, text: str, k: int, *, allowed: IdArray | None = None) -> tuple[IdArray, FloatArray]:
        """Return the k best for the words of `text`; see `TextIndex.search`. A word that is repeated counts again."""
        wanted = Counter(self._tokeniser.tokenise(text))
        state = self._state
        scores = np.zeros(state.slot_count, dtype=np.float64)
        for token, times in sorted(wanted.items()):
            term = state.terms.get(token)
            if term is not None:
                self._score_term(state, term, times, scores)
        found = np.flatnonzero(scores)
        ids = state.ids[found]
        if allowed is not None:
            within = np.isin(ids, allowed)
            found, ids = found[within], ids[within]
        best = select_top_k(ids, scores[found].astype(np.float32), k)
        padded_ids, padded_scores = pad_results([best], k)
        return padded_ids[0], padded_scores[0]

    def save(self, path: Path) -> None:
        """Write the live texts' postings to `path`, whole or not at all."""
        with self._writing:
            self._state = state = self._merge(self._state)
            vocabulary = orjson.dumps(list(state.terms))
        arrays: dict[str, NDArray[Any]] = {
            "ids": state.ids[: state.slot_count],
            "lengths": state.lengths[: state.slot_count],
            "offsets": state.main.offsets,
            "slots": state.main.slots,
            "frequencies": state.main.frequencies,
            "vocabulary": np.frombuffer(vocabulary, dtype=np.uint8),
        }
        write_arrays(path, _KIND, {"k1": self._k1, "b": self._b}, arrays)

    @classmethod
    def load(cls, path: Path) -> "LexicalIndex":
        """Return the index saved at `path`. Raises IndexFileInvalid."""
        header, arrays = read_arrays(path, _KIND)
        index = cls(k1=header["k1"], b=header["b"])
        try:
            words: list[str] = orjson.loads(arrays["vocabulary"].tobytes())
            main = _Postings(arrays["offsets"], arrays["slots"], arrays["frequencies"])
            ids, lengths = arrays["ids"], arrays["lengths"]
        except (KeyError, ValueError) as exc:
            raise IndexFileInvalid(f"{path.name} lacks a part: {exc}") from exc
        index._slots = dict(zip(ids.tolist(), range(len(ids)), strict=True))
        live = np.ones(len(ids), dtype=np.bool_)
        index._state = replace(
            _make_state(),
            terms={word: number for number, word in enumerate(words)},
            ids=ids,
            lengths=lengths,
            live=live,
            main=main,
            slot_count=len(ids),
            live_count=len(ids),
            live_words=int(lengths.sum()),
        )
        return index

    def _score_term(self, state: _State, term: int, times: int, scores: NDArray[np.float64]) -> None:
        """Add what `term` is worth to the scores (slots,) of the live texts that hold it."""
        slots, frequencies = _read_postings(state, term)
        live = state.live[slots]
        slots, frequencies = slots[live], frequencies[live]
        if len(slots) == 0:
            return
        idf = np.log1p((state.live_count - len(slots) + 0.5) / (len(slots) + 0.5))
        mean_length = state.live_words / state.live_count
        norms = self._k1 * (1.0 - self._b + self._b * state.lengths[slots] / mean_length)
        scores[slots] += times * idf * frequencies * (self._k1 + 1.0) / (frequencies + norms)

    def _is_mostly_dead(self, state: _State) -> bool:
        """Whether more than half of the texts, or of the words, of an index that is not small belong to dead texts."""
        words = int(state.lengths[: state.slot_count].sum(dtype=np.int64))
        if max(state.slot_count, words) <= self._smallest_tail:
            return False
        return state.live_count < state.slot_count // 2 or state.live_words < words // 2

    def _without(self, state: _State, ids: IdArray) -> _State:
        slots = [slot for slot in map(self._slots.get, ids.tolist()) if slot is not None]
        if not slots:
            return state
        live = state.live.copy()
        live[slots] = False
        live_now = live[: state.slot_count]
        return replace(
            state,
            live=live,
            live_count=int(np.count_nonzero(live_now)),
            live_words=int(state.lengths[: state.slot_count][live_now].sum(dtype=np.int64)),
        )

    def _append(self, state: _State, ids: IdArray, counted: Sequence[Counter[str]]) -> _State:
        terms = state.terms
        new_terms = [terms.setdefault(token, len(terms)) for counts in counted for token in counts]
        new_frequencies = [times for counts in counted for times in counts.values()]
        first, end = state.slot_count, state.slot_count + len(ids)
        new_slots = np.repeat(np.arange(first, end, dtype=np.int32), [len(counts) for counts in counted])
        new_lengths = np.array([counts.total() for counts in counted], dtype=np.int32)
        state = _make_room(state, len(ids), len(new_terms))
        tail_end = state.tail_count + len(new_terms)
        state.ids[first:end] = ids
        state.lengths[first:end] = new_lengths
        state.tail_terms[state.tail_count : tail_end] = new_terms
        state.tail_slots[state.tail_count : tail_end] = new_slots
        state.tail_frequencies[state.tail_count : tail_end] = new_frequencies
        self._slots.update(zip(ids.tolist(), range(first, end), strict=True))
        return replace(
            state,
            slot_count=end,
            live_count=state.live_count + len(ids),
            live_words=state.live_words + int(new_lengths.sum()),
            tail_count=tail_end,
        )

    def _merge(self, state: _State) -> _State:
        """Return a state without tail, dead texts and words that only they held; slots and terms are numbered anew."""
        live = state.live[: state.slot_count]
        kept = np.flatnonzero(live)
        renumbered = np.cumsum(live, dtype=np.int32) - 1
        main, count = state.main, state.tail_count
        main_terms = np.repeat(np.arange(len(main.offsets) - 1, dtype=np.int32), np.diff(main.offsets))
        terms = np.concatenate([main_terms, state.tail_terms[:count]])
        slots = np.concatenate([main.slots, state.tail_slots[:count]])
        frequencies = np.concatenate([main.frequencies, state.tail_frequencies[:count]])
        in_live = live[slots]
        terms, slots, frequencies = terms[in_live], renumbered[slots[in_live]], frequencies[in_live]
        vocabulary, terms = _drop_unused(state.terms, terms)
        order = np.argsort(terms, kind="stable")  # slots rise within a term already
        offsets = np.zeros(len(vocabulary) + 1, dtype=np.int64)
        np.cumsum(np.bincount(terms, minlength=len(vocabulary)), out=offsets[1:])
        ids = state.ids[kept]
        self._slots = dict(zip(ids.tolist(), range(len(ids)), strict=True))
        return replace(
            _make_state(),
            terms=vocabulary,
            ids=ids,
            lengths=state.lengths[kept],
            live=np.ones(len(kept), dtype=np.bool_),
            slot_count=len(kept),
            live_count=len(kept),
            live_words=state.live_words,
            main=_Postings(offsets, slots[order], frequencies[order]),
        )


def _drop_unused(vocabulary: dict[str, int], terms: _Ints) -> tuple[dict[str, int], _Ints]:
    """Return a vocabulary of those words that occur in `terms` (postings,), and `terms` in its numbers."""
    is_used = np.zeros(len(vocabulary), dtype=np.bool_)
    is_used[terms] = True
    if is_used.all():
        return vocabulary, terms
    renumbered = np.cumsum(is_used, dtype=np.int32) - 1
    # A dict keeps the order of adding, which is that of the numbers.
    kept = (word for word, used in zip(vocabulary, is_used.tolist(), strict=True) if used)
    return {word: number for number, word in enumerate(kept)}, renumbered[terms]


def _read_postings(state: _State, term: int) -> tuple[_Ints, _Ints]:
    """Return (slots, frequencies) of `term`, of main and tail together; each slot stands there once."""
    in_tail = np.flatnonzero(state.tail_terms[: state.tail_count] == term)
    slots, frequencies = state.tail_slots[in_tail], state.tail_frequencies[in_tail]
    if term + 1 >= len(state.main.offsets):
        return slots, frequencies
    stretch = slice(int(state.main.offsets[term]), int(state.main.offsets[term + 1]))
    if len(slots) == 0:
        return state.main.slots[stretch], state.main.frequencies[stretch]
    return (
        np.concatenate([state.main.slots[stretch], slots]),
        np.concatenate([state.main.frequencies[stretch], frequencies]),
    )


def _make_room(state: _State, more_slots: int, more_postings: int) -> _State:
    """Return a state with room for so many more; arrays that lack it are copied into larger ones."""
    slots_needed = state.slot_count + more_slots
    if slots_needed > len(state.ids):
        live = np.ones(2 * slots_needed, dtype=np.bool_)
        live[: state.slot_count] = state.live[: state.slot_count]
        state = replace(
            state,
            ids=_grow(state.ids, 2 * slots_needed),
            lengths=_grow(state.lengths, 2 * slots_needed),
            live=live,
        )
    postings_needed = state.tail_count + more_postings
    if postings_needed > len(state.tail_terms):
        state = replace(
            state,
            tail_terms=_grow(state.tail_terms, 2 * postings_needed),
            tail_slots=_grow(state.tail_slots, 2 * postings_needed),
            tail_frequencies=_grow(state.tail_frequencies, 2 * postings_needed),
        )
    return state


def _grow(values: NDArray[_Int], capacity: int) -> NDArray[_Int]:
    grown = np.zeros(capacity, dtype=values.dtype)
    grown[: len(values)] = values
    return grown


def _make_state() -> _State:
    ints = np.zeros(0, dtype=np.int32)
    return _State(
        terms={},
        ids=np.zeros(0, dtype=np.int64),
        lengths=ints,
        live=np.ones(0, dtype=np.bool_),
        slot_count=0,
        live_count=0,
        live_words=0,
        main=_Postings(np.zeros(1, dtype=np.int64), ints, ints),
        tail_terms=ints,
        tail_slots=ints,
        tail_frequencies=ints,
        tail_count=0,
    )
