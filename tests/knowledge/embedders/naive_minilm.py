"""The slow twin of the ONNX graph: one text at a time, no padding, plain numpy in float64."""

from __future__ import annotations

from math import erf

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from knowledge.embedders import model_files

HEADS = 12
HEAD_DIMENSION = 32


class NaiveMiniLM:
    def __init__(self) -> None:
        folder = model_files.find_wheel_files()
        self._weights = {
            name: array.astype(np.float64) for name, array in load_file(folder / "model.safetensors").items()
        }
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length=256)

    def embed(self, text: str) -> np.ndarray:
        token_ids = self._tokenizer.encode(text).ids
        hidden = self._weights["embeddings.word_embeddings.weight"][token_ids]
        hidden = hidden + self._weights["embeddings.position_embeddings.weight"][: len(token_ids)]
        hidden = hidden + self._weights["embeddings.token_type_embeddings.weight"][0]
        hidden = self._layer_norm("embeddings.LayerNorm", hidden)
        for layer in range(6):
            hidden = self._encode(f"encoder.layer.{layer}", hidden)
        mean = hidden.mean(axis=0)
        vector: np.ndarray = mean / np.sqrt((mean**2).sum())
        return vector

    def _encode(self, layer: str, hidden: np.ndarray) -> np.ndarray:
        query = self._dense(f"{layer}.attention.self.query", hidden)
        key = self._dense(f"{layer}.attention.self.key", hidden)
        value = self._dense(f"{layer}.attention.self.value", hidden)
        attended = np.empty_like(hidden)
        for head in range(HEADS):
            part = slice(head * HEAD_DIMENSION, (head + 1) * HEAD_DIMENSION)
            affinity = query[:, part] @ key[:, part].T / np.sqrt(HEAD_DIMENSION)
            shares = np.exp(affinity) / np.exp(affinity).sum(axis=1, keepdims=True)
            attended[:, part] = shares @ value[:, part]
        attended = self._dense(f"{layer}.attention.output.dense", attended)
        hidden = self._layer_norm(f"{layer}.attention.output.LayerNorm", attended + hidden)
        widened = self._dense(f"{layer}.intermediate.dense", hidden)
        gelu = widened * 0.5 * (1.0 + np.vectorize(erf)(widened / np.sqrt(2.0)))
        return self._layer_norm(f"{layer}.output.LayerNorm", self._dense(f"{layer}.output.dense", gelu) + hidden)

    def _dense(self, name: str, hidden: np.ndarray) -> np.ndarray:
        return hidden @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _layer_norm(self, name: str, hidden: np.ndarray) -> np.ndarray:
        centred = hidden - hidden.mean(axis=1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-12)
        scaled: np.ndarray = centred / spread
        return scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
