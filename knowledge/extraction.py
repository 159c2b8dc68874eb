"""The text of files that anybody wrote, taken out of them in a process of its own with little to lose.

A page of a few bytes may inflate to gigabytes, and a stream of operators may take hours. The process has bounds of
memory and of computing that the kernel keeps, none of the service's settings in its environment, and ends with the
file.

`python -m knowledge.extraction` is that process: the file comes in, its text goes out.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from knowledge.errors import DocumentUnreadable
from knowledge.loaders.pdf import TOO_COMPLEX, extract_text

MAX_MEMORY_BYTES = 512 * 1024 * 1024
MAX_COMPUTING_S = 30
# A busy machine computes slowly: what ends by this is tried again. Below the time limit of tasks, with some to spare.
MAX_WAIT_S = 90.0
UNREADABLE = 65  # sysexits.h: EX_DATAERR

TOO_SLOW = "The PDF takes too long to be read: more than {limit} s of computing. Send it in parts."
_ROOT = Path(__file__).resolve().parent.parent


class ExtractionInterrupted(Exception):
    """The process that reads a file was ended from outside, or did not get its turn in time. Another try may do."""


class Extractor(Protocol):
    """Takes the text out of files of one kind."""

    def extract(self, pieces: Iterable[bytes]) -> str:
        """Return the text of the file that the pieces make. Raises DocumentUnreadable, ExtractionInterrupted."""
        ...


class PdfExtractor:
    """Reads PDF files, each in a process of its own. `max_text_bytes` bounds what a file may hold.

    Memory here is what the text takes; the file only passes through.
    """

    def __init__(
        self,
        *,
        max_text_bytes: int,
        max_memory_bytes: int = MAX_MEMORY_BYTES,
        max_computing_s: int = MAX_COMPUTING_S,
        max_wait_s: float = MAX_WAIT_S,
    ) -> None:
        self._limits = (max_text_bytes, max_memory_bytes, max_computing_s)
        self._max_computing_s = max_computing_s
        self._max_wait_s = max_wait_s

    def extract(self, pieces: Iterable[bytes]) -> str:
        argv = [sys.executable, "-m", "knowledge.extraction", *map(str, self._limits)]
        environment = {"PYTHONPATH": str(_ROOT), "PATH": os.defpath}
        pipe = subprocess.PIPE
        with subprocess.Popen(argv, stdin=pipe, stdout=pipe, env=environment, cwd=_ROOT) as child:  # noqa: S603
            assert child.stdin is not None
            try:
                with suppress(BrokenPipeError):  # it says why it ended
                    for piece in pieces:  # it writes when it has read everything
                        child.stdin.write(piece)
                said, _ = child.communicate(timeout=self._max_wait_s)
            except subprocess.TimeoutExpired as exc:
                raise ExtractionInterrupted(f"It was not done after {self._max_wait_s:.0f} s.") from exc
            finally:
                child.kill()
        return self._judge(child.returncode, said)

    def _judge(self, code: int, said: bytes) -> str:
        if code == 0:
            return said.decode()
        if code == UNREADABLE:
            raise DocumentUnreadable(said.decode())
        if code == -signal.SIGXCPU:
            raise DocumentUnreadable(TOO_SLOW.format(limit=self._max_computing_s))
        if code in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS):
            raise DocumentUnreadable(TOO_COMPLEX)
        raise ExtractionInterrupted(f"The process that read it ended with {code}.")


def main(max_text_bytes: int, max_memory_bytes: int, max_computing_s: int) -> int:
    """Read a file from stdin, write its text, or why it has none, to stdout."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # no file is written
    resource.setrlimit(resource.RLIMIT_CPU, (max_computing_s, max_computing_s + 1))
    resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))
    logging.disable()  # the reader complains of files at length, and may quote them
    try:
        said = extract_text(sys.stdin.buffer.read(), max_bytes=max_text_bytes)
        code = 0
    except DocumentUnreadable as exc:
        said, code = str(exc), UNREADABLE
    except MemoryError:
        said, code = TOO_COMPLEX, UNREADABLE
    sys.stdout.buffer.write(said.encode())
    sys.stdout.buffer.flush()
    os._exit(code)  # what the file was made of need not be taken apart


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
