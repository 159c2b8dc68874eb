"""What can go wrong while bringing the service up.

LocalStackError
├── AlreadyRunning       another runner holds this folder
├── PortTaken            a port that a service needs is in use
├── BinaryMissing        no PostgreSQL or Valkey to run
├── DataUnreachable      the account that PostgreSQL runs under cannot get at its data
├── SettingNotUnderstood an environment variable that the runner itself reads makes no sense
├── CommandNotStarted    `exec` was given a command that cannot be run
├── ServiceFailed        a child process did not start, or kept crashing
└── StopRequested        Ctrl-C or SIGTERM, an ordinary end
"""

from __future__ import annotations


class LocalStackError(Exception):
    """The message is for the person at the terminal."""


class AlreadyRunning(LocalStackError):
    """Another runner holds this folder."""


class PortTaken(LocalStackError):
    """A port that a service needs is in use."""

    def __init__(self, port: int, service: str, variable: str) -> None:
        super().__init__(
            f"Port {port}, which {service} needs, is in use by another program. "
            f"Stop that program, or move {service}: {variable}=<port> make run"
        )


class BinaryMissing(LocalStackError):
    """No PostgreSQL or Valkey to run."""


class DataUnreachable(LocalStackError):
    """The account that PostgreSQL runs under cannot get at its data."""


class SettingNotUnderstood(LocalStackError):
    """An environment variable that the runner itself reads makes no sense."""


class CommandNotStarted(LocalStackError):
    """`exec` was given a command that cannot be run. `exit_code` is what a shell would end with."""

    def __init__(self, name: str, error: OSError) -> None:
        super().__init__(f"Cannot run {name}: {error.strerror}.")
        self.exit_code = 127 if isinstance(error, FileNotFoundError) else 126


class ServiceFailed(LocalStackError):
    """A child process did not start, or kept crashing. Carries the end of its log."""

    def __init__(self, name: str, what: str, log_tail: str) -> None:
        super().__init__(f"{name} {what}" + (f"\n{log_tail}" if log_tail else ""))
        self.name = name


class StopRequested(LocalStackError):
    """Ctrl-C or SIGTERM, an ordinary end."""
