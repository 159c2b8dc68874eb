"""What can go wrong with teams and keys.

TeamsError
├── TeamNotFound
├── ProjectNotFound
├── UnknownScope
├── NoScope
└── TooManyLogins
"""


class TeamsError(Exception):
    """Base of this room's errors; the message is for the person who asked."""


class TeamNotFound(TeamsError):
    """No team has that id."""


class ProjectNotFound(TeamsError):
    """No project has that id."""


class UnknownScope(TeamsError):
    """A scope that no call asks for."""


class NoScope(TeamsError):
    """A key without any scope could do nothing."""


class TooManyLogins(TeamsError):
    """Somebody tries passwords too fast."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"Too many attempts to log in. Try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s
