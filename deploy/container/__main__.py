"""The image's entry point: `python -m deploy.container ROLE [ARGUMENTS]`, in the image `parley ROLE [ARGUMENTS]`.

`secrets` makes what is missing of the secrets and ends; `secrets rotate KIND` makes one anew, and `secrets forget KIND`
lets its former self count no longer. Every other role reads them from the folder that SECRETS_DIR names, if it does,
and becomes that role's process, so that signals reach it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deploy.container.roles import READY_FILES, UnknownRole, argv_of
from deploy.container.rotation import KINDS, forget_former, rotate
from deploy.container.secrets import FOLDERS, hold, make_secrets, read_secrets

USAGE_ERROR = 2
SECRETS = Path("/secrets")


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return USAGE_ERROR
    role, *rest = arguments
    if role == "secrets":
        return change_secrets(rest)
    try:
        environment = read_environment(os.environ)
        argv = argv_of(role, rest, environment)
    except UnknownRole as error:
        print(error, file=sys.stderr)
        return USAGE_ERROR
    except OSError as error:
        print(f"The secrets cannot be read: {error}", file=sys.stderr)
        return 1
    if role in READY_FILES:
        environment.setdefault("WORKER_READY_FILE", READY_FILES[role])
        Path(environment["WORKER_READY_FILE"]).unlink(missing_ok=True)
    sys.stdout.flush()
    return os.execvpe(argv[0], argv, environment)  # noqa: S606  # no process of ours stays between


def change_secrets(arguments: list[str]) -> int:
    match arguments:
        case []:
            return make(SECRETS)
        case [folder]:
            return make(Path(folder))
        case ["rotate" | "forget" as action, kind, *rest] if kind in KINDS and len(rest) <= 1:
            change = rotate if action == "rotate" else forget_former
            place = Path(rest[0]) if rest else SECRETS
            try:
                with hold(place):
                    change(place, KINDS[kind])
            except OSError as error:
                print(f"secrets: {error}", file=sys.stderr)
                return 1
            return 0
    print(f"secrets: rotate KIND or forget KIND, and the kinds are {', '.join(KINDS)}.", file=sys.stderr)
    return USAGE_ERROR


def make(folder: Path) -> int:
    try:
        with hold(folder):
            is_new = make_secrets(folder)
    except OSError as error:
        print(f"secrets: {error}. {folder} must have {', '.join(FOLDERS)}, writable.", file=sys.stderr)
        return 1
    print("made the secrets" if is_new else "the secrets are there", flush=True)
    return 0


def read_environment(environ: os._Environ[str]) -> dict[str, str]:
    """With the secrets, where there is a folder of them. Raises OSError."""
    environment = dict(environ)
    if folder := environment.get("SECRETS_DIR"):
        environment = read_secrets(Path(folder), environment)
    return {"DJANGO_SETTINGS_MODULE": "config.settings", **environment}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
