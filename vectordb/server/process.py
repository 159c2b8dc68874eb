"""The server process: from settings to a graceful stop."""

import gc
import logging
import logging.config
import signal
import socket
import sys

import uvicorn

from vectordb.engine import Database, Snapshots
from vectordb.errors import DataFolderRefused
from vectordb.server.app import create_app
from vectordb.server.log_lines import describe_logging
from vectordb.server.metrics import ServerMetrics
from vectordb.server.settings import Settings
from vectordb.storage import SnapshotFolder

_log = logging.getLogger("vectordb")

_SWITCH_INTERVAL_S = 0.0005
"""Python's 5 ms between switches of threads would be the tail of every search beside a bulk write."""
_KEEP_ALIVE_S = 75
_GRACE_S = 20


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code. Writes that are under way are finished."""
    logging.config.dictConfig(describe_logging(settings.log_format, shows_texts=settings.log_texts))
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    metrics = ServerMetrics()
    try:
        database, snapshots = _open(settings, metrics)
    except DataFolderRefused as exc:
        _log.error("%s", exc.detail)
        return 1
    try:
        listener = _listen(settings.host, settings.port)
    except OSError as exc:
        _log.error("cannot listen on %s port %d: %s", settings.host, settings.port, exc.strerror)
        snapshots.close()
        database.close()
        return 1
    app = create_app(
        database,
        snapshots,
        metrics,
        api_keys=settings.api_keys,
        metrics_token=settings.metrics_token.get_secret_value() if settings.metrics_token else None,
        max_body_bytes=settings.max_body_bytes,
    )
    # What is loaded stays: to look through it for garbage, again and again, would be the tail of searches too.
    gc.collect()
    gc.freeze()
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
    )
    # uvicorn raises the signal that stopped it once more at the end: all is closed by then, and that is success.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    host, port = listener.getsockname()[:2]
    _log.info("serving %s on http://%s:%d", settings.data, f"[{host}]" if ":" in host else host, port)
    uvicorn.Server(config).run(sockets=[listener])
    _log.info("stopped")
    return 0


def _open(settings: Settings, metrics: ServerMetrics) -> tuple[Database, Snapshots]:
    database = Database(settings.data, max_queued_bytes=settings.max_queued_bytes, observer=metrics)
    try:
        folder = SnapshotFolder(settings.snapshots_dir or settings.data / "snapshots")
    except DataFolderRefused:
        database.close()
        raise
    return database, Snapshots(database, folder)


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(2_048)
    listener.set_inheritable(True)
    return listener
