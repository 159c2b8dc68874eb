"""A folder of files as a project's documents, and the wait until they are indexed. What commands stand on."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote
from uuid import UUID

from knowledge import composition, selectors, services, tasks
from knowledge.errors import DocumentTooLarge, DocumentUnreadable, FileKindUnsupported
from knowledge.files import content_type_of, find_title, read_file
from knowledge.indexing import Outcome
from knowledge.models import Document
from knowledge.selectors import Progress, ReindexingProgress
from knowledge.services import Draft, Written
from teams.models import Project

Seen = TypeVar("Seen")
POLL_S = 0.5
# With no document moving for this long, someone should look whether a worker runs; later, waiting makes no sense.
STALLED_AFTER_S = 30.0
GIVE_UP_AFTER_S = 300.0
MAX_EXTERNAL_ID_CHARACTERS = 500


class Stalled(Exception):
    """No document has moved for so long that waiting makes no sense."""


def find_files(root: Path) -> tuple[list[Path], list[Path]]:
    """The readable files below a folder (or the file itself), and the symbolic links that lead out of it.

    Hidden files and folders are passed over, and what has no ending that can be read.
    """
    if root.is_file():
        return [root], []
    found: list[Path] = []
    outside: list[Path] = []
    resolved_root = root.resolve()
    for folder, folder_names, file_names in os.walk(root, followlinks=False):
        folder_names[:] = sorted(name for name in folder_names if not name.startswith("."))
        outside += [Path(folder) / name for name in folder_names if (Path(folder) / name).is_symlink()]
        for name in sorted(file_names):
            path = Path(folder) / name
            if name.startswith(".") or content_type_of(name) is None:
                continue
            leads_out = path.is_symlink() and not path.resolve().is_relative_to(resolved_root)
            (outside if leads_out else found).append(path)
    return found, outside


def read_draft(path: Path, root: Path, base_url: str) -> Draft:
    """A file as a document, named by its path below `root`.

    Raises FileKindUnsupported, DocumentUnreadable, DocumentTooLarge, OSError.
    """
    if not path.is_file():
        raise DocumentUnreadable("It is no file.")
    relative = path.name if path == root else path.relative_to(root).as_posix()
    if len(relative) > MAX_EXTERNAL_ID_CHARACTERS or _is_not_text(relative):
        raise DocumentUnreadable("Its path is too long, or is not valid text.")
    content = read_file(
        lambda: path.open("rb"), name=path.name, size_bytes=path.stat().st_size, limits=services.size_limits()
    )
    return Draft(
        title=find_title(content, path.name, composition.loader_for),
        content=content.text,
        content_type=content.content_type,
        binary=content.binary,
        external_id=relative,
        source_url=f"{base_url.rstrip('/')}/{quote(relative)}" if base_url else quote(relative),
    )


def ingest_files(
    paths: Sequence[Path],
    root: Path,
    *,
    project: Project,
    base_url: str = "",
    announce: bool = True,
    report: Callable[[Path, str], None],
) -> tuple[list[UUID], Counter[Written]]:
    """Make each file a document; `report` is told of every one that cannot be, and the others go on.

    Returns the ids of the documents that are not indexed as they stand, and what became of the files.
    """
    unfinished: list[UUID] = []
    written: Counter[Written] = Counter()
    for path in paths:
        try:
            draft = read_draft(path, root, base_url)
            document, outcome = services.put_document(project=project, draft=draft, announce=announce)
        except (FileKindUnsupported, DocumentUnreadable, DocumentTooLarge) as exc:
            report(path, str(exc))
            continue
        except OSError as exc:
            report(path, f"It cannot be read: {exc.strerror}.")
            continue
        written[outcome] += 1
        if document.state != Document.State.INDEXED:
            unfinished.append(document.pk)
    return unfinished, written


@dataclass(frozen=True, slots=True)
class Patience:
    """For how many seconds nothing may move until waiting makes no sense."""

    give_up_after_s: float = GIVE_UP_AFTER_S
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic

    def watch(self, look: Callable[[], Seen], is_over: Callable[[Seen], bool]) -> Iterator[tuple[Seen, float]]:
        """Yield what `look` sees, and for how long that has been the same, until it is over. Raises Stalled."""
        last, moved_at, told_at = None, self.monotonic(), self.monotonic()
        while True:
            progress = look()
            now = self.monotonic()
            if progress != last:
                last, moved_at, told_at = progress, now, now
            yield progress, now - moved_at
            if is_over(progress):
                return
            if now - moved_at >= self.give_up_after_s:
                raise Stalled
            if now - told_at >= STALLED_AFTER_S / 2:
                told_at = now
                tasks.sweep_documents()
            self.sleep(POLL_S)


def wait_for_workers(
    document_ids: Sequence[UUID], patience: Patience | None = None
) -> Iterator[tuple[Progress, float]]:
    """Yield the progress again and again until nothing is pending, with how long nothing has moved, in seconds.

    Workers are told once more of what stands still. Raises Stalled.
    """
    return (patience or Patience()).watch(
        lambda: selectors.count_progress(document_ids), lambda progress: not progress.pending
    )


def wait_for_reindexings(
    ids: Sequence[UUID], patience: Patience | None = None
) -> Iterator[tuple[ReindexingProgress, float]]:
    """Yield how far these reindexings are together, until none runs; otherwise as `wait_for_workers`."""
    return (patience or Patience()).watch(
        lambda: selectors.count_reindexings(ids), lambda progress: not progress.running
    )


def index_here(document_ids: Sequence[UUID]) -> Iterator[UUID]:
    """Index the documents in this process, yielding each that has come to an end or has to wait."""
    indexer = composition.indexer()
    for document_id in document_ids:
        while indexer.index(document_id) is Outcome.UNFINISHED:
            continue
        yield document_id


def _is_not_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return True
    return False
