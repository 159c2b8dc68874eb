"""`python -m deploy.local run`: the whole service. `python -m deploy.local exec COMMAND…`: one command beside it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.local.errors import CommandNotStarted, LocalStackError, StopRequested
from deploy.local.runner import execute, run

ROOT = Path(__file__).resolve().parent.parent.parent


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """The exit code. `root` is the checkout."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="bring up the service, and what the environment does not name")
    exec_parser = commands.add_parser("exec", help="run a command with the service's environment")
    exec_parser.add_argument("--with-vectordb", action="store_true", help="bring vectordb up for it, too")
    exec_parser.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    parsed = parser.parse_args(arguments)
    try:
        if parsed.command == "exec":
            argv = parsed.argv[1:] if parsed.argv[:1] == ["--"] else parsed.argv
            if not argv:
                exec_parser.error("name the command to run, as in: exec python manage.py check")
            return execute(root, os.environ, argv, with_vectordb=parsed.with_vectordb)
        run(root, os.environ)
    except (StopRequested, KeyboardInterrupt):
        return 0
    except CommandNotStarted as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except LocalStackError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
