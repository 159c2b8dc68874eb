"""What can go wrong with categories and while threads are labelled.

CategorisationError
├── ClassifierError             a classification that cannot be computed; another try changes nothing
│   └── ClassifierUnavailable   what the classifier stands on is down or slow; worth another try later
├── BadConversation             a line of an import that is none; the message says why
├── CategoryNotFound            no such category, as far as the one who asks may know
├── RunNotFound                 no such run, as far as the one who asks may know
└── CategorisationConflict      the state of the taxonomy, or of a run, does not allow it
    ├── DuplicateTitle
    ├── TooManyCategories
    ├── RunIsOpen
    └── RunStateForbids
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


class BadConversation(CategorisationError):
    """A line of a file of past conversations cannot be imported. The message is for the person who imports."""


class CategoryNotFound(CategorisationError):
    """No live category of the project has that id."""


class RunNotFound(CategorisationError):
    """No run of the project has that id."""


class CategorisationConflict(CategorisationError):
    """The state of the project's categories and runs does not allow what was asked. The message is for the client."""


class DuplicateTitle(CategorisationConflict):
    """Another live category of the project has that title."""


class TooManyCategories(CategorisationConflict):
    """The project has as many live categories as it may have."""


class RunIsOpen(CategorisationConflict):
    """The project has an open run of this kind."""


class RunStateForbids(CategorisationConflict):
    """What was asked of a run does not go with its kind or with the state that it is in."""
