"""Answers from any OpenAI-compatible endpoint, through the official SDK."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletionMessageParam

from knowledge.embedders.characters import replace_lone_surrogates
from knowledge.embedders.event_loop import LoopThread
from query.agent.prompts import write_answering_messages, write_rewriting_messages
from query.agent.protocols import Exchange, Prompt
from query.errors import LLMUnavailable

# Where the endpoint does not say when to come back.
RETRY_AFTER_S = 5
RETRY_AFTER_REFUSAL_S = 60
RETRY_AFTER_LIMIT_S = 3600
FIRST_PAUSE_S = 0.2
MAX_ANSWER_CHARACTERS = 20_000
MAX_BODY_BYTES = 2_000_000
MAX_REWRITTEN_CHARACTERS = 1_000
# Some models think aloud before they answer.
_THOUGHTS = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Connection:
    client: openai.AsyncOpenAI
    loop: LoopThread
    process_id: int


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
        if timeout_s <= 0 or max_retries < 0:
            raise ValueError("timeout_s must be positive, max_retries not negative")
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("base_url must be a URL such as https://api.example.com/v1")
        if not (api_key.isascii() and api_key.isprintable()):
            raise ValueError("api_key must be printable ASCII")
        self._base_url = base_url
        self._model = model
        # Servers on one's own machine want no key, but the SDK wants one, and would look for it in the environment.
        self._api_key = api_key or "none"
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._connection: _Connection | None = None
        self._lock = threading.Lock()

    def generate(self, prompt: Prompt) -> str:
        """Return the model's answer in Markdown. Raises LLMUnavailable."""
        return self._complete(write_answering_messages(prompt))[:MAX_ANSWER_CHARACTERS]

    def make_self_contained(self, question: str, history: Sequence[Exchange]) -> str:
        """Return the question as the model rewrites it; as it is when what comes back is no question's size."""
        rewritten = self._complete(write_rewriting_messages(question, history)).strip().strip('"').strip()
        if not rewritten or len(rewritten) > MAX_REWRITTEN_CHARACTERS + len(question):
            return question
        return rewritten

    def close(self) -> None:
        """Close connections and end the background thread; the next call opens them again."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None and connection.process_id == os.getpid():
            connection.loop.run(connection.client.close(), timeout_s=self._timeout_s)
            connection.loop.close()

    def _complete(self, messages: list[dict[str, str]]) -> str:
        connection = self._get_connection()
        sendable = [{**message, "content": replace_lone_surrogates(message["content"])} for message in messages]
        try:
            return connection.loop.run(self._request(connection.client, sendable), timeout_s=self._timeout_s)
        except TimeoutError as exc:
            raise LLMUnavailable(
                f"The model did not answer within {self._timeout_s:g} s.", retry_after_s=RETRY_AFTER_S
            ) from exc

    async def _request(self, client: openai.AsyncOpenAI, messages: list[dict[str, str]]) -> str:
        pause_s = FIRST_PAUSE_S
        for retries_left in reversed(range(self._max_retries + 1)):
            try:
                return await self._request_once(client, messages)
            except (openai.APIConnectionError, openai.InternalServerError) as exc:
                if not retries_left:
                    # `from None`: the SDK's message quotes the body, which may quote the text or the key.
                    raise _translate(exc) from None
            except openai.OpenAIError as exc:
                raise _translate(exc) from None
            await asyncio.sleep(pause_s)
            pause_s *= 2
        raise AssertionError("the last attempt returns or raises")

    async def _request_once(self, client: openai.AsyncOpenAI, messages: list[dict[str, str]]) -> str:
        """Read the body by parts, which bounds it. What goes wrong in its middle the SDK does not translate."""
        request = client.chat.completions.with_streaming_response.create(
            model=self._model,
            messages=cast("list[ChatCompletionMessageParam]", messages),
            temperature=0,
        )
        async with request as response:
            try:
                body = await _read_bounded(response.iter_bytes())
            except Exception:  # noqa: BLE001 - the transport below the SDK, and so its errors, differ between versions
                raise openai.APIConnectionError(request=response.http_request) from None
        if len(body) > MAX_BODY_BYTES:
            raise LLMUnavailable("The model's answer is too large.", retry_after_s=RETRY_AFTER_S)
        return _read_text(body)

    def _get_connection(self) -> _Connection:
        """The SDK's client and its loop; a forked process, to which the parent's thread did not come, makes its own."""
        with self._lock:
            if self._connection is None or self._connection.process_id != os.getpid():
                client = openai.AsyncOpenAI(
                    base_url=self._base_url,
                    api_key=self._api_key,
                    timeout=self._timeout_s,
                    max_retries=0,  # the SDK's own retries sleep for as long as the endpoint says
                )
                self._connection = _Connection(client, LoopThread("openai-llm"), os.getpid())
            return self._connection


async def _read_bounded(parts: AsyncIterator[bytes]) -> bytes:
    """Return the body, or its beginning when it is larger than MAX_BODY_BYTES."""
    body = bytearray()
    async for part in parts:
        body += part
        if len(body) > MAX_BODY_BYTES:
            break
    return bytes(body)


def _read_text(body: bytes) -> str:
    """Return the first choice's text, trusting nothing in the body."""
    try:
        answer: Any = json.loads(body)
        text: Any = answer["choices"][0]["message"]["content"]
    # RecursionError: a body of nothing but brackets.
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str):
        raise LLMUnavailable("The model answered something that is no chat completion.", retry_after_s=RETRY_AFTER_S)
    said = replace_lone_surrogates(_THOUGHTS.sub("", text, count=1)).replace("\0", "").strip()
    if not said:
        raise LLMUnavailable("The model answered nothing.", retry_after_s=RETRY_AFTER_S)
    return said


def _translate(exc: openai.OpenAIError) -> LLMUnavailable:
    if isinstance(exc, openai.APITimeoutError):
        return LLMUnavailable("The model did not answer in time.", retry_after_s=RETRY_AFTER_S)
    if isinstance(exc, openai.APIStatusError):
        message = f"The model's server answered with status {exc.status_code}."
        return LLMUnavailable(message, retry_after_s=_read_retry_after(exc))
    if isinstance(exc, openai.APIConnectionError):
        return LLMUnavailable("The connection to the model failed.", retry_after_s=RETRY_AFTER_S)
    return LLMUnavailable(f"The model failed ({type(exc).__name__}).", retry_after_s=RETRY_AFTER_S)


def _read_retry_after(exc: openai.APIStatusError) -> int:
    default_s = RETRY_AFTER_S if exc.status_code == 429 or exc.status_code >= 500 else RETRY_AFTER_REFUSAL_S
    value: str = exc.response.headers.get("retry-after", "")
    # The header's other form, a date, is as good as none: clocks differ.
    if not (value.isascii() and value.isdigit()):
        return default_s
    return max(1, min(int(value[:9]), RETRY_AFTER_LIMIT_S))
