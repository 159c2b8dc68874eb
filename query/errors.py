"""What can go wrong while a question is answered.

QueryError
├── LLMUnavailable      the model is down, slow, or answers nonsense; worth another try later
├── ThreadNotFound      there is no such conversation, or it is another project's
└── ErasureIsOver       it is done or cancelled
"""

from __future__ import annotations


class QueryError(Exception):
    """The root of this package's errors."""


class LLMUnavailable(QueryError):
    """The model could not be reached, took too long, or answered something that is no answer.

    `retry_after_s` is the pause, in whole seconds, after which another try makes sense.
    """

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ThreadNotFound(QueryError):
    """There is no such conversation for this project."""


class ErasureIsOver(QueryError):
    """An erasure that is done or cancelled is not gone on with."""
