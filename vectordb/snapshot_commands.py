"""`python -m vectordb snapshots …`: the calls on snapshots, from a shell."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vectordb.client import Client
    from vectordb.schemas import Snapshot

_DEFAULT_URL = "http://127.0.0.1:8003"


def add_commands(commands: Any) -> None:
    """Add `snapshots` to the command line."""
    parser = commands.add_parser(
        "snapshots",
        help="make, list, restore, delete, download and upload snapshots of a server that runs",
        description="Calls a server that runs. Its API key is taken from the environment: VECTORDB_API_KEY.",
    )
    parser.add_argument("--url", default=os.environ.get("VECTORDB_URL") or _DEFAULT_URL, help="(VECTORDB_URL)")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("create", help="make one of every library, and print its id")
    actions.add_parser("list", help="newest first")
    restore = actions.add_parser("restore", help="put the whole database back, or some of its libraries")
    restore.add_argument("id")
    restore.add_argument("--library", action="append", metavar="ID", help="only this one; may be given several times")
    actions.add_parser("delete", help="delete one").add_argument("id")
    download = actions.add_parser("download", help="write one into a new folder")
    download.add_argument("id")
    download.add_argument("folder", type=Path)
    actions.add_parser("upload", help="bring one that was downloaded").add_argument("folder", type=Path)


def run(arguments: argparse.Namespace) -> int:
    """Carry out what `add_commands` parsed; return the exit code."""
    # Heavy imports wait until the command line is understood.
    from vectordb.client import Client, VectorDBError

    with Client(arguments.url, api_key=os.environ.get("VECTORDB_API_KEY")) as client:
        try:
            for line in _carry_out(client, arguments):
                print(line)  # noqa: T201
        except (VectorDBError, OSError) as exc:
            print(f"vectordb: {exc}", file=sys.stderr)  # noqa: T201
            return 1
    return 0


def _carry_out(client: Client, arguments: argparse.Namespace) -> Iterator[str]:
    match arguments.action:
        case "create":
            yield client.snapshots.create().id
        case "list":
            yield from (_tell(snapshot) for snapshot in client.snapshots.iterate())
        case "restore":
            done = client.snapshots.restore(arguments.id, libraries=arguments.library)
            yield from (f"restored {library.id}" for library in done.restored)
            yield from (f"deleted {library_id}" for library_id in done.deleted)
        case "delete":
            client.snapshots.delete(arguments.id)
        case "download":
            arguments.folder.mkdir(mode=0o700)
            client.snapshots.download(arguments.id, arguments.folder)
        case "upload":
            yield client.snapshots.upload(arguments.folder).id


def _tell(snapshot: Snapshot) -> str:
    chunks = sum(copy.chunks for copy in snapshot.libraries)
    holds = f"{len(snapshot.libraries)} libraries, {chunks} chunks, {snapshot.size_bytes} bytes"
    return f"{snapshot.id}  {snapshot.created_at:%Y-%m-%d %H:%M:%S}  {snapshot.state}  {holds}"
