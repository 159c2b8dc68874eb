"""Arrays in one file: numpy's npz, which is a zip with a CRC-32 of each array, and a JSON header beside them.

header   uint8 (n,)   JSON: {"kind": ..., "version": 1, ...}
<name>   any          one array each
"""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from vectordb.errors import IndexFileInvalid

_VERSION = 1


def write_arrays(path: Path, kind: str, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the arrays to `path`: to a file beside it first, fsynced, then renamed, then the folder fsynced."""
    full_header = orjson.dumps({**header, "kind": kind, "version": _VERSION})
    draft = path.with_name(path.name + ".draft")
    with draft.open("wb") as file:
        np.savez(file, allow_pickle=False, header=np.frombuffer(full_header, dtype=np.uint8), **arrays)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_arrays(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return (header, arrays) of `path`. Raises IndexFileInvalid when it is not whole or not of this kind."""
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        header = orjson.loads(arrays.pop("header").tobytes())
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as exc:
        raise IndexFileInvalid(f"{path.name} cannot be read as an index: {exc}") from exc
    if header.get("kind") != kind or header.get("version") != _VERSION:
        raise IndexFileInvalid(f"{path.name} holds no {kind} index of version {_VERSION}")
    return header, arrays
