"""Resolves pyproject.toml into the pinned, hashed requirements files; `--upgrade` moves what is pinned already.

requirements-model.txt is not made here: its one package goes with the weights' hash in the code.
"""

from __future__ import annotations

import subprocess
import sys

from deploy.bootstrap.setup import HERE, ROOT, find_uv

STYLE = ["--generate-hashes", "--no-header", "--no-annotate", "--universal", "--python-version", "3.11", "--quiet"]
TARGETS = (
    (["pyproject.toml"], "requirements.txt"),
    (["pyproject.toml", "--extra", "dev", "--constraint", "requirements.txt"], "requirements-dev.txt"),
    ([str(HERE / "uv.in")], "deploy/bootstrap/requirements-uv.txt"),
)


def main(arguments: list[str]) -> int:
    uv = find_uv()
    if uv is None:
        print("uv, which resolves the locks, is not to be had.", file=sys.stderr)
        return 1
    for sources, output in TARGETS:
        command = [*uv, "pip", "compile", *sources, *STYLE, *arguments, "--output-file", output]
        if subprocess.call(command, cwd=ROOT) != 0:
            return 1
        print(f"{output} is up to date with its sources", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
