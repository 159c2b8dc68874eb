"""Snapshots: what they hold, and what is told about restoring one."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from vectordb.schemas.base import Id, Metric, RequestModel, ResponseModel

MANIFEST_FORMAT = 1
MANIFEST_FILE = "manifest.json"
SNAPSHOT_ID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
COPY_FILE = r"[0-9]{6}\.sqlite3"


class LibraryCopy(BaseModel):
    """One library in a snapshot, as it was at `log_position`."""

    model_config = ConfigDict(frozen=True)

    id: Id
    name: str
    dimension: int
    metric: Metric
    log_position: int
    documents: int
    chunks: int
    file: Annotated[str, Field(pattern=f"^{COPY_FILE}$")]
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(BaseModel):
    """What is written beside the files of a snapshot. `schema_version` is that of their tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    id: Annotated[str, Field(pattern=f"^{SNAPSHOT_ID}$")]
    created_at: datetime
    schema_version: int
    sqlite_version: str
    libraries: tuple[LibraryCopy, ...]

    @field_validator("libraries")
    @classmethod
    def name_each_library_once(cls, value: tuple[LibraryCopy, ...]) -> tuple[LibraryCopy, ...]:
        """Refuse an id, a name or a file that stands there twice."""
        for told in ("id", "name", "file"):
            if len({getattr(copy, told) for copy in value}) != len(value):
                raise PydanticCustomError("twice", "has one {told} twice", {"told": told})
        return value

    @property
    def files(self) -> set[str]:
        """The names of all files but the manifest's own."""
        return {copy.file for copy in self.libraries}

    @property
    def size_bytes(self) -> int:
        """The bytes of those files together."""
        return sum(copy.size_bytes for copy in self.libraries)


class Snapshot(ResponseModel):
    """A snapshot as it is told. Of a damaged one only the id is known, and since when its folder is there."""

    id: str
    state: Literal["ready", "damaged"]
    created_at: datetime
    size_bytes: int
    libraries: tuple[LibraryCopy, ...]


class SnapshotPage(ResponseModel):
    """One page of snapshots, newest first; `next_cursor` is null on the last one."""

    snapshots: list[Snapshot]
    next_cursor: str | None


class SnapshotCreate(RequestModel):
    """POST /v1/snapshots, which may do without a body."""


class SnapshotRestore(RequestModel):
    """POST /v1/snapshots/{snapshot_id}/restore, which may do without a body.

    Without `libraries` the database becomes what the snapshot holds: a library that is not in it is deleted. With
    them, those alone are put back, and every other one stays as it is.
    """

    libraries: Annotated[list[Id] | None, Field(min_length=1)] = None


class RestoredLibrary(ResponseModel):
    """A library that was put back; its log goes on beyond what it was, and beyond what the snapshot holds."""

    id: str
    log_position: int


class SnapshotRestored(ResponseModel):
    """What a restore changed, by ids; `deleted` ones were not in the snapshot."""

    restored: list[RestoredLibrary]
    deleted: list[str]
