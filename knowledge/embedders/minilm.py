"""all-MiniLM-L6-v2 on onnxruntime, in float32, on this machine's CPU."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from knowledge.embedders import model_files
from knowledge.embedders.characters import replace_lone_surrogates
from knowledge.errors import ModelFilesInvalid

logger = logging.getLogger(__name__)

DIMENSION = 384
# What the model was trained with: tokens beyond these are cut. A chunk of 1,000 characters of English has about 230.
MAX_TOKENS = 256
# Measured best on one core: larger batches leave the cache, smaller ones repeat the overhead of a call.
BATCH_TOKENS = 1024
# Of 30 questions to a documentation, this best cosine let 20 of 20 answerable ones pass and refused 9 of 10 others.
RELEVANCE_THRESHOLD = 0.56


@dataclass(frozen=True, slots=True)
class _Model:
    session: onnxruntime.InferenceSession
    tokenizer: Tokenizer


class MiniLMEmbedder:
    """Embeds texts with all-MiniLM-L6-v2: 384 dimensions, made for English.

    A text's tokens beyond the 256th do not take part: split documents before. How many texts were cut is logged at
    level INFO, never which. The model is loaded at the first embedding, once, whichever lane asks first; embedding is
    safe from several lanes at once, each of which uses `threads_per_call` threads.

    Raises ModelFilesInvalid at the first embedding when `python -m knowledge.embedders.install` has not been run.
    """

    def __init__(self, models_dir: Path | None = None, *, threads_per_call: int = 1) -> None:
        if threads_per_call < 1:
            raise ValueError(f"threads_per_call must be at least 1, not {threads_per_call}")
        self._folder = model_files.installed_dir(models_dir or model_files.default_models_dir())
        self._threads_per_call = threads_per_call
        self._model: _Model | None = None
        self._loading = threading.Lock()

    @property
    def fingerprint(self) -> str:
        return f"{model_files.MODEL_ID}@{model_files.WEIGHTS_SHA256[:12]}"

    @property
    def dimension(self) -> int:
        return DIMENSION

    @property
    def relevance_threshold(self) -> float:
        return RELEVANCE_THRESHOLD

    def load(self) -> None:
        """Load the model now instead of at the first embedding. Raises ModelFilesInvalid."""
        self._get_model()

    def embed_query(self, text: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self.embed_documents([text])[0]
        return vector

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.empty((len(texts), DIMENSION), dtype=np.float32)
        if not texts:
            return vectors
        model = self._get_model()
        token_ids = [_tokenise(model.tokenizer, text) for text in texts]
        for batch in bucket_by_length([len(ids) for ids in token_ids], BATCH_TOKENS):
            vectors[batch] = _embed_batch(model.session, [token_ids[index] for index in batch])
        _log_cut(token_ids)
        return vectors

    def _get_model(self) -> _Model:
        if self._model is None:
            with self._loading:
                if self._model is None:
                    self._model = _load_model(self._folder, self._threads_per_call)
        return self._model


def bucket_by_length(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Yield the texts' indexes in batches of similar length, so that little is computed for padding.

    A batch's size times its longest text stays within `max_tokens`, unless one text alone is longer.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > max_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _load_model(folder: Path, threads_per_call: int) -> _Model:
    model_path, tokenizer_path = folder / model_files.MODEL_NAME, folder / model_files.TOKENIZER_NAME
    if not model_path.is_file() or not tokenizer_path.is_file():
        raise ModelFilesInvalid(f"No model in {folder}; run `{model_files.INSTALL_COMMAND}`.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads_per_call
    options.inter_op_num_threads = 1
    # A thread that spins while it waits takes the core from the lane that could work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(model_path), options, providers=["CPUExecutionProvider"])
        tokenizer = Tokenizer.from_file(str(tokenizer_path))
    # Both libraries raise bare or undocumented types (tokenizers: Exception itself) for a file that they cannot read.
    except Exception as exc:
        raise ModelFilesInvalid(
            f"The model in {folder} cannot be loaded; delete it and run `{model_files.INSTALL_COMMAND}`."
        ) from exc
    # The file asks for 128 tokens and padding up to them; the model takes 256, and batches are padded here.
    tokenizer.enable_truncation(max_length=MAX_TOKENS)
    tokenizer.no_padding()
    logger.info("Loaded the embedding model from %s", folder)
    return _Model(session, tokenizer)


def _tokenise(tokenizer: Tokenizer, text: str) -> list[int]:
    token_ids: list[int] = tokenizer.encode(replace_lone_surrogates(text)).ids
    return token_ids


def _embed_batch(session: onnxruntime.InferenceSession, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    input_ids = np.zeros((len(batch), max(map(len, batch))), dtype=np.int64)
    attention_mask = np.zeros_like(input_ids)
    for row, token_ids in enumerate(batch):
        input_ids[row, : len(token_ids)] = token_ids
        attention_mask[row, : len(token_ids)] = 1
    (embeddings,) = session.run(["embeddings"], {"input_ids": input_ids, "attention_mask": attention_mask})
    return np.asarray(embeddings, dtype=np.float32)


def _log_cut(token_ids: Sequence[Sequence[int]]) -> None:
    # A text of exactly MAX_TOKENS tokens is counted too: one token more or less is not worth a second pass.
    cut = sum(len(ids) == MAX_TOKENS for ids in token_ids)
    if cut:
        logger.info(
            "%d of %d texts reach %d tokens; what is beyond does not take part", cut, len(token_ids), MAX_TOKENS
        )
