"""Everything that this package raises on purpose.

VectorDBError
├── Invalid             422  the request says something that cannot be
│   └── Malformed       400  the body is no JSON
├── Unauthorized        401  the API key is missing or wrong
├── NotFound            404
├── Conflict            409  an id or a name is taken, or a dimension differs
│   └── SnapshotDamaged 409  a snapshot is not what was written: it cannot be restored
├── TooLarge            413
├── UnsupportedMedia    415
├── Unavailable         503  not now: down, busy, out of reach; `retry_after_s` says when to ask again
│   ├── ReadOnly        503  storage failed once: no write is taken until a restart
│   ├── StorageFailed   503  the disk or the database file answered with an error
│   └── StorageFull     507
├── DataFolderRefused        the data folder cannot be used: locked by another process, unreadable, of another version
└── IndexFileInvalid         a saved index cannot be read back

The server turns those that bear a status into RFC 9457 problems; the client turns problems back into them.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with a request: `attr` is the dotted way to the field, as in `chunks.3.embedding`."""

    code: str
    detail: str
    attr: str


class VectorDBError(Exception):
    """Something that the vector database could not do."""

    status: int = 500
    title: str = "Internal error"

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = (), status: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        if status is not None:
            self.status = status


class Invalid(VectorDBError):
    """The request is understood and cannot be served as it stands."""

    status = 422
    title = "Invalid request"


class Malformed(Invalid):
    """The body is not JSON."""

    status = 400
    title = "Malformed JSON"


class Unauthorized(VectorDBError):
    """The API key is missing or wrong."""

    status = 401
    title = "Unauthorized"


class NotFound(VectorDBError):
    """There is no such thing."""

    status = 404
    title = "Not found"


class Conflict(VectorDBError):
    """What is asked for contradicts what is there."""

    status = 409
    title = "Conflict"


class SnapshotDamaged(Conflict):
    """A snapshot is not what was written, or not whole: nothing is restored from it."""

    title = "Snapshot damaged"


class TooLarge(VectorDBError):
    """The body is larger than this server takes."""

    status = 413
    title = "Body too large"


class UnsupportedMedia(VectorDBError):
    """The body is declared as something other than JSON."""

    status = 415
    title = "Unsupported media type"


class Unavailable(VectorDBError):
    """Not now; the same request may succeed later."""

    status = 503
    title = "Unavailable"

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        status: int | None = None,
        retry_after_s: int = 1,
    ) -> None:
        super().__init__(detail, errors=errors, status=status)
        self.retry_after_s = retry_after_s


class ReadOnly(Unavailable):
    """Storage failed, so that the fate of a write is unknown: the library takes no more of them until a restart."""

    title = "Read-only until restart"


class StorageFailed(Unavailable):
    """The disk or the database file answered with an error."""

    title = "Storage failed"


class StorageFull(Unavailable):
    """The disk is full; nothing of the write was kept."""

    status = 507
    title = "Storage full"


class DataFolderRefused(VectorDBError):
    """The data folder cannot be used by this process."""

    title = "Data folder refused"


class IndexFileInvalid(VectorDBError):
    """A saved index cannot be read back: rebuild it from the database."""

    title = "Index file invalid"
