"""The application: routes over one `Database`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI

from vectordb.engine import Database, Snapshots
from vectordb.server import chunks, documents, health, libraries, search
from vectordb.server import metrics as metrics_calls
from vectordb.server import snapshots as snapshot_calls
from vectordb.server.access import RequireAPIKey
from vectordb.server.description import install_description
from vectordb.server.log_lines import LogRequests
from vectordb.server.metrics import MeasureRequests, ServerMetrics
from vectordb.server.problems import install_problem_handlers
from vectordb.server.routing import ServeHead, refuse_unknown_parameters
from vectordb.server.threads import Threads


def create_app(
    database: Database,
    snapshots: Snapshots,
    metrics: ServerMetrics,
    *,
    api_keys: Sequence[str],
    metrics_token: str | None,
    max_body_bytes: int,
) -> FastAPI:
    """Return the application over `database` and its snapshots; it closes both when it stops.

    Callers need one of `api_keys`, or none when there is none; for the metrics, `metrics_token` will do.
    """
    threads = Threads()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await threads.change(snapshots.close)
        await threads.change(database.close)
        threads.close()

    app = FastAPI(
        title="vectordb",
        version="1",
        description="Libraries of documents of chunks, and k-nearest-neighbour search over them.",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # its page would load scripts from a CDN; /openapi.json is there
        redoc_url=None,
        dependencies=[Depends(refuse_unknown_parameters)],
    )
    app.state.database = database
    app.state.snapshots = snapshots
    app.state.metrics = metrics
    app.state.threads = threads
    app.state.max_body_bytes = max_body_bytes
    rooms = (health, libraries, documents, chunks, search, snapshot_calls, metrics_calls)
    # The routers' own lists: included ones are kept behind a route that tells no methods.
    routes = [*app.routes, *(route for room in rooms for route in room.router.routes)]
    install_problem_handlers(app, routes)
    install_description(app, needs_key=bool(api_keys))
    if api_keys:
        app.add_middleware(RequireAPIKey, api_keys=api_keys, metrics_token=metrics_token)
    app.add_middleware(MeasureRequests, metrics=metrics)
    app.add_middleware(ServeHead)
    app.add_middleware(LogRequests)
    for room in rooms:
        app.include_router(room.router)
    return app
