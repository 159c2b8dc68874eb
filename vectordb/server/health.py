"""Whether the process is up, and whether it can serve."""

from fastapi import APIRouter, Request, Response

from vectordb.server.exchange import answer, database_of

router = APIRouter(tags=["health"])


@router.get("/healthz", response_model=None)
async def healthz() -> Response:
    """The process is up."""
    return answer({"status": "ok"})


@router.get("/readyz", response_model=None)
async def readyz(request: Request) -> Response:
    """The libraries are open; those that take no more writes are counted: anyone may ask, so no id is told."""
    read_only = sum(library.is_read_only for library in database_of(request).list_libraries())
    if read_only:
        return answer({"status": "degraded", "read_only": read_only})
    return answer({"status": "ready"})
