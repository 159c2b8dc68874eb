"""The exact index: every row is looked at.

Rows stand in an array with room to spare and are only ever appended; a removed or replaced row is marked dead in a mask
that is copied before it changes. A state is (arrays, mask, how many rows of them count), so that what a writer appends
beyond an older state's count does not concern that state's readers.

A search scores all rows fast, then those that may be among the best once more, each by itself: equal vectors have equal
scores, the same ones alone, in a batch and beside other rows.
"""

import threading
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vectordb.errors import Invalid
from vectordb.index.array_file import read_arrays, write_arrays
from vectordb.kernels import (
    bound_error,
    measure_rows,
    normalise_rows,
    pad_results,
    score_exactly,
    score_rows,
    select_above,
    select_top_k,
)
from vectordb.schemas.arrays import FloatArray, IdArray
from vectordb.schemas.base import Metric

_KIND = "flat"
_SMALLEST_CAPACITY = 64
_MOST_SCORES_AT_ONCE = 16_000_000


@dataclass(frozen=True, slots=True)
class _State:
    ids: IdArray  # (capacity,)
    rows: FloatArray  # (capacity, d); unit length under cosine
    live: NDArray[np.bool_]  # (capacity,); True beyond `count`
    count: int
    dead: int
    longest: float  # at least the length of every row


