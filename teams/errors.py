"""What can go wrong with teams and keys.

TeamsError
├── ProjectNotFound
├── UnknownScope
└── NoScope
"""


class TeamsError(Exception):
    """Base of this room's errors; the message is for the person who asked."""


class ProjectNotFound(TeamsError):
    """No project has that id."""


class UnknownScope(TeamsError):
    """A scope that no call asks for."""


class NoScope(TeamsError):
    """A key without any scope could do nothing."""
