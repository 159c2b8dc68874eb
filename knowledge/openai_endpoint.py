"""Calls of any OpenAI-compatible endpoint, through the official SDK: what embedders and models that ask one share."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import openai

from knowledge.errors import EndpointRefused, EndpointUnavailable
from knowledge.event_loop import LoopThread

Result = TypeVar("Result")
Item = TypeVar("Item")

# Where the endpoint does not say when to come back.
RETRY_AFTER_S = 5
RETRY_AFTER_REFUSAL_S = 60
REFUSALS_OF_CONTENT = (400, 413, 422)
RETRY_AFTER_LIMIT_S = 3600
FIRST_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class _Connection:
    client: openai.AsyncOpenAI
    loop: LoopThread
    process_id: int


class OpenAIEndpoint:
    """Makes requests at `base_url`; safe from several lanes at once, and after a fork.

    `timeout_s` bounds one call as a whole: connecting, a body that trickles in, retries and the pauses between them.
    Lost connections and 5xx are tried again up to `max_retries` times within it, other refusals never; redirects are
    refusals. Every fault is an EndpointUnavailable, whose message holds neither the key, nor a text, nor anything that
    the endpoint wrote, and names the endpoint as it is `called` ("embedder", "model").

    `api_key` may be empty for a server that wants none. Raises ValueError for limits that make no sense, and for a
    base_url or a key that no request can carry.
    """

    def __init__(self, *, base_url: str, api_key: str, timeout_s: float, max_retries: int, called: str) -> None:
        if timeout_s <= 0 or max_retries < 0:
            raise ValueError("timeout_s must be positive, max_retries not negative")
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("base_url must be a URL such as https://api.example.com/v1")
        if not (api_key.isascii() and api_key.isprintable()):
            raise ValueError("api_key must be printable ASCII")
        self._base_url = base_url
        # Servers on one's own machine want no key, but the SDK wants one, and would look for it in the environment.
        self._api_key = api_key or "none"
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._called = called
        self._connection: _Connection | None = None
        self._lock = threading.Lock()

    def call(self, request: Callable[[openai.AsyncOpenAI], Awaitable[Result]]) -> Result:
        """Return what `request` does with the SDK's client; it is asked anew for each attempt.

        Raises EndpointUnavailable for every fault of the SDK's and at the deadline, and whatever else `request` raises.
        """
        connection = self._get_connection()
        try:
            return connection.loop.run(self._attempt(request, connection.client), timeout_s=self._timeout_s)
        except TimeoutError:
            raise self._late() from None

    def stream(
        self, request: Callable[[openai.AsyncOpenAI, Callable[[Item], None]], Awaitable[None]]
    ) -> Iterator[Item]:
        """Yield what `request` emits, as it comes; closing this ends the request.

        It is asked anew only as long as nothing was emitted. Raises as `call` does.
        """
        connection = self._get_connection()

        async def produce(emit: Callable[[Item], None]) -> None:
            has_begun = False

            def note_and_emit(item: Item) -> None:
                nonlocal has_begun
                has_begun = True
                emit(item)

            async def ask(client: openai.AsyncOpenAI) -> None:
                try:
                    await request(client, note_and_emit)
                except openai.OpenAIError as exc:
                    if has_begun:
                        raise self._translate(exc) from None
                    raise

            await self._attempt(ask, connection.client)

        try:
            yield from connection.loop.stream(produce, timeout_s=self._timeout_s)
        except TimeoutError:
            raise self._late() from None

    def close(self) -> None:
        """Close connections and end the background thread; the next call opens them again."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None and connection.process_id == os.getpid():
            connection.loop.run(connection.client.close(), timeout_s=self._timeout_s)
            connection.loop.close()

    async def _attempt(
        self, request: Callable[[openai.AsyncOpenAI], Awaitable[Result]], client: openai.AsyncOpenAI
    ) -> Result:
        pause_s = FIRST_PAUSE_S
        for retries_left in reversed(range(self._max_retries + 1)):
            try:
                return await request(client)
            except (openai.APIConnectionError, openai.InternalServerError) as exc:
                if not retries_left:
                    # `from None`: the SDK's message quotes the body, which may quote the text or the key.
                    raise self._translate(exc) from None
            except openai.OpenAIError as exc:
                raise self._translate(exc) from None
            await asyncio.sleep(pause_s)
            pause_s *= 2
        raise AssertionError("the last attempt returns or raises")

    def _get_connection(self) -> _Connection:
        """The SDK's client and its loop; a forked process, to which the parent's thread did not come, makes its own."""
        with self._lock:
            if self._connection is None or self._connection.process_id != os.getpid():
                client = openai.AsyncOpenAI(
                    base_url=self._base_url,
                    api_key=self._api_key,
                    timeout=self._timeout_s,
                    max_retries=0,  # the SDK's own retries sleep for as long as the endpoint says
                    default_headers={"Accept-Encoding": "identity"},
                    http_client=openai.DefaultAsyncHttpxClient(
                        timeout=self._timeout_s,
                        follow_redirects=False,  # texts never go to a provider that nobody named
                        event_hooks={"response": [_bound_response]},
                    ),
                )
                self._connection = _Connection(client, LoopThread(f"openai-{self._called}"), os.getpid())
            return self._connection

    def _late(self) -> EndpointUnavailable:
        return EndpointUnavailable(
            f"The {self._called} did not answer within {self._timeout_s:g} s.", retry_after_s=RETRY_AFTER_S
        )

    def _translate(self, exc: openai.OpenAIError) -> EndpointUnavailable:
        if isinstance(exc, openai.APITimeoutError):
            return EndpointUnavailable(f"The {self._called} did not answer in time.", retry_after_s=RETRY_AFTER_S)
        if isinstance(exc, openai.APIConnectionError):
            return EndpointUnavailable(f"The connection to the {self._called} failed.", retry_after_s=RETRY_AFTER_S)
        if isinstance(exc, openai.APIStatusError):
            message = f"The {self._called} answered with status {exc.status_code}."
            kind = EndpointRefused if exc.status_code in REFUSALS_OF_CONTENT else EndpointUnavailable
            return kind(message, retry_after_s=_read_retry_after(exc))
        return EndpointUnavailable(f"The {self._called} failed ({type(exc).__name__}).", retry_after_s=RETRY_AFTER_S)


