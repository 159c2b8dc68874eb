"""Libraries: what is sent to make one, and what is told about it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from vectordb.schemas.arrays import MAX_DIMENSION
from vectordb.schemas.base import Id, Metadata, Metric, Name, RequestModel, ResponseModel

SERVED_INDEX_TYPES = ("flat",)
KNOWN_INDEX_TYPES = ("flat", "ivf", "hnsw")


def _check_name(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError("name_blank", "must not be blank")
    if "\0" in value:
        raise PydanticCustomError("name_nul", "must not hold a NUL character")
    return value


LibraryName = Annotated[Name, AfterValidator(_check_name)]


class IndexSpec(RequestModel):
    """Which index a library has: `flat`, which is exact, is the one that is served."""

    type: Literal["flat"]

    @model_validator(mode="before")
    @classmethod
    def name_what_is_not_served(cls, value: Any) -> Any:
        """Refuse a type that is known but not served with words of its own."""
        kind = value.get("type") if isinstance(value, dict) else None
        if kind in KNOWN_INDEX_TYPES and kind not in SERVED_INDEX_TYPES:
            raise PydanticCustomError("index_type", 'index type "{kind}" is not served yet; use "flat"', {"kind": kind})
        return value


class LibraryCreate(RequestModel):
    """POST /v1/libraries."""

    id: Id | None = None
    name: LibraryName
    metadata: Metadata = Field(default_factory=dict)
    dimension: Annotated[int, Field(ge=1, le=MAX_DIMENSION)]
    metric: Metric = "cosine"
    index: IndexSpec | None = None


class LibraryUpdate(RequestModel):
    """PATCH /v1/libraries/{library_id}: what is left out stays; metadata is replaced whole.

    `dimension` and `metric` may be sent and must be what they are: they never change.
    """

    name: LibraryName | None = None
    metadata: Metadata | None = None
    dimension: int | None = None
    metric: Metric | None = None


class LibraryStats(ResponseModel):
    """A library's size at the moment of the answer."""

    documents: int
    chunks: int
    bytes_on_disk: int
    bytes_in_memory: int
    index_state: Literal["building", "ready", "failed"]
    log_position: int
    read_only: bool = False


class IndexDescription(BaseModel):
    """The index of a library, with its parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str


class Library(ResponseModel):
    """A library as it is told."""

    id: str
    name: str
    metadata: dict[str, Any]
    dimension: int
    metric: Metric
    index: IndexDescription
    created_at: datetime
    updated_at: datetime
    stats: LibraryStats


class LibraryPage(ResponseModel):
    """One page of libraries, by id; `next_cursor` is null on the last one."""

    libraries: list[Library]
    next_cursor: str | None


class IndexStatus(ResponseModel):
    """How far the index is."""

    type: str
    state: Literal["building", "ready", "failed"]
    progress: float
    error: str | None
