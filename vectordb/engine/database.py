"""All libraries of one data folder."""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import orjson

from vectordb.engine.clock import read_clock
from vectordb.engine.library import Library, Stats
from vectordb.engine.observing import Observer, Unobserved
from vectordb.engine.writer import Written
from vectordb.errors import Conflict, DataFolderRefused, Invalid, NotFound, ReadOnly, SnapshotDamaged, VectorDBError
from vectordb.schemas import LibraryCopy, LibraryCreate, LibraryUpdate
from vectordb.schemas.base import make_id
from vectordb.storage import DataFolder, LibraryFile, LibraryRow, Replacement, put_copy

_log = logging.getLogger(__name__)

_MAX_QUEUED_BYTES = 256 * 1024 * 1024
_UNOBSERVED = Unobserved()


@dataclass(frozen=True, eq=False, slots=True)
class _Claim:
    """A name that a write which is queued will give to a library: nobody else may take it meanwhile."""

    name: str
    library: Library


@dataclass(frozen=True, slots=True)
class Replaced:
    """What came of a replacement: the log positions of the libraries that came, by id, and the ids that are gone."""

    log_positions: dict[str, int]
    deleted: list[str]


class Database:
    """The libraries, by id. Making, renaming and deleting libraries happens one at a time.

    No writer is waited for under the lock of that, but by a replacement: a library that writes slowly holds up itself
    alone.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        max_queued_bytes: int = _MAX_QUEUED_BYTES,
        observer: Observer = _UNOBSERVED,
        vfs: str | None = None,
    ) -> None:
        """Lock the folder and open everything in it.

        The writes that wait for one library may keep `max_queued_bytes` of memory together; more are Unavailable.
        `observer` is told how long things take.

        Raises DataFolderRefused when another process has it, or a library in it cannot be read: to serve the others
        would make this one look as if it had never been.
        """
        self._max_queued_bytes = max_queued_bytes
        self._observer = observer
        self._vfs = vfs
        self._changing = threading.Condition()
        self._erasing = 0  # libraries that are out of the dict and not yet off the disk
        self._libraries: dict[str, Library] = {}  # replaced whole when several change at once
        self._naming = threading.Lock()  # writers' threads take it too: nothing is waited for in it
        self._claims: set[_Claim] = set()
        self._folder = DataFolder(data_dir)
        try:
            for path in self._folder.list_libraries():
                self._open(path)
        except BaseException as exc:
            self.close()
            if isinstance(exc, VectorDBError):
                raise DataFolderRefused(exc.detail) from exc
            raise

    def close(self) -> None:
        """Close every library, then give the folder back. Deletions under way are finished first."""
        with self._changing:
            self._changing.wait_for(lambda: self._erasing == 0)
            libraries, self._libraries = self._libraries, {}
            for library in libraries.values():
                library.close()
            self._folder.close()

    def list_libraries(self) -> list[Library]:
        """Return all libraries, by id."""
        return [library for _, library in sorted(self._libraries.copy().items())]

    def read_libraries(self, after: str, limit: int) -> list[tuple[LibraryRow, Stats]]:
        """Return at most `limit` libraries with an id beyond `after`, by id, without those deleted meanwhile."""
        read: list[tuple[LibraryRow, Stats]] = []
        for library in self.list_libraries():
            if library.row.id <= after:
                continue
            if len(read) == limit:
                break
            try:
                read.append((library.row, library.read_stats()))
            except NotFound:
                continue
        return read

    def get_library(self, library_id: str) -> Library:
        """Return a library. Raises NotFound."""
        library = self._libraries.get(library_id)
        if library is None:
            raise NotFound(f'there is no library "{library_id}"')
        return library

    def create_library(self, request: LibraryCreate) -> Library:
        """Make a library. Raises Conflict when its id or name is taken, StorageFull or StorageFailed."""
        now = read_clock()
        row = LibraryRow(
            id=request.id or make_id(),
            name=request.name,
            metadata=orjson.dumps(request.metadata).decode(),
            dimension=request.dimension,
            metric=request.metric,
            index_spec=None if request.index is None else request.index.model_dump_json(),
            created_at=now,
            updated_at=now,
        )
        with self._changing:
            if row.id in self._libraries:
                raise Conflict(f'there is a library "{row.id}" already')
            self._require_free_name(row.name, row.id)
            with self._folder.new_library() as (draft, folder):
                LibraryFile.create(draft, row, vfs=self._vfs)
            return self._open(folder)

    def update_library(self, library_id: str, request: LibraryUpdate) -> "Future[Written[LibraryRow]]":
        """Change name or metadata; the future ends when that is durable, and told by `Library.row`.

        Raises NotFound; Conflict for a name that is taken or about to be, another dimension or metric.
        """
        with self._changing:
            library = self.get_library(library_id)
            row = library.row
            if request.dimension not in (None, row.dimension) or request.metric not in (None, row.metric):
                raise Conflict(f"the library has dimension {row.dimension} and metric {row.metric}, which never change")
            claim = _Claim(row.name if request.name is None else request.name, library)
            if request.name is not None:
                self._require_free_name(claim.name, library_id)
            writing = library.update(request)
            with self._naming:
                self._claims.add(claim)
        updated: Future[Written[LibraryRow]] = Future()
        updated.set_running_or_notify_cancel()  # from here on it cannot be cancelled

        def finish(done: "Future[Written[LibraryRow]]") -> None:
            error = done.exception()
            with self._naming:
                if error is None:
                    library.adopt(done.result().value)
                # After ReadOnly nobody knows what the name is now; it stays taken until a restart tells.
                if not isinstance(error, ReadOnly):
                    self._claims.discard(claim)
            if error is None:
                updated.set_result(done.result())
            else:
                updated.set_exception(error)

        writing.add_done_callback(finish)
        return updated

    def delete_library(self, library_id: str) -> None:
        """Delete a library for good. Raises NotFound; StorageFailed or StorageFull, after which it may be there still.

        Calls on it that are caught in the middle end with NotFound, writes that are queued too. Other libraries are
        not held up: what takes long is done when the id is free again.
        """
        with self._changing:
            library = self.get_library(library_id)
            library.retire()
            try:
                trash = self._folder.retire_library(library.folder)
            except VectorDBError:
                library.readmit()
                raise
            del self._libraries[library_id]
            self._forget_claims([library])
            self._erasing += 1
        try:
            library.discard()
            self._folder.erase_retired(trash)
        finally:
            self._note_erased(1)

    def replace_libraries(
        self, copies: Sequence[LibraryCopy], snapshot: Path, *, is_whole: bool, go_on: Callable[[], None]
    ) -> Replaced:
        """Put copies in the place of the libraries with their ids, and of all others too when that `is_whole`.

        All of them change at one moment, also when the process is killed. Until then the old ones serve; what is asked
        of them by then is answered by them. `go_on` is called between two copies, to raise what is to end it all.

        Raises SnapshotDamaged; Conflict when a library that stays has one's name; StorageFull or StorageFailed. Nothing
        has changed then, unless the very last step failed: the old ones serve then, read-only until a restart tells.
        """
        replacement = self._folder.begin_replacement(len(copies))
        coming: list[Library] = []
        try:
            for copy, folder in zip(copies, replacement.folders, strict=True):
                go_on()
                coming.append(self._open_copy(copy, snapshot, folder))
            with self._changing:
                going, log_positions = self._exchange(coming, replacement, is_whole=is_whole)
        except BaseException:
            for library in coming:
                library.discard()
            replacement.abandon()
            raise
        try:
            self._clear_away(going, replacement)
        finally:
            self._note_erased(len(going))
        return Replaced(log_positions, sorted({library.row.id for library in going} - log_positions.keys()))

    def _open_copy(self, copy: LibraryCopy, snapshot: Path, folder: Path) -> Library:
        put_copy(copy, snapshot, folder)
        try:
            library = self._open_library(folder)
        except (DataFolderRefused, Invalid) as exc:
            raise SnapshotDamaged(f'the copy of library "{copy.id}" cannot be opened: {exc.detail}') from exc
        if library.row.id != copy.id:
            library.discard()
            raise SnapshotDamaged(f'the file of library "{copy.id}" holds library "{library.row.id}"')
        return library

    def _exchange(
        self, coming: Sequence[Library], replacement: Replacement, *, is_whole: bool
    ) -> tuple[list[Library], dict[str, int]]:
        """Let `coming` count; return those that are gone by that, and where the logs of `coming` are."""
        names = {library.row.id: library.row.name for library in coming}
        going = [library for library in self._libraries.values() if is_whole or library.row.id in names]
        for library_id, name in names.items():
            self._require_free_name(name, library_id, leaving=going)
        try:
            reached = {library.row.id: library.pause_writes() for library in going}
            log_positions = {
                library.row.id: library.continue_log(reached.get(library.row.id, 0)).result().log_position
                for library in coming
            }
            replacement.prepare([library.folder for library in going])
            replacement.commit()
        except BaseException:
            for library in going:
                if replacement.may_count:
                    library.stop_writes()
                else:
                    library.resume_writes()
            raise
        counting = [*(library for library in self._libraries.values() if library not in going), *coming]
        self._libraries = {library.row.id: library for library in counting}
        for library in going:
            if library.row.id in names:
                library.supersede()
            else:
                library.retire()
        self._forget_claims(going)
        self._erasing += len(going)
        return going, log_positions

    def _clear_away(self, going: Sequence[Library], replacement: Replacement) -> None:
        for library in going:
            library.discard()
        try:
            for trash in replacement.finish([library.folder for library in going]):
                self._folder.erase_retired(trash)
        except VectorDBError as exc:  # the libraries are replaced all the same
            _log.error("what a restore replaced is deleted at the next start only: %s", exc)

    def _forget_claims(self, gone: Sequence[Library]) -> None:
        with self._naming:
            self._claims = {claim for claim in self._claims if claim.library not in gone}

    def _note_erased(self, count: int) -> None:
        with self._changing:
            self._erasing -= count
            self._changing.notify_all()

    def _require_free_name(self, name: str, library_id: str, *, leaving: Sequence[Library] = ()) -> None:
        with self._naming:
            taken = {(other.row.name, other.row.id) for other in self._libraries.values() if other not in leaving}
            taken.update((claim.name, claim.library.row.id) for claim in self._claims if claim.library not in leaving)
        if any(other == name and other_id != library_id for other, other_id in taken):
            raise Conflict(f'there is a library named "{name}" already')

    def _open(self, path: Path) -> Library:
        try:
            library = self._open_library(path)
        except VectorDBError as exc:
            raise DataFolderRefused(f"the library in {path} cannot be opened: {exc.detail}") from exc
        other = self._libraries.get(library.row.id)
        if other is not None:
            library.close()
            raise DataFolderRefused(
                f'{other.folder} and {path} both hold a library "{library.row.id}"; move one of them away'
            )
        self._libraries[library.row.id] = library
        return library

    def _open_library(self, folder: Path) -> Library:
        return Library(folder, max_queued_bytes=self._max_queued_bytes, observer=self._observer, vfs=self._vfs)
