"""`python -m vectordb serve --data DIR`, and `python -m vectordb snapshots …` beside it."""

import argparse
import ipaddress
import sys
from typing import Any

from vectordb import snapshot_commands

_USAGE_ERROR = 2


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code: 2 when it, or a setting, is not understood."""
    parser = argparse.ArgumentParser(prog="python -m vectordb", description="A vector database.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_serve(commands)
    snapshot_commands.add_commands(commands)
    parsed = parser.parse_args(arguments)
    return _serve(parsed) if parsed.command == "serve" else snapshot_commands.run(parsed)


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser(
        "serve",
        help="serve a data folder over HTTP",
        description="Serve a data folder over HTTP. An API key is taken from the environment: VECTORDB_API_KEY.",
    )
    serve.add_argument("--data", metavar="DIR", help="the data folder; made when it is not there (VECTORDB_DATA)")
    serve.add_argument("--snapshots-dir", metavar="DIR", help="(VECTORDB_SNAPSHOTS_DIR; default snapshots in --data)")
    serve.add_argument("--host", help="the address to listen on (VECTORDB_HOST; default 127.0.0.1)")
    serve.add_argument("--port", help="the port; 0 takes a free one (VECTORDB_PORT; default 8003)")
    serve.add_argument("--max-body-bytes", help="larger bodies get 413 (VECTORDB_MAX_BODY_BYTES; default 128 MiB)")
    serve.add_argument(
        "--max-queued-bytes",
        help="when the writes that wait for a library keep more memory, further ones get 503"
        " (VECTORDB_MAX_QUEUED_BYTES; default 256 MiB)",
    )
    serve.add_argument("--log-format", help="line (for people; the default) or json (VECTORDB_LOG_FORMAT)")
    serve.add_argument("--insecure", action="store_true", help="allow an address beyond loopback without an API key")


def _serve(arguments: argparse.Namespace) -> int:
    # Heavy imports wait until the command line is understood.
    from pydantic import ValidationError

    from vectordb.server.settings import Settings

    named = ("data", "snapshots_dir", "host", "port", "max_body_bytes", "max_queued_bytes", "log_format")
    given = {name: getattr(arguments, name) for name in named if getattr(arguments, name) is not None}
    try:
        settings = Settings(**given)
    except ValidationError as exc:
        for error in exc.errors(include_input=False, include_context=False, include_url=False):
            if not error["loc"]:  # two settings that do not go together
                print(f"vectordb: {error['msg']}", file=sys.stderr)  # noqa: T201
                continue
            name = str(error["loc"][0])
            variable = f"VECTORDB_{name.upper()}"
            # A secret has no flag: others could read it in the list of processes.
            told = f"--{name.replace('_', '-')} ({variable})" if name in named else variable
            print(f"vectordb: {told}: {error['msg']}", file=sys.stderr)  # noqa: T201
        return _USAGE_ERROR
    if settings.api_key is None and not arguments.insecure and not _is_loopback(settings.host):
        print(  # noqa: T201
            f"vectordb: refusing to listen on {settings.host} without an API key: set VECTORDB_API_KEY (or --insecure)",
            file=sys.stderr,
        )
        return _USAGE_ERROR

    from vectordb.server.process import serve

    return serve(settings)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
