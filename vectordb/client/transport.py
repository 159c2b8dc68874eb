"""Requests over one pool of connections: errors translated, dropped keep-alive connections forgiven."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import orjson

from vectordb.client.deadline import Deadline, DeadlineTransport
from vectordb.errors import (
    Conflict,
    FieldError,
    Invalid,
    Malformed,
    NotFound,
    ReadOnly,
    StorageFull,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnsupportedMedia,
    VectorDBError,
)

_ERRORS: tuple[type[VectorDBError], ...] = (
    *(Invalid, Malformed, Unauthorized, NotFound, Conflict, TooLarge, UnsupportedMedia, StorageFull),
)
_BY_STATUS = {error.status: error for error in _ERRORS}
_SECONDS = re.compile(r"[0-9]{1,9}")
_KEEP_ALIVE_S = 30.0  # below the server's 75, so that it is us who close an idle connection
_MOST_CONNECTIONS = 64
_MOST_ANSWER_BYTES = 256 * 1024 * 1024
"""Four times what the server lets an answer grow to: what is larger comes from something else."""
_PART_BYTES = 1024 * 1024
_MOST_ERROR_BYTES = 64 * 1024
"""Problems are shorter than that; of what stands in for one (a proxy's page) only the status is told."""

Parameters = Mapping[str, str | int | bool]


class Transport:
    """Sends JSON, returns JSON. Safe to share between threads."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None,
        timeout_s: float,
        make_headers: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        """`timeout_s` bounds each call as a whole. Raises ValueError for a key that no header can carry."""
        if api_key and not (api_key.isascii() and api_key.isprintable() and api_key == api_key.strip()):
            raise ValueError("the API key must be printable ASCII without spaces around it")
        headers = {"X-API-KEY": api_key} if api_key else {}
        limits = httpx.Limits(
            max_connections=_MOST_CONNECTIONS,
            max_keepalive_connections=_MOST_CONNECTIONS,
            keepalive_expiry=_KEEP_ALIVE_S,
        )
        self._timeout_s = timeout_s
        self._make_headers = make_headers
        self._deadline = Deadline()
        try:
            # The database stands next door: proxies of the environment are none of its business.
            self._http = httpx.Client(
                base_url=base_url.rstrip("/"),
                headers=headers,
                timeout=timeout_s,
                transport=DeadlineTransport(self._deadline, limits),
                trust_env=False,
            )
        except httpx.InvalidURL as exc:
            raise Unavailable(f"the vector database's URL cannot be used: {exc}") from exc

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def read(
        self, method: str, path: str, *, content: bytes | None = None, parameters: Parameters | None = None
    ) -> bytes:
        """Send a request that changes nothing; once more when a kept connection turns out to be dropped."""
        with self._deadline.within(self._timeout_s):
            try:
                return self._send(method, path, content, parameters)
            except _Dropped:
                return self._send(method, path, content, parameters)

    def write(self, method: str, path: str, *, content: bytes | None = None, timeout_s: float | None = None) -> bytes:
        """Send a request that changes something, once. After Unavailable it may have been carried out or not."""
        with self._deadline.within(timeout_s or self._timeout_s):
            return self._send(method, path, content, None, timeout_s)

    def upload(self, path: str, parts: Iterable[bytes]) -> None:
        """PUT a body of any size, in `parts`; each wait, not the whole, is bounded by the timeout."""
        with self._exchange("PUT", path, content=parts, headers=self._headers()) as answer:
            body = _read_beginning(answer, _MOST_ERROR_BYTES)
        if not answer.is_success:
            raise read_problem(answer.status_code, body, answer.headers.get("Retry-After"))

    def download(self, path: str) -> Iterator[bytes]:
        """Yield a body of any size in parts; each wait, not the whole, is bounded by the timeout."""
        with self._exchange("GET", path, headers=self._headers()) as answer:
            if not answer.is_success:
                body = _read_beginning(answer, _MOST_ERROR_BYTES)
                raise read_problem(answer.status_code, body, answer.headers.get("Retry-After"))
            yield from answer.iter_bytes(_PART_BYTES)

    def _headers(self) -> dict[str, str]:
        return {} if self._make_headers is None else dict(self._make_headers())

    def _send(
        self,
        method: str,
        path: str,
        content: bytes | None,
        parameters: Parameters | None,
        timeout_s: float | None = None,
    ) -> bytes:
        headers = self._headers()
        if content is not None:
            headers["Content-Type"] = "application/json"
        timeout: Any = {} if timeout_s is None else {"timeout": timeout_s}
        with self._exchange(method, path, content=content, params=parameters, headers=headers, **timeout) as answer:
            body = _read_bounded(answer) if answer.is_success else _read_beginning(answer, _MOST_ERROR_BYTES)
        if answer.is_success:
            return body
        raise read_problem(answer.status_code, body, answer.headers.get("Retry-After"))

    @contextmanager
    def _exchange(self, method: str, path: str, **request: Any) -> Iterator[httpx.Response]:
        """Give the answer to be read; whatever goes wrong with either is Unavailable."""
        try:
            with self._http.stream(method, path, **request) as answer:
                yield answer
        except httpx.TimeoutException as exc:
            raise Unavailable(f"the vector database did not answer in time ({type(exc).__name__})") from exc
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as exc:
            raise _Dropped("the connection to the vector database broke off") from exc
        except httpx.TransportError as exc:
            raise Unavailable(f"the vector database cannot be reached: {exc}") from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise Unavailable(f"the vector database cannot be understood: {exc}") from exc
        except RuntimeError as exc:  # httpx's word for a client that was closed
            raise Unavailable(str(exc)) from exc


class _Dropped(Unavailable):
    """The connection broke off after it stood."""


def _read_bounded(answer: httpx.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    for part in answer.iter_bytes():
        size += len(part)
        if size > _MOST_ANSWER_BYTES:
            raise Unavailable(f"the vector database's answer is larger than {_MOST_ANSWER_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _read_beginning(answer: httpx.Response, limit: int) -> bytes:
    """Return the first `limit` bytes of the body; to leave the rest unread costs the connection."""
    beginning = b""
    for part in answer.iter_bytes():
        beginning += part[: limit - len(beginning)]
        if len(beginning) == limit:
            break
    return beginning


def read_problem(status: int, content: bytes, retry_after: str | None) -> VectorDBError:
    """Return the error that a problem states; what is no problem at all (a proxy's page) is told by its status."""
    try:
        problem: Any = orjson.loads(content)
    except orjson.JSONDecodeError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    detail = str(problem.get("detail") or f"the vector database answered {status}")
    if status >= 500 and status != StorageFull.status:
        read_only = problem.get("title") == ReadOnly.title
        wait_s = int(retry_after) if retry_after is not None and _SECONDS.fullmatch(retry_after) else 1
        return (ReadOnly if read_only else Unavailable)(detail, status=status, retry_after_s=wait_s)
    told = problem.get("errors")
    errors = [
        FieldError(str(item.get("code", "")), str(item.get("detail", "")), str(item.get("attr", "")))
        for item in (told if isinstance(told, list) else ())
        if isinstance(item, dict)
    ]
    return _BY_STATUS.get(status, VectorDBError)(detail, errors=errors, status=status)
