"""The wait of commands for documents to be indexed, as people see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar
from uuid import UUID

from tqdm import tqdm

from knowledge import ingestion
from knowledge.ingestion import Stalled
from knowledge.selectors import Progress, ReindexingProgress

Seen = TypeVar("Seen")

STALLED = "Nothing has moved for {seconds:.0f} s. Does a worker run that consumes the queue `ingest`?"
LEFT = "The documents stay pending, and are indexed as soon as a worker takes them."


def show_indexing(
    document_ids: Sequence[UUID],
    *,
    warn: Callable[[str], None],
    give_up_after_s: float = ingestion.GIVE_UP_AFTER_S,
) -> bool:
    """Show how workers index the documents; False when nothing moved for so long that waiting made no sense."""
    waiting = ingestion.wait_for_workers(document_ids, ingestion.Patience(give_up_after_s=give_up_after_s))
    with tqdm(total=len(document_ids), desc="indexing", unit="document", disable=None) as bar:

        def show(progress: Progress) -> None:
            bar.set_postfix_str(f"{progress.staged_chunks} chunks of the next" if progress.staged_chunks else "")
            bar.update(len(document_ids) - progress.pending - bar.n)

        return _follow(waiting, show, warn)


def show_reindexing(ids: Sequence[UUID], *, warn: Callable[[str], None]) -> bool:
    """Show how workers index all documents of projects again; False as `show_indexing`."""
    with tqdm(desc="indexing", unit="document", disable=None) as bar:

        def show(progress: ReindexingProgress) -> None:
            bar.total = progress.total
            bar.update(progress.done + progress.failed - bar.n)

        return _follow(ingestion.wait_for_reindexings(ids), show, warn)


def _follow(waiting: Iterator[tuple[Seen, float]], show: Callable[[Seen], None], warn: Callable[[str], None]) -> bool:
    is_told = False
    try:
        for progress, still_s in waiting:
            show(progress)
            if still_s >= ingestion.STALLED_AFTER_S and not is_told:
                warn(STALLED.format(seconds=still_s))
            is_told = still_s >= ingestion.STALLED_AFTER_S
    except Stalled:
        warn(LEFT)
        return False
    return True
