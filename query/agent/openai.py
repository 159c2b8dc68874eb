"""Answers from any OpenAI-compatible endpoint, through the official SDK."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, cast

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam

from knowledge.embedders.characters import replace_lone_surrogates
from knowledge.errors import EndpointUnavailable
from knowledge.openai_endpoint import OpenAIEndpoint, read_bounded, read_events
from query.agent.prompts import write_answering_messages, write_rewriting_messages
from query.agent.protocols import Exchange, Prompt
from query.errors import LLMUnavailable

MAX_ANSWER_CHARACTERS = 20_000
MAX_BODY_BYTES = 2_000_000
MAX_REWRITTEN_CHARACTERS = 1_000
MAX_STREAM_BYTES = 20_000_000  # an event for each word has a hundred times its size
# Some models think aloud before they answer.
_THINK, _THOUGHT = "<think>", "</think>"
_THOUGHTS = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)


class OpenAILLM:
    """Asks `POST {base_url}/chat/completions`; safe from several lanes at once.

    `timeout_s` bounds one call as a whole: connecting, a body that trickles in, retries and the pauses between them.
    Lost connections and 5xx are tried again up to `max_retries` times within it, other refusals and nonsense never.
    Every fault is an LLMUnavailable, whose message holds neither the key, nor a text, nor anything that the endpoint
    wrote. `api_key` may be empty for a server that wants none.
    """

    def __init__(
        self, *, base_url: str, model: str, api_key: str, timeout_s: float = 60.0, max_retries: int = 2
    ) -> None:
        self._endpoint = OpenAIEndpoint(
            base_url=base_url, api_key=api_key, timeout_s=timeout_s, max_retries=max_retries, called="model"
        )
        self._model = model

    def generate(self, prompt: Prompt) -> str:
        """Return the model's answer in Markdown. Raises LLMUnavailable."""
        return self._complete(write_answering_messages(prompt))[:MAX_ANSWER_CHARACTERS]

    def stream(self, prompt: Prompt) -> Generator[str, None, None]:
        """Yield the model's answer in Markdown, as it comes; closing this ends the call. Raises LLMUnavailable."""
        messages = _sendable(write_answering_messages(prompt))
        written = 0
        try:
            for piece in drop_thoughts(self._endpoint.stream(partial(self._read_pieces, messages))):
                yield piece[: MAX_ANSWER_CHARACTERS - written]
                written += len(piece)
                if written >= MAX_ANSWER_CHARACTERS:
                    return
        except EndpointUnavailable as exc:
            raise LLMUnavailable(str(exc), retry_after_s=exc.retry_after_s) from None
        if not written:
            raise LLMUnavailable("The model answered nothing.")

    async def _read_pieces(
        self, messages: list[dict[str, str]], client: AsyncOpenAI, emit: Callable[[str], None]
    ) -> None:
        reader = _PieceReader(emit)
        await read_events(
            client.chat.completions.with_streaming_response.create(
                model=self._model,
                messages=cast("list[ChatCompletionMessageParam]", messages),
                temperature=0,
                stream=True,
            ),
            reader.take,
            max_bytes=MAX_STREAM_BYTES,
        )
        if not reader.has_ended:
            raise LLMUnavailable("The model's answer broke off.")

    def make_self_contained(self, question: str, history: Sequence[Exchange]) -> str:
        """Return the question as the model rewrites it; as it is when what comes back is no question's size."""
        rewritten = self._complete(write_rewriting_messages(question, history)).strip().strip('"').strip()
        if not rewritten or len(rewritten) > MAX_REWRITTEN_CHARACTERS + len(question):
            return question
        return rewritten

    def close(self) -> None:
        """Close connections and end the background thread; the next call opens them again."""
        self._endpoint.close()

    def _complete(self, messages: list[dict[str, str]]) -> str:
        try:
            body = self._endpoint.call(
                lambda client: read_bounded(
                    client.chat.completions.with_streaming_response.create(
                        model=self._model,
                        messages=cast("list[ChatCompletionMessageParam]", _sendable(messages)),
                        temperature=0,
                    ),
                    max_bytes=MAX_BODY_BYTES,
                )
            )
        except EndpointUnavailable as exc:
            raise LLMUnavailable(str(exc), retry_after_s=exc.retry_after_s) from None
        if len(body) > MAX_BODY_BYTES:
            raise LLMUnavailable("The model's answer is too large.")
        return _read_text(body)


@dataclass(slots=True)
class _PieceReader:
    """Reads a streamed completion, event by event, trusting nothing in it."""

    emit: Callable[[str], None]
    has_ended: bool = False

    def take(self, data: bytes) -> bool:
        """Emit the event's text, if it has any; return whether more is to come. Raises LLMUnavailable."""
        if data == b"[DONE]":
            self.has_ended = True
            return False
        try:
            event: Any = json.loads(data)
            choices = event["choices"]
            text = choices[0]["delta"].get("content") if choices else None
            self.has_ended |= bool(choices and choices[0].get("finish_reason"))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            raise _nonsense() from None
        if text is not None and not isinstance(text, str):
            raise _nonsense()
        if text:
            self.emit(replace_lone_surrogates(text).replace("\0", ""))
        return True


def drop_thoughts(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the pieces of an answer without the thoughts and the space that it may begin with."""
    waiting = iter(pieces)
    begun = ""
    for piece in waiting:
        begun = (begun + piece).lstrip()
        if not _THINK.startswith(begun):
            break
    if begun.startswith(_THINK):
        begun = _read_thoughts(begun, waiting)
    for piece in chain([begun], waiting):
        if said := piece.lstrip():
            yield said
            break
    yield from waiting


def _read_thoughts(begun: str, pieces: Iterator[str]) -> str:
    """What follows the thoughts that have begun; all of it, where it ends in the middle of them."""
    read, tail = [begun], begun
    while _THOUGHT not in tail:
        piece = next(pieces, None)
        if piece is None:
            return "".join(read)
        read.append(piece)
        tail = tail[-len(_THOUGHT) :] + piece  # thoughts may be long: only where their end may stand is looked at again
    return _THOUGHTS.sub("", "".join(read), count=1)


def _sendable(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{**message, "content": replace_lone_surrogates(message["content"])} for message in messages]


def _nonsense() -> LLMUnavailable:
    return LLMUnavailable("The model answered something that is no chat completion.")


def _read_text(body: bytes) -> str:
    """Return the first choice's text, trusting nothing in the body."""
    try:
        answer: Any = json.loads(body)
        text: Any = answer["choices"][0]["message"]["content"]
    # RecursionError: a body of nothing but brackets.
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str):
        raise _nonsense()
    said = replace_lone_surrogates(_THOUGHTS.sub("", text, count=1)).replace("\0", "").strip()
    if not said:
        raise LLMUnavailable("The model answered nothing.")
    return said
