"""The image's entry point: `python -m deploy.container ROLE [ARGUMENTS]`.

`secrets` makes what is missing of the secrets and ends. Every other role reads them from the folder that SECRETS_DIR
names, if it does, and becomes that role's process, so that signals reach it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deploy.container.roles import READY_FILES, UnknownRole, argv_of
from deploy.container.secrets import make_secrets, read_secrets

USAGE_ERROR = 2


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return USAGE_ERROR
    role, *rest = arguments
    if role == "secrets":
        return make(rest)
    environment = dict(os.environ)
    if folder := environ_folder(environment):
        environment = read_secrets(folder, environment)
    environment.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if role in READY_FILES:
        environment.setdefault("WORKER_READY_FILE", READY_FILES[role])
    try:
        argv = argv_of(role, rest, environment)
    except UnknownRole as error:
        print(error, file=sys.stderr)
        return USAGE_ERROR
    os.execvpe(argv[0], argv, environment)  # noqa: S606  # the very purpose: no process of ours stays between


def make(folders: list[str]) -> int:
    if len(folders) != 3:
        print("secrets: name three folders: the service's, PostgreSQL's and RabbitMQ's.", file=sys.stderr)
        return USAGE_ERROR
    try:
        is_new = make_secrets(*map(Path, folders))
    except OSError as error:
        print(f"secrets: {error.filename} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print("made the secrets" if is_new else "the secrets are there", flush=True)
    return 0


def environ_folder(environment: dict[str, str]) -> Path | None:
    return Path(environment["SECRETS_DIR"]) if environment.get("SECRETS_DIR") else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
