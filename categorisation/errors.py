"""What can go wrong while threads are labelled.

CategorisationError
└── ClassifierError             a classification that cannot be computed; another try changes nothing
    └── ClassifierUnavailable   what the classifier stands on is down or slow; worth another try later
"""

from __future__ import annotations


class CategorisationError(Exception):
    """The root of this package's errors."""


class ClassifierError(CategorisationError):
    """A classification cannot be computed from what was given."""


class ClassifierUnavailable(ClassifierError):
    """The classifier depends on something that does not answer.

    `retry_after_s` is the pause, in whole seconds, after which another try makes sense.
    """

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
