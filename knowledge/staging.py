"""A document's chunks in the libraries that are to hold them: stored slice by slice, verified, cleared of old ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import UUID

from knowledge.embedders.choice import Embedders
from knowledge.errors import ChunksLost, EmbedderChanged
from knowledge.models import Document
from knowledge.splitter import Piece
from knowledge.targets import Target
from knowledge.vector_store import StoredChunk, StoredText, VectorStore
from observability import metrics

SLICE_PIECES = 64


class Stager:
    """Writes chunks. Every step may be repeated: a chunk's id is made of its document, revision and position."""

    def __init__(self, store: VectorStore, embedders: Embedders, *, slice_pieces: int = SLICE_PIECES) -> None:
        self._store = store
        self._embedders = embedders
        self._slice_pieces = slice_pieces

    def introduce(self, document: Document, targets: Iterable[Target]) -> None:
        """Make the libraries, and the document with its metadata in each."""
        for target in targets:
            self._store.ensure_library(target.library_id, name=target.library_id, dimension=target.dimension)
            self._store.put_document(
                target.library_id, str(document.pk), name=document.title, metadata=document.metadata
            )

    def stage(
        self,
        document: Document,
        pieces: Sequence[Piece],
        targets: Sequence[Target],
        *,
        note_progress: Callable[[int], None],
        is_time_up: Callable[[], bool],
    ) -> bool:
        """Embed and store the pieces from the `staged_chunks`-th on; False when the time is up before the last one.

        `note_progress` is told how many are stored after each slice. Raises EmbedderChanged and what the embedder and
        the store raise.
        """
        for start in range(min(document.staged_chunks, len(pieces)), len(pieces), self._slice_pieces):
            batch = pieces[start : start + self._slice_pieces]
            texts = [(piece.embedding_text, piece.content, " > ".join(piece.heading_path)) for piece in batch]
            for target in targets:
                self._store_slice(target, document.pk, document.revision, list(enumerate(texts, start)))
            staged = start + len(batch)
            note_progress(staged)
            if staged < len(pieces) and is_time_up():
                return False
        return True

    def carry_over(
        self,
        document: Document,
        source: Target,
        goal: Target,
        *,
        note_progress: Callable[[], None],
        is_time_up: Callable[[], bool],
    ) -> bool:
        """Embed and store in `goal` what `source` holds of the document, from the chunks' own texts.

        For a document whose content, as its row has it, cannot be indexed, while answers are drawn from an earlier
        one. False when the time is up before the last chunk; what is stored already is not embedded again.
        """
        revision = source.revision_of(document)
        stored = self._store.chunk_ids(goal.library_id, str(document.pk))
        missing = sorted(
            (
                each
                for each in self._store.read_texts(source.library_id, str(document.pk))
                if each.revision == revision and name_chunk(document.pk, revision, each.position) not in stored
            ),
            key=lambda each: each.position,
        )
        for start in range(0, len(missing), self._slice_pieces):
            if start and is_time_up():
                return False
            texts = [
                (each.position, _read_back(document, each)) for each in missing[start : start + self._slice_pieces]
            ]
            self._store_slice(goal, document.pk, revision or 0, texts)
            note_progress()
        return True

    def find_chunks(self, document: Document, targets: Iterable[Target]) -> dict[Target, set[str]]:
        """The ids of the document's chunks in each library, of whichever revision."""
        return {target: self._store.chunk_ids(target.library_id, str(document.pk)) for target in targets}

    def delete(self, leftovers: Mapping[Target, set[str]]) -> None:
        """Delete these chunks."""
        for target, ids in leftovers.items():
            self._store.delete_chunks(target.library_id, sorted(ids))

    def delete_what_is_not_shown(self, document: Document, targets: Iterable[Target]) -> None:
        """Leave nothing of a revision that failed behind; what answers are drawn from, or will be, stays."""
        for target in targets:
            kept = {target.revision_of(document), document.live_revision} - {None}
            if not kept:
                self._store.delete_document(target.library_id, str(document.pk))
                continue
            beginnings = tuple(name_chunk(document.pk, revision, "") for revision in kept)
            stored = self._store.chunk_ids(target.library_id, str(document.pk))
            self.delete({target: {each for each in stored if not each.startswith(beginnings)}})

    def erase(self, document_id: UUID, targets: Iterable[Target]) -> None:
        """Delete the document and every chunk of it."""
        for target in targets:
            self._store.delete_document(target.library_id, str(document_id))

    def _store_slice(
        self, target: Target, document_id: UUID, revision: int, texts: Sequence[tuple[int, tuple[str, str, str]]]
    ) -> None:
        embedder = self._embedders.of(target.fingerprint)
        with metrics.timed(metrics.INDEXING_STEP_SECONDS, "embed"):
            vectors = embedder.embed_documents([embedded for _, (embedded, _, _) in texts])
        if vectors.shape[1] != target.dimension:
            raise EmbedderChanged(f"The library holds {target.dimension} dimensions, not {vectors.shape[1]}.")
        chunks = [
            StoredChunk(
                id=name_chunk(document_id, revision, position),
                text=shown,
                embedding=vector,
                revision=revision,
                position=position,
                heading=heading,
            )
            for (position, (_, shown, heading)), vector in zip(texts, vectors, strict=True)
        ]
        with metrics.timed(metrics.INDEXING_STEP_SECONDS, "store"):
            are_stored = self._store.put_chunks(target.library_id, str(document_id), chunks)
        if not are_stored:
            raise ChunksLost


def name_chunk(document_id: UUID, revision: int | None, position: int | str) -> str:
    """The id of a chunk; with an empty position, what the ids of a revision's chunks begin with."""
    return f"{document_id}-{revision}-{position}"


def name_chunks(document_id: UUID, revision: int | None, count: int) -> set[str]:
    """The ids of all the chunks of a revision."""
    return {name_chunk(document_id, revision, position) for position in range(count)}


def _read_back(document: Document, stored: StoredText) -> tuple[str, str, str]:
    return f"{document.title} > {stored.text}", stored.text, stored.heading
