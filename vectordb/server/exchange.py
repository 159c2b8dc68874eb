"""How a body is read and an answer written: one validation, one serialisation."""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from vectordb.engine import Database, Hit, Library, Snapshots
from vectordb.engine.clock import tell_time
from vectordb.engine.library import Stats
from vectordb.errors import FieldError, Invalid, TooLarge, UnsupportedMedia
from vectordb.schemas import Snapshot
from vectordb.server.threads import Threads
from vectordb.storage import ChunkRow, DocumentRow, LibraryRow

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R")

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Results and pages end here: the size of an answer is not left to what happens to be stored."""
_LONG_BODY_BYTES = 64 * 1024
LOG_POSITION_HEADER = "X-Log-Position"


def database_of(request: Request) -> Database:
    """Return the database that the application serves."""
    database: Database = request.app.state.database
    return database


def library_of(request: Request) -> Library:
    """Return the library that the path names. Raises NotFound."""
    return database_of(request).get_library(request.path_params["library_id"])


def snapshots_of(request: Request) -> Snapshots:
    """Return the snapshots of that database."""
    snapshots: Snapshots = request.app.state.snapshots
    return snapshots


def threads_of(request: Request) -> Threads:
    """Return the threads that the application carries long work on."""
    threads: Threads = request.app.state.threads
    return threads


async def read_body(request: Request, model: type[M], *, is_write: bool = False) -> M:
    """Return the body as `model`; a long one is read on a thread: of those for writes when it `is_write`.

    Raises ValidationError, TooLarge, UnsupportedMedia.
    JSON has to be declared as such: a browser asks before it sends that across origins.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != "application/json":
        raise UnsupportedMedia("the body must be declared as Content-Type: application/json")
    body = await _read_bytes(request, request.app.state.max_body_bytes)
    if len(body) <= _LONG_BODY_BYTES:
        return model.model_validate_json(body)
    threads = threads_of(request)
    return await (threads.write if is_write else threads.read)(lambda: model.model_validate_json(body))


async def read_optional_body(request: Request, model: type[M]) -> M:
    """Return the body as `model`, or what that is without a word when there is none.

    Raises as `read_body` does; also for a call without a body that a web page makes: browsers ask nobody before.
    """
    is_empty = request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers
    if is_empty and "origin" not in request.headers:
        return model()
    return await read_body(request, model)


def is_long(request: Request) -> bool:
    """Whether the body is so long, or of a length not told, that work on it would hold the event loop up."""
    return int(request.headers.get("content-length", _LONG_BODY_BYTES + 1)) > _LONG_BODY_BYTES


async def _read_bytes(request: Request, limit: int) -> bytes:
    too_large = TooLarge(f"the body is larger than {limit} bytes")
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > limit:
        raise too_large
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def answer(content: Any, status: int = 200, *, log_position: int | None = None) -> Response:
    """Return `content` as JSON; numpy arrays become lists of numbers."""
    headers = {} if log_position is None else {LOG_POSITION_HEADER: str(log_position)}
    return Response(_dump(content), status, headers, "application/json")


def answer_page(
    name: str, rows: Sequence[R], limit: int, show: Callable[[R], dict[str, Any]], place: Callable[[R], str]
) -> Response:
    """Return up to `limit` of `rows` as JSON, fewer when they are large (but one), and the cursor behind the last.

    `rows` that are left over say that there is a following page; `place` gives what its cursor holds.
    """
    shown: list[orjson.Fragment] = []
    size = 0
    for row in rows[:limit]:
        piece = _dump(show(row))
        size += len(piece) + 1
        if shown and size > MAX_ANSWER_BYTES:
            break
        shown.append(orjson.Fragment(piece))
    following = encode_cursor(place(rows[len(shown) - 1])) if len(rows) > len(shown) else None
    return answer({name: shown, "next_cursor": following})


def show_hits(found: Iterable[list[Hit]]) -> list[list[orjson.Fragment]]:
    """Return the results of each query as JSON. Raises Invalid as soon as they are beyond MAX_ANSWER_BYTES."""
    left = MAX_ANSWER_BYTES
    shown: list[list[orjson.Fragment]] = []
    for hits in found:
        pieces: list[orjson.Fragment] = []
        for hit in hits:
            piece = _dump(_show_hit(hit))
            left -= len(piece) + 1
            if left < 0:
                raise Invalid(f"the results are larger than {MAX_ANSWER_BYTES} bytes: ask for fewer results")
            pieces.append(orjson.Fragment(piece))
        shown.append(pieces)
    return shown


def _dump(content: Any) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def answer_nothing(*, log_position: int | None = None) -> Response:
    """Return 204."""
    return Response(status_code=204, headers={} if log_position is None else {LOG_POSITION_HEADER: str(log_position)})


def encode_cursor(place: str) -> str:
    """Return an opaque cursor."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> str | None:
    """Return what `encode_cursor` was given. Raises Invalid."""
    if cursor is None:
        return None
    if not cursor:
        raise refuse_parameter("cursor", "is empty: leave it out for the first page")
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as exc:
        raise refuse_parameter("cursor", "is none that this server gave") from exc


def decode_number_cursor(cursor: str | None) -> int:
    """Return the number after which a page begins. Raises Invalid."""
    place = decode_cursor(cursor)
    if place is None:
        return 0
    if not place.isascii() or not place.isdigit() or len(place) > 18:
        raise refuse_parameter("cursor", "is none that this server gave")
    return int(place)


def refuse_parameter(name: str, detail: str) -> Invalid:
    """Return the error that names a query parameter."""
    return Invalid(f"{name}: {detail}", errors=[FieldError("invalid", detail, name)])


def show_library(row: LibraryRow, stats: Stats) -> dict[str, Any]:
    """Return a library as it is told."""
    return {
        "id": row.id,
        "name": row.name,
        "metadata": orjson.Fragment(row.metadata),
        "dimension": row.dimension,
        "metric": row.metric,
        "index": {"type": "flat"},
        "created_at": tell_time(row.created_at),
        "updated_at": tell_time(row.updated_at),
        "stats": {
            "documents": stats.documents,
            "chunks": stats.chunks,
            "bytes_on_disk": stats.bytes_on_disk,
            "bytes_in_memory": stats.bytes_in_memory,
            "index_state": "ready",
            "log_position": stats.log_position,
            "read_only": stats.read_only,
        },
    }


def show_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot as it is told."""
    return snapshot.model_dump(mode="json")


def show_document(row: DocumentRow) -> dict[str, Any]:
    """Return a document as it is told."""
    return {
        "id": row.id,
        "name": row.name,
        "metadata": orjson.Fragment(row.metadata),
        "chunk_count": row.chunk_count,
        "created_at": tell_time(row.created_at),
        "updated_at": tell_time(row.updated_at),
    }


def show_chunk(row: ChunkRow) -> dict[str, Any]:
    """Return a chunk as it is told."""
    shown = _show_found(row)
    shown["created_at"] = tell_time(row.created_at)
    shown["updated_at"] = tell_time(row.updated_at)
    return shown


def _show_hit(hit: Hit) -> dict[str, Any]:
    """Return a result as it is told."""
    shown: dict[str, Any] = {"chunk": _show_found(hit.chunk), "score": hit.score}
    if hit.scores is not None:
        shown["scores"] = hit.scores
    return shown


def _show_found(row: ChunkRow) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": row.id,
        "document_id": row.document_id,
        "text": row.text,
        "metadata": orjson.Fragment(row.metadata),
    }
    if row.embedding is not None:
        shown["embedding"] = row.embedding
    return shown