class FlatIndex:
    """Exact k nearest neighbours: O(n d) a search, O(d) a vector added, 4 d + 9 bytes a vector."""

    def __init__(self, dimension: int, metric: Metric) -> None:
        self._dimension = dimension
        self._metric: Metric = metric
        self._writing = threading.Lock()
        self._slots: dict[int, int] = {}  # the writer's: id -> its live row
        self._state = _make_state(_SMALLEST_CAPACITY, dimension)

    @property
    def dimension(self) -> int:
        """The length of every vector."""
        return self._dimension

    @property
    def metric(self) -> Metric:
        """What scores are."""
        return self._metric

    def __len__(self) -> int:
        state = self._state
        return state.count - state.dead

    def memory_bytes(self) -> int:
        """Return the bytes of the arrays, room to spare included."""
        state = self._state
        return state.ids.nbytes + state.rows.nbytes + state.live.nbytes

    def add(self, ids: IdArray, vectors: FloatArray) -> None:
        """Add `vectors` (n, d) under distinct `ids` (n,); see `Index.add`."""
        rows = self._prepare(vectors)
        if len(ids) != len(rows):
            raise Invalid(f"{len(ids)} ids for {len(rows)} vectors")
        if len(ids) == 0:
            return
        with self._writing:
            state = self._make_room(self._without(self._state, ids), len(ids))
            end = state.count + len(ids)
            state.ids[state.count : end] = ids
            state.rows[state.count : end] = rows
            self._slots.update(zip(ids.tolist(), range(state.count, end), strict=True))
            longest = max(state.longest, float(measure_rows(rows).max()))
            self._state = replace(state, count=end, longest=longest)

    def remove(self, ids: IdArray) -> None:
        """Remove `ids`; those that are not there are passed over."""
        with self._writing:
            state = self._without(self._state, ids)
            for removed in ids.tolist():
                self._slots.pop(removed, None)
            if state.dead > state.count // 2:
                state = self._compact(state, 0)
            self._state = state

    def search(
        self, queries: FloatArray, k: int, *, allowed: IdArray | None = None, **search_params: Any
    ) -> tuple[IdArray, FloatArray]:
        """Return the k best for each row of `queries` (q, d); see `Index.search`."""
        if search_params:
            raise Invalid(f"a flat index knows no search parameter {', '.join(sorted(search_params))}")
        prepared = self._prepare(queries)
        state = self._state
        ids, rows = state.ids[: state.count], state.rows[: state.count]
        wanted = state.live[: state.count] if state.dead else None
        if allowed is not None:
            within = np.isin(ids, allowed)
            wanted = within if wanted is None else within & wanted
        if wanted is None:
            return pad_results(self._scan(ids, rows, prepared, k, state.longest), k)
        places = np.flatnonzero(wanted)
        if 2 * len(places) < len(ids):  # to copy few rows is cheaper than to score all
            return pad_results(self._scan(ids[places], rows[places], prepared, k, state.longest), k)
        return pad_results(self._scan(ids, rows, prepared, k, state.longest, places), k)

    def save(self, path: Path) -> None:
        """Write the live rows to `path`, whole or not at all."""
        state = self._state
        live = state.live[: state.count]
        arrays: dict[str, NDArray[Any]] = {
            "ids": state.ids[: state.count][live],
            "rows": state.rows[: state.count][live],
        }
        write_arrays(path, _KIND, {"dimension": self._dimension, "metric": self._metric}, arrays)

    @classmethod
    def load(cls, path: Path) -> "FlatIndex":
        """Return the index saved at `path`. Raises IndexFileInvalid."""
        header, arrays = read_arrays(path, _KIND)
        index = cls(header["dimension"], header["metric"])
        index.add(arrays["ids"], arrays["rows"])
        return index

    def _scan(
        self,
        ids: IdArray,
        rows: FloatArray,
        queries: FloatArray,
        k: int,
        longest: float,
        places: IdArray | None = None,
    ) -> list[tuple[IdArray, FloatArray]]:
        """Return the k best of `rows` for each query; of those at `places` only, when they are given."""
        found: list[tuple[IdArray, FloatArray]] = []
        step = max(1, _MOST_SCORES_AT_ONCE // max(1, len(rows)))
        for start in range(0, len(queries), step):
            block = queries[start : start + step]
            for query, scores in zip(block, score_rows(rows, block, self._metric), strict=True):
                margin = partial(bound_error, self._metric, query, longest)
                if places is None:
                    chosen = select_above(scores, k, margin)
                else:
                    chosen = places[select_above(scores[places], k, margin)]
                found.append(select_top_k(ids[chosen], score_exactly(rows[chosen], query, self._metric), k))
        return found

    def _prepare(self, vectors: FloatArray) -> FloatArray:
        if vectors.ndim != 2 or vectors.shape[1] != self._dimension:
            raise Invalid(f"vectors of shape {vectors.shape} in an index of dimension {self._dimension}")
        rows = vectors.astype(np.float32, copy=False)
        return normalise_rows(rows) if self._metric == "cosine" and len(rows) else rows

    def _without(self, state: _State, ids: IdArray) -> _State:
        slots = [slot for slot in map(self._slots.get, ids.tolist()) if slot is not None]
        if not slots:
            return state
        live = state.live.copy()
        live[slots] = False
        return replace(state, live=live, dead=state.count - int(np.count_nonzero(live[: state.count])))

    def _make_room(self, state: _State, more: int) -> _State:
        if state.count + more <= len(state.ids):
            return state
        return self._compact(state, more)

    def _compact(self, state: _State, more: int) -> _State:
        """Return a state of new arrays without the dead rows, with room for `more` and as many again."""
        live = state.live[: state.count]
        kept = state.count - state.dead
        compacted = _make_state(max(_SMALLEST_CAPACITY, 2 * (kept + more)), self._dimension)
        compacted.ids[:kept] = state.ids[: state.count][live]
        compacted.rows[:kept] = state.rows[: state.count][live]
        self._slots = dict(zip(compacted.ids[:kept].tolist(), range(kept), strict=True))
        longest = float(measure_rows(compacted.rows[:kept]).max(initial=0.0))
        return replace(compacted, count=kept, longest=longest)


def _make_state(capacity: int, dimension: int) -> _State:
    return _State(
        ids=np.empty(capacity, dtype=np.int64),
        rows=np.empty((capacity, dimension), dtype=np.float32),
        live=np.ones(capacity, dtype=np.bool_),
        count=0,
        dead=0,
        longest=0.0,
    )
