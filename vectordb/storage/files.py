"""Files and folders that are there whole or not at all: the steps that everything durable is made of.

    <name>          there for good
    .new-<name>     being made: what a crash leaves of it is swept at start
    .trash-<name>   being deleted: likewise

A folder comes and goes by one rename, followed by an fsync of the folder that holds its name.
"""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from vectordb.errors import DataFolderRefused, StorageFailed, StorageFull

PRIVATE_FOLDER = 0o700
_PRIVATE_FILE = 0o600
_NEW = ".new-"
_TRASH = ".trash-"
_PIECE_BYTES = 1024 * 1024


# Folders. All of these raise OSError, but where they say otherwise.


def lock_folder(path: Path) -> int:
    """Take a folder for this process; return the descriptor that holds it until it is closed.

    Raises DataFolderRefused when another process has it.
    """
    descriptor = os.open(path / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(descriptor)
        raise DataFolderRefused(f"the folder {path} is in use by another vectordb process") from exc
    return descriptor


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def draft_of(parent: Path, name: str) -> Path:
    """Return the folder that a folder is made in before it is `parent / name`."""
    return parent / (_NEW + name)


def publish_draft(parent: Path, name: str) -> None:
    """Let a folder whose files are synced be there, for good."""
    sync_folder(draft_of(parent, name))
    draft_of(parent, name).rename(parent / name)
    sync_folder(parent)


@contextmanager
def new_folder(parent: Path, name: str) -> Iterator[Path]:
    """Give a draft to be filled: it is `parent / name`, for good, when the block ends, and gone when it raises."""
    draft = draft_of(parent, name)
    draft.mkdir(mode=PRIVATE_FOLDER)
    try:
        yield draft
        publish_draft(parent, name)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def retire_folder(path: Path) -> Path:
    """Take a folder's name away; return where it waits for `erase_folder`. When this raises, it is where it was."""
    trash = path.with_name(_TRASH + path.name)
    path.rename(trash)
    return trash


def erase_folder(trash: Path) -> None:
    """Delete a retired folder for good."""
    sync_folder(trash.parent)
    shutil.rmtree(trash)
    sync_folder(trash.parent)


def sweep_folder(parent: Path) -> None:
    """Delete what a crash left of folders that were being made or deleted."""
    for path in parent.iterdir():
        if path.name.startswith((_NEW, _TRASH)):
            shutil.rmtree(path)


# Files. All of these raise OSError.


def write_file(path: Path, content: bytes) -> None:
    """Write a new private file, durably; its name is durable when its folder is synced."""
    with open(path, "xb", opener=_open_privately) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def copy_file(source: Path, target: Path) -> str:
    """Copy to a new private file, durably; return the SHA-256 (hex) of exactly the bytes that were written."""
    digest = hashlib.sha256()
    with source.open("rb") as read, open(target, "xb", opener=_open_privately) as written:
        while piece := read.read(_PIECE_BYTES):
            digest.update(piece)
            written.write(piece)
        written.flush()
        os.fsync(written.fileno())
    return digest.hexdigest()


def open_new_file(path: Path) -> BinaryIO:
    """Open a private file for writing, empty whatever it was."""
    return open(path, "wb", opener=_open_privately)


def sync_file(path: Path) -> None:
    """Make a file's content durable. Not for one that SQLite has open: closing it would drop SQLite's locks."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def hash_file(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def translated_os_errors() -> Iterator[None]:
    """Turn the file system's errors into ours."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("the disk is full") from exc
        raise StorageFailed(f"the data folder failed: {exc.strerror}") from exc


def _open_privately(path: str, flags: int) -> int:
    return os.open(path, flags, _PRIVATE_FILE)