async def read_bounded(request: AbstractAsyncContextManager[openai.AsyncAPIResponse[Any]], *, max_bytes: int) -> bytes:
    """Make the SDK's streaming request and return its body, or its beginning when it is larger than `max_bytes`.

    Raises the SDK's errors, also for what goes wrong in the middle of a body, which the SDK does not translate.
    """
    body = bytearray()
    async with aclosing(_read_parts(request)) as parts:
        async for part in parts:
            body += part
            if len(body) > max_bytes:
                break
    return bytes(body)


async def read_events(
    request: AbstractAsyncContextManager[openai.AsyncAPIResponse[Any]],
    take: Callable[[bytes], bool],
    *,
    max_bytes: int,
) -> None:
    """Make the SDK's streaming request and give `take` the data of its server-sent events, one line each, as they come,
    until it returns False.

    What comes after `max_bytes` is left unread. Raises as `read_bounded` does.
    """
    size = 0
    unended: list[bytes] = []  # the parts of a line whose end is yet to come
    async with aclosing(_read_parts(request)) as parts:
        async for part in parts:
            size += len(part)
            unended.append(part)
            if b"\n" in part:
                *lines, rest = b"".join(unended).split(b"\n")
                unended = [rest]
                for line in lines:
                    if line.startswith(b"data:") and not take(line.removeprefix(b"data:").strip()):
                        return
            if size > max_bytes:
                return


async def _read_parts(
    request: AbstractAsyncContextManager[openai.AsyncAPIResponse[Any]],
) -> AsyncGenerator[bytes, None]:
    async with request as response:
        try:
            async for part in response.iter_bytes():
                yield part
        except Exception:  # noqa: BLE001 - the transport below the SDK, and so its errors, differ between versions
            raise openai.APIConnectionError(request=response.http_request) from None


async def _bound_response(response: Any) -> None:
    """Leave a refusal's body unread, which the SDK would read whole, and a small body small."""
    if not response.is_success:
        await response.aclose()
    response.headers.pop("content-encoding", None)  # not asked for: it could turn a few bytes into any number


def _read_retry_after(exc: openai.APIStatusError) -> int:
    default_s = RETRY_AFTER_S if exc.status_code == 429 or exc.status_code >= 500 else RETRY_AFTER_REFUSAL_S
    value: str = exc.response.headers.get("retry-after", "")
    # The header's other form, a date, is as good as none: clocks differ.
    if not (value.isascii() and value.isdigit()):
        return default_s
    return max(1, min(int(value[:9]), RETRY_AFTER_LIMIT_S))
