"""What may be told of an exception to people who operate the service and own none of the texts in it.

Its type and where it came from always; its message only where it cannot quote anybody's question, answer or document.
A ValueError quotes the value, PostgreSQL the row, and somebody else's model client perhaps the whole prompt.

Nor may anybody read there what opens something without a login: the secret part of a path is blanked everywhere.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from types import TracebackType

# What the interpreter itself raises with these names code and types.
_NAME_CODE = {
    "AttributeError",
    "ImportError",
    "MemoryError",
    "ModuleNotFoundError",
    "NameError",
    "NotImplementedError",
    "RecursionError",
    "TypeError",
    "UnboundLocalError",
}
# Of the service's own kinds, whose messages are made to be read by anybody; and of drivers', what tells of connections.
_OWN = {"config", "schema", "teams", "knowledge", "query", "categorisation", "insights", "vectordb", "deploy"}
_TRANSPORTS = {"amqp", "billiard", "celery", "kombu", "redis"}
_OF_CONNECTIONS = {"OperationalError", "InterfaceError"}
_CAUSED = "\nThe above exception was the direct cause of the following exception:\n\n"
_MEANWHILE = "\nDuring handling of the above exception, another exception occurred:\n\n"
# who has the secret part of such a path may unsubscribe somebody from reports
_SECRET_PATHS = re.compile(r"(/reports/unsubscribe/).+")


def blank_secret_paths(text: str) -> str:
    """The text with `...` for what follows such a path on its line."""
    return _SECRET_PATHS.sub(r"\1...", text)


def describe(error: BaseException) -> str:
    """The exception in a line, without its message where that may quote a text."""
    kind = type(error).__name__
    if isinstance(error, OSError) and error.errno is not None:
        return f"{kind}: [Errno {error.errno}] {error.strerror}"  # not the file's name
    if is_harmless(error) and (message := str(error).partition("\n")[0]):
        return f"{kind}: {message}"
    return kind


def is_harmless(error: BaseException) -> bool:
    """Whether its message holds nobody's text."""
    return is_harmless_kind(type(error).__module__, type(error).__name__)


def is_harmless_kind(module: str, name: str) -> bool:
    """The same, of an exception's type by its names."""
    if module == "builtins":
        return name in _NAME_CODE
    return module.partition(".")[0] in _OWN | _TRANSPORTS or name in _OF_CONNECTIONS


def write_traceback(error: BaseException, frames: TracebackType | None = None) -> str:
    """As Python writes it, with the exceptions that led to it; each of them described as above."""
    return "".join(_write(error, frames or error.__traceback__, set())).rstrip("\n")


def _write(error: BaseException, frames: TracebackType | None, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    cause, context = error.__cause__, error.__context__
    if cause is not None and id(cause) not in seen:
        yield from _write(cause, cause.__traceback__, seen)
        yield _CAUSED
    elif context is not None and not error.__suppress_context__ and id(context) not in seen:
        yield from _write(context, context.__traceback__, seen)
        yield _MEANWHILE
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(frames)
    yield f"{describe(error)}\n"
    for each in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        if id(each) not in seen:
            yield "\nOne of its exceptions:\n\n"
            yield from _write(each, each.__traceback__, seen)
