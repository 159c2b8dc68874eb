"""The process that outlives a killed parent, ends what the parent left running, and then goes too.

Run as a file (`python -I -S guard.py`), standard library only. It reads lines from its standard input, a pipe whose
other end only the parent holds:

    + 123        the process group 123 is ours
    - 123        it has ended
    rm /tmp/x    a folder to delete once everything has ended

The end of the pipe means that the parent is gone. The children have been told by their parent-death signal then; the
guard waits for them, ends by force what is left after a grace, deletes the folders, and exits. It keeps the file
descriptors that it was given open until that moment: the runner's lock is one of them.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time

GRACE_S = 8.0
POLL_S = 0.05


def group_exists(group: int) -> bool:
    """Whether any process of the group is left (zombies included)."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def watch() -> tuple[list[int], list[str]]:
    """Read until the parent is gone; the groups that had not ended by then, and the folders to delete."""
    groups: list[int] = []
    folders: list[str] = []
    for line in sys.stdin:
        verb, _, argument = line.rstrip("\n").partition(" ")
        if verb == "+":
            groups.append(int(argument))
        elif verb == "-":
            groups.remove(int(argument))
        elif verb == "rm":
            folders.append(argument)
    return groups, folders


def end_groups(groups: list[int], grace_s: float) -> None:
    """Wait for the groups to end by themselves; kill what is left when the grace is over."""
    deadline = time.monotonic() + grace_s
    while any(group_exists(group) for group in groups):
        if time.monotonic() > deadline:
            for group in filter(group_exists, groups):
                os.killpg(group, signal.SIGKILL)
            return
        time.sleep(POLL_S)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups, folders = watch()
    end_groups(groups, GRACE_S)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
