"""Calls on snapshots."""

from functools import partial

from fastapi import APIRouter, Request, Response
from starlette.responses import FileResponse

from vectordb import schemas
from vectordb.errors import FieldError, Invalid
from vectordb.server.description import gives, gives_a_file, takes
from vectordb.server.exchange import (
    answer,
    answer_nothing,
    answer_page,
    decode_cursor,
    read_body,
    read_optional_body,
    show_snapshot,
    snapshots_of,
    threads_of,
)
from vectordb.server.libraries import Limit, PageCursor

router = APIRouter(prefix="/v1/snapshots", tags=["snapshots"])

_JSON, _SQLITE = "application/json", "application/vnd.sqlite3"  # said, not guessed: systems know different types


@router.post("", openapi_extra=takes(schemas.SnapshotCreate, is_required=False), **gives(schemas.Snapshot, 201))
async def create_snapshot(request: Request) -> Response:
    """Copy every library, while reads and writes go on; answered when the copy is whole and durable."""
    await read_optional_body(request, schemas.SnapshotCreate)
    return answer(show_snapshot(await threads_of(request).change(snapshots_of(request).create)), 201)


@router.get("", **gives(schemas.SnapshotPage))
async def list_snapshots(request: Request, limit: Limit = 100, cursor: PageCursor = None) -> Response:
    """One page of snapshots, newest first."""
    before = decode_cursor(cursor)

    def read() -> Response:
        found = [one for one in snapshots_of(request).list() if before is None or _place(one) < before]
        return answer_page("snapshots", found[: limit + 1], limit, show_snapshot, _place)

    return await threads_of(request).read(read)


@router.get("/{snapshot_id}", **gives(schemas.Snapshot))
async def get_snapshot(request: Request, snapshot_id: str) -> Response:
    """One snapshot."""
    return answer(show_snapshot(await threads_of(request).read(lambda: snapshots_of(request).get(snapshot_id))))


@router.get("/{snapshot_id}/files/{name}", **gives_a_file(_JSON, _SQLITE))
async def download_file(request: Request, snapshot_id: str, name: str) -> Response:
    """One file of a snapshot: `manifest.json`, or one that the manifest names."""
    media_type = _JSON if name == schemas.MANIFEST_FILE else _SQLITE
    return FileResponse(snapshots_of(request).find_file(snapshot_id, name), media_type=media_type)


@router.put("/{snapshot_id}/files/{name}", **gives(None, 204))
async def upload_file(request: Request, snapshot_id: str, name: str) -> Response:
    """Bring one file of a snapshot from elsewhere; PUT of its manifest follows the last one."""
    threads = threads_of(request)
    with snapshots_of(request).incoming_file(snapshot_id, name) as file:
        async for part in request.stream():
            await threads.write(partial(file.write, part))
    return answer_nothing()


@router.put("/{snapshot_id}", openapi_extra=takes(schemas.Manifest), **gives(schemas.Snapshot, 201))
async def complete_snapshot(request: Request, snapshot_id: str) -> Response:
    """Take a snapshot for whole whose files were brought, by its manifest; 409 when one is missing or another."""
    manifest = await read_body(request, schemas.Manifest, is_write=True)
    if manifest.id != snapshot_id:
        errors = [FieldError("invalid", "is another snapshot's", "id")]
        raise Invalid("the manifest is another snapshot's", errors=errors)
    return answer(
        show_snapshot(await threads_of(request).change(lambda: snapshots_of(request).complete(manifest))), 201
    )


@router.delete("/{snapshot_id}", **gives(None, 204))
async def delete_snapshot(request: Request, snapshot_id: str) -> Response:
    """Delete a snapshot."""
    await threads_of(request).change(lambda: snapshots_of(request).delete(snapshot_id))
    return answer_nothing()


@router.post(
    "/{snapshot_id}/restore",
    openapi_extra=takes(schemas.SnapshotRestore, is_required=False),
    **gives(schemas.SnapshotRestored),
)
async def restore_snapshot(request: Request, snapshot_id: str) -> Response:
    """Put the whole database, or the `libraries` named, back to what the snapshot holds; 409 when it is damaged."""
    wanted = await read_optional_body(request, schemas.SnapshotRestore)
    done = await threads_of(request).change(lambda: snapshots_of(request).restore(snapshot_id, wanted.libraries))
    restored = [{"id": key, "log_position": position} for key, position in sorted(done.log_positions.items())]
    return answer({"restored": restored, "deleted": done.deleted})


def _place(snapshot: schemas.Snapshot) -> str:
    return f"{snapshot.created_at.isoformat(timespec='microseconds')} {snapshot.id}"
