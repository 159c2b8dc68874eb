"""What those who wait for a neighbour do not keep."""

from __future__ import annotations

from django.db import connection


def release_connection() -> None:
    """Give this thread's connection to the database back; whoever reads next borrows one anew.

    To be called ahead of every wait for a neighbour: connections are few, and while one does not answer, those who wait
    for it are many. Inside a transaction it is kept.
    """
    if not connection.in_atomic_block:
        connection.close()
