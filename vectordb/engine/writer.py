"""The one thread that writes to a library, and groups the commits of those who write at once.

    wait for a job, take what else is waiting
    BEGIN; for each job: SAVEPOINT, run, RELEASE (or ROLLBACK TO: a job that fails takes no other along)
    COMMIT             durable: the log is fsynced
    apply to indexes   searches see it
    empty the log      when something was deleted: no byte of it is left on disk
    answer             each job's future

When storage fails (an fsync, a write, a corrupt page) the fate of the group is unknown, so that none of it is
acknowledged, and the library takes no more writes until a restart reads back what is really there.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import apsw

from vectordb.engine.clock import read_clock
from vectordb.engine.indexes import IndexChanges
from vectordb.engine.observing import Observer
from vectordb.errors import ReadOnly, StorageFailed, Unavailable, VectorDBError
from vectordb.storage.connection import savepoint, translated_errors
from vectordb.storage.library_file import LibraryFile

_log = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_WAITING_JOBS = 1_024
_MOST_JOBS_PER_COMMIT = 128
_WAL_PAGES_BEFORE_CHECKPOINT = 2_000
_ERASE_ATTEMPTS = 3
_ERASE_PAUSE_S = 0.02
_ERASE_AGAIN_S = 5.0
_READ_ONLY = "storage failed earlier, so this library takes no writes until the server is restarted"


@dataclass(frozen=True, slots=True)
class Written(Generic[T]):
    """What a committed write answers with."""

    value: T
    log_position: int


@dataclass(slots=True)
class WriteSession:
    """What a job works with. `erases` is set by one that deletes or replaces text."""

    file: LibraryFile
    now: int
    changes: IndexChanges = field(default_factory=IndexChanges)
    erases: bool = False


Job = Callable[[WriteSession], T]


@dataclass(slots=True)
class _Waiting:
    job: Job[Any]
    future: "Future[Written[Any]]"


@dataclass(slots=True)
class _Group:
    """The jobs of one transaction, and what came of each."""

    changes: IndexChanges = field(default_factory=IndexChanges)
    erases: bool = False
    done: "list[tuple[Future[Written[Any]], Written[Any]]]" = field(default_factory=list)
    refused: "list[tuple[Future[Written[Any]], BaseException]]" = field(default_factory=list)


class LibraryWriter:
    """Runs jobs on the library's file, one transaction for as many as are waiting."""

    def __init__(
        self,
        file: LibraryFile,
        apply_changes: Callable[[IndexChanges], None],
        *,
        name: str,
        max_queued_bytes: int,
        observer: Observer,
    ) -> None:
        """`max_queued_bytes` bounds what waits or is being written, but for a job that comes when there is nothing."""
        self._file = file
        self._apply_changes = apply_changes
        self._name = name
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(_MOST_WAITING_JOBS)
        self._max_queued_bytes = max_queued_bytes
        self._observer = observer
        self._queued_bytes = 0
        self._failure: str | None = None
        self._closing = False
        self._discarding = False
        self._make_refusal: Callable[[], VectorDBError] | None = None
        self._erase_pending = False
        self._copies = 0
        self._submitting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"writer-{name}", daemon=True)
        self._thread.start()

    @property
    def is_read_only(self) -> bool:
        """Whether storage failed, so that writes are refused."""
        return self._failure is not None

    @property
    def queued(self) -> tuple[int, int]:
        """How many jobs wait, and the bytes that they and those being written keep in memory."""
        return self._waiting.qsize(), self._queued_bytes

    def submit(self, job: Job[T], *, size_bytes: int = 0) -> "Future[Written[T]]":
        """Queue a job; its future ends when the write is durable and searchable, or with what refused it.

        `size_bytes` is what the job keeps in memory until then. Raises ReadOnly after storage failed, Unavailable when
        too many or too large ones wait or the library is closed, and whatever `refuse` said.
        """
        with self._submitting:
            if self._make_refusal is not None:
                raise self._make_refusal()
            if self._failure is not None:
                raise ReadOnly(self._failure)
            if self._closing:
                raise Unavailable("the library is closed")
            if self._queued_bytes and self._queued_bytes + size_bytes > self._max_queued_bytes:
                raise Unavailable("too large writes are waiting for this library; try again")
            future: Future[Written[T]] = Future()
            try:
                self._waiting.put_nowait(_Waiting(job, future))
            except queue.Full as exc:
                raise Unavailable("too many writes are waiting for this library; try again") from exc
            self._queued_bytes += size_bytes
        # The first callback of all: who is answered by a later one can send as much again.
        future.add_done_callback(lambda _: self._note_end(size_bytes))
        return future

    def refuse(self, make_refusal: Callable[[], VectorDBError] | None) -> None:
        """Turn new jobs away from now on, or take them again with None. What is queued goes on."""
        with self._submitting:
            self._make_refusal = make_refusal

    def drain(self) -> None:
        """Wait for what is queued; the caller has seen to it by `refuse` that nothing more comes."""
        self._waiting.join()

    def fail(self) -> None:
        """Take no more writes until a restart: whether they would be kept is unknown."""
        with self._submitting:
            self._failure = _READ_ONLY
            self._make_refusal = None

    @contextmanager
    def log_left_alone(self) -> Iterator[None]:
        """Do not try to empty the log inside the block, where a long read is in the way: writes would wait for that."""
        with self._submitting:
            self._copies += 1
        try:
            yield
        finally:
            with self._submitting:
                self._copies -= 1

    def close(self, *, discard: bool = False) -> None:
        """Finish what is queued, empty the log, close the file.

        `discard` is for a file that is being deleted: what is queued is refused as `refuse` said, the log is left.
        """
        with self._submitting:
            already = self._closing
            self._closing = True
            self._discarding = discard
        if not already:
            self._waiting.put(None)
        self._thread.join()

    def _note_end(self, size_bytes: int) -> None:
        with self._submitting:
            self._queued_bytes -= size_bytes

    def _run(self) -> None:
        while self._write_next():
            pass
        self._finish()

    def _write_next(self) -> bool:
        """Wait for jobs and write them; return whether more may come. Nothing is kept of them."""
        taken = self._take_waiting()
        jobs = [waiting for waiting in taken if waiting is not None]
        self._write_group([waiting for waiting in jobs if waiting.future.set_running_or_notify_cancel()])
        for _ in taken:
            self._waiting.task_done()
        return None not in taken

    def _take_waiting(self) -> list[_Waiting | None]:
        """Wait for a job, or for None, the end, and take what else is there; see to a log that has to be emptied."""
        taken: list[_Waiting | None] = []
        is_log_waiting = self._erase_pending and self._failure is None
        try:
            taken.append(self._waiting.get(timeout=_ERASE_AGAIN_S if is_log_waiting else None))
            while taken[-1] is not None and len(taken) < _MOST_JOBS_PER_COMMIT:
                taken.append(self._waiting.get_nowait())
        except queue.Empty:
            if not taken:
                self._tidy_log(erases=False)
        return taken

    def _write_group(self, jobs: list[_Waiting]) -> None:
        if not jobs:
            return
        if self._failure is not None or self._discarding:
            _refuse_all(jobs, self._explain_refusal(self._failure or "the library is closed"))
            return
        try:
            with translated_errors():
                group = self._commit(jobs)
        except _Discarded:
            self._roll_back()
            _refuse_all(jobs, self._explain_refusal("the library is closed"))
            return
        except StorageFailed as exc:
            self._fail(jobs, exc)
            return
        except Unavailable as exc:
            # A full disk, a busy file: nothing was kept, and the next write may succeed.
            self._roll_back()
            _refuse_all(jobs, exc)
            return
        try:
            self._apply_changes(group.changes)
        except Exception as exc:  # noqa: BLE001 - whatever it was: record and indexes differ now, until a restart
            _log.exception("library %s: the indexes could not follow the record", self._name)
            self._fail(jobs, exc)
            return
        self._tidy_log(group.erases)
        for refused, error in group.refused:
            refused.set_exception(error)
        for done, written in group.done:
            done.set_result(written)

    def _commit(self, jobs: list[_Waiting]) -> _Group:
        group = _Group()
        self._file.connection.execute("BEGIN IMMEDIATE")
        for waiting in jobs:
            if self._discarding:
                raise _Discarded
            session = WriteSession(self._file, read_clock())
            try:
                with savepoint(self._file.connection):
                    value = waiting.job(session)
                    position = self._file.library.advance_log_position()
            except Exception as exc:  # the job's own refusal (or fault): it goes to its caller, the others go on
                if isinstance(exc, apsw.Error) and not isinstance(exc, apsw.ConstraintError):
                    raise
                group.refused.append((waiting.future, exc))
                continue
            group.changes.merge(session.changes)
            group.erases = group.erases or session.erases
            group.done.append((waiting.future, Written(value, position)))
        started = time.perf_counter()
        self._file.connection.execute("COMMIT")
        self._observer.note_commit(time.perf_counter() - started)
        return group

    def _tidy_log(self, erases: bool) -> None:
        """Empty the log after a deletion, or keep it short.

        What is committed is safe whatever happens here; only a failing disk is of interest. A reader in the way is
        waited for a moment, one that makes a copy is not; then it is tried again with the next write, or soon.
        """
        self._erase_pending = self._erase_pending or erases
        if self._discarding:
            return
        is_to_be_emptied = self._erase_pending and not self._copies
        if not is_to_be_emptied and self._file.wal_pages < _WAL_PAGES_BEFORE_CHECKPOINT:
            return
        try:
            if not is_to_be_emptied:
                self._file.checkpoint(erase=False)
                return
            for _ in range(_ERASE_ATTEMPTS):
                if self._file.checkpoint(erase=True):
                    self._erase_pending = False
                    return
                time.sleep(_ERASE_PAUSE_S)
            _log.warning("library %s: readers keep the log from being emptied; it is tried again", self._name)
        except apsw.FullError:
            _log.warning("library %s: the disk is too full to bring the log into the file", self._name)
        except apsw.Error as exc:
            self._failure = _READ_ONLY
            _log.error("library %s is read-only from now on: checkpoint failed: %s", self._name, exc)

    def _fail(self, jobs: list[_Waiting], cause: BaseException) -> None:
        with self._submitting:
            self._failure = _READ_ONLY
        _log.error("library %s is read-only from now on: %s", self._name, cause)
        self._roll_back()
        error = self._explain_refusal(
            "storage failed, and whether this write was kept is unknown; no writes until a restart"
        )
        error.__cause__ = cause
        _refuse_all(jobs, error)

    def _roll_back(self) -> None:
        try:
            if self._file.connection.in_transaction:
                self._file.connection.execute("ROLLBACK")
        except apsw.Error as exc:
            _log.error("library %s: rolling back failed: %s", self._name, exc)

    def _explain_refusal(self, detail: str) -> VectorDBError:
        return ReadOnly(detail) if self._make_refusal is None else self._make_refusal()

    def _finish(self) -> None:
        try:
            if self._failure is None and not self._discarding and not self._file.checkpoint(erase=True):
                _log.warning("library %s: closed while its log was still being read", self._name)
        except apsw.Error as exc:
            _log.error("library %s: emptying its log failed: %s", self._name, exc)
        try:
            self._file.close(discard=self._discarding)
        except Unavailable as exc:
            _log.error("library %s: closing failed: %s", self._name, exc)


class _Discarded(Exception):
    pass


def _refuse_all(jobs: list[_Waiting], error: BaseException) -> None:
    for waiting in jobs:
        waiting.future.set_exception(error)
