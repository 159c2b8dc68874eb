"""Snapshots and restores that are cut off: by kill -9 at every step, by a failing step, by a failing fsync."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.vectordb.faults import before_each_step
from tests.vectordb.test_snapshots import add_library, dump, fill
from vectordb.engine import Database, Snapshots
from vectordb.errors import DataFolderRefused, ReadOnly, Unavailable
from vectordb.storage import SnapshotFolder


class Place:
    """A data folder with snapshots in it, and a database open on both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(folder)
        self.snapshots = Snapshots(self.database, SnapshotFolder(folder / "snapshots"))

    def close(self) -> None:
        self.snapshots.close()
        self.database.close()

    def put_something_in(self) -> str:
        """Leave two libraries as in the snapshot whose id is returned, then change, delete and make some."""
        add_library(self.database, "one", 1, 2, 3)
        add_library(self.database, "two", 4)
        snapshot = self.snapshots.create().id
        fill(self.database.get_library("one"), 2, 5, text="later")
        self.database.delete_library("two")
        add_library(self.database, "three", 6)
        return snapshot


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path / "data")
    yield place
    place.close()


def photograph_each_step(place: Place, into: Path, work: Callable[[], object]) -> list[Path]:
    """Do the work; return copies of the folder as a kill -9 before each of its steps would have left it."""
    photos: list[Path] = []

    def take() -> None:
        photos.append(into / f"{len(photos):03d}")
        shutil.copytree(place.folder, photos[-1])

    with before_each_step(take):
        work()
    take()
    return photos


def assert_tidy(folder: Path) -> None:
    """Nothing of anything that was cut off is left."""
    assert {path.name for path in folder.iterdir()} == {"LOCK", "libraries", "snapshots"}
    for name in ("libraries", "snapshots"):
        assert not [path.name for path in (folder / name).iterdir() if path.name.startswith(".")]


def test_check_24_killed_at_any_step_of_a_restore_it_is_all_old_or_all_new_after_a_restart(place, tmp_path):
    snapshot = place.put_something_in()
    old = dump(place.database)
    photos = photograph_each_step(place, tmp_path, lambda: place.snapshots.restore(snapshot, None))
    new = dump(place.database)
    seen = []
    for photo in photos:
        again = Place(photo)
        found = dump(again.database)
        assert found in (old, new), photo
        seen.append(found == new)
        assert_tidy(photo)
        if len(seen) % 10 == 0:
            fill(again.database.get_library("one"), 9)
            again.snapshots.restore(snapshot, None)
            assert dump(again.database) == new
        again.close()
    assert seen == sorted(seen)  # old until one step, and new from there on
    assert True in seen
    assert seen.count(False) >= 10


def test_check_24_killed_at_any_step_of_making_a_snapshot_it_is_there_whole_or_not_at_all(place, tmp_path):
    place.put_something_in()
    old = dump(place.database)
    photos = photograph_each_step(place, tmp_path, place.snapshots.create)
    counts = []
    for photo in photos:
        again = Place(photo)
        assert dump(again.database) == old
        assert_tidy(photo)
        found = again.snapshots.list()
        counts.append(len(found))
        assert {one.state for one in found} == {"ready"}
        again.snapshots.restore(found[0].id, None)
        if len(found) == 2:
            assert dump(again.database) == old
        again.close()
    assert sorted(set(counts)) == [1, 2]
    assert counts == sorted(counts)


def test_check_24_killed_at_any_step_of_deleting_a_snapshot_it_is_there_whole_or_not_at_all(place, tmp_path):
    snapshot = place.put_something_in()
    for photo in photograph_each_step(place, tmp_path, lambda: place.snapshots.delete(snapshot)):
        again = Place(photo)
        assert [one.state for one in again.snapshots.list()] in (["ready"], [])
        assert_tidy(photo)
        again.close()


class Failing:
    """Raises OSError on the call of a number, and counts all of them."""

    def __init__(self, place: int, error: int) -> None:
        self._place = place
        self._error = error
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self._place:
            raise OSError(self._error, os.strerror(self._error))


@contextmanager
def failing_steps(failing: Failing) -> Iterator[None]:
    with before_each_step(failing):
        yield


@contextmanager
def failing_syncs(failing: Failing) -> Iterator[None]:
    really_sync = os.fsync

    def sync(descriptor: int) -> None:
        failing()
        really_sync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        yield


@pytest.mark.parametrize(
    ("break_at", "error", "status"),
    [
        pytest.param(failing_steps, errno.ENOSPC, 507, marks=pytest.mark.ci),
        pytest.param(failing_steps, errno.EIO, 503, marks=pytest.mark.ci),
        pytest.param(failing_syncs, errno.EIO, 503, marks=pytest.mark.ci),
    ],
)
def test_check_24_whichever_step_or_fsync_of_a_restore_fails_nothing_is_mixed_and_a_restart_agrees(
    place, tmp_path, break_at, error, status
):
    """Each round fails one step further on, until a restore meets no failure any more."""
    snapshot = place.put_something_in()
    old = dump(place.database)
    place.close()
    for round_ in count(1):
        folder = tmp_path / str(round_)
        shutil.copytree(place.folder, folder)
        tried = Place(folder)
        failing = Failing(round_, error)
        refusals = []
        with break_at(failing):
            try:
                tried.snapshots.restore(snapshot, None)
            except Unavailable as exc:
                refusals.append(exc.status)
        now = dump(tried.database)
        if refusals:
            assert refusals == [status]
            assert now == old
        is_read_only = write_to_all(tried.database)
        tried.close()
        again = Place(folder)
        if is_read_only:  # the step failed by which the new ones count: the restart tells which do
            assert refusals
        else:
            remove_writes(again.database)
            assert dump(again.database) == now
        assert_tidy(folder)
        again.close()
        if failing.calls < round_:
            assert round_ > 20 if break_at is failing_steps else round_ > 10
            return


def write_to_all(database: Database) -> bool:
    """Write to every library; return whether they take no writes, which all of them do or none."""
    refused = []
    for library in database.list_libraries():
        try:
            fill(library, 77)
            refused.append(False)
        except ReadOnly:
            refused.append(True)
    assert len(set(refused)) == 1
    return refused[0]


def remove_writes(database: Database) -> None:
    for library in database.list_libraries():
        library.delete_chunk("chunk-77").result()


def test_a_journal_that_cannot_be_read_is_refused_by_name(place):
    place.put_something_in()
    place.close()
    (place.folder / "RESTORE").write_text('{"is_decided": tr')
    with pytest.raises(DataFolderRefused, match="RESTORE"):
        Database(place.folder)
    (place.folder / "RESTORE").unlink()
