"""Libraries that take the place of others, all at once.

A file in the data folder, RESTORE, says which of two sets of folders counts while both are there:

    {"is_decided": false, "coming": [...], "going": []}       the old ones: what comes is deleted at the next start
    {"is_decided": true,  "coming": [...], "going": [...]}    the new ones: what goes is deleted at the next start

One rename puts the second in the place of the first. Killed at any step, the process leaves all of the old libraries or
all of the new ones, and the next start settles it. Names are those of folders below `libraries/`.
"""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError

from vectordb.errors import DataFolderRefused, StorageFailed, VectorDBError
from vectordb.storage.files import PRIVATE_FOLDER, retire_folder, sync_folder, translated_os_errors, write_file

_log = logging.getLogger(__name__)

_JOURNAL = "RESTORE"
_DRAFT = "RESTORE.draft"


class _Journal(BaseModel):
    is_decided: bool
    coming: list[str]
    going: list[str]


class Replacement:
    """One replacement, from the making of its folders to the end of what they replace.

        prepare   nothing has changed yet, and what fails can be abandoned
        commit    the new libraries count
        finish    what they replaced is out of the way

    These raise StorageFull and StorageFailed. `may_count`: whether the commit was begun.
    """

    def __init__(self, root: Path, folders: Sequence[Path]) -> None:
        """Make `folders`, empty; they do not count before `commit`."""
        self.folders = tuple(folders)
        self._root = root
        self.may_count = False
        if (root / _JOURNAL).exists():
            raise StorageFailed("an earlier restore has not come to its end; it will when the server is restarted")
        with translated_os_errors():
            self._draft(is_decided=False)
            (root / _DRAFT).rename(root / _JOURNAL)
            sync_folder(root)
        try:
            with translated_os_errors():
                for folder in folders:
                    folder.mkdir(mode=PRIVATE_FOLDER)
        except VectorDBError:
            self.abandon()
            raise

    def prepare(self, going: Sequence[Path]) -> None:
        """Write down what is to be replaced; the new folders are filled, and their files synced."""
        with translated_os_errors():
            for folder in self.folders:
                sync_folder(folder)
                sync_folder(folder.parent)
            self._draft(is_decided=True, going=going)

    def commit(self) -> None:
        """Let the new libraries count. When this raises, which of them count is known after a restart only."""
        self.may_count = True
        with translated_os_errors():
            (self._root / _DRAFT).rename(self._root / _JOURNAL)
            sync_folder(self._root)

    def abandon(self) -> None:
        """Delete the new folders, unless they may count already. Never raises: the next start does what is left."""
        if self.may_count:
            return
        try:
            for path in self.finish([folder for folder in self.folders if folder.exists()]):
                shutil.rmtree(path, ignore_errors=True)
        except VectorDBError as exc:
            _log.error("what was prepared of a restore is deleted at the next start only: %s", exc)

    def finish(self, going: Sequence[Path]) -> list[Path]:
        """Take those that do not count out of the libraries; return where they wait to be erased."""
        with translated_os_errors():
            trash = [retire_folder(folder) for folder in going]
            for folder in {path.parent for path in trash}:
                sync_folder(folder)
            self._forget()
        return trash

    def _draft(self, *, is_decided: bool, going: Sequence[Path] = ()) -> None:
        journal = _Journal(
            is_decided=is_decided,
            coming=[folder.name for folder in self.folders],
            going=[folder.name for folder in going],
        )
        (self._root / _DRAFT).unlink(missing_ok=True)
        write_file(self._root / _DRAFT, journal.model_dump_json().encode())

    def _forget(self) -> None:
        (self._root / _JOURNAL).unlink()
        sync_folder(self._root)


def settle_replacement(root: Path, libraries: Path) -> None:
    """Bring a replacement that a crash interrupted to one of its two ends. Raises OSError, DataFolderRefused."""
    (root / _DRAFT).unlink(missing_ok=True)
    path = root / _JOURNAL
    if not path.exists():
        return
    try:
        journal = _Journal.model_validate_json(path.read_bytes())
    except ValidationError as exc:
        raise DataFolderRefused(f"{path}, which says which libraries of a restore count, cannot be read") from exc
    for name in journal.going if journal.is_decided else journal.coming:
        folder = libraries / name
        if folder.exists():
            retire_folder(folder)
    sync_folder(libraries)
    path.unlink()
    sync_folder(root)
