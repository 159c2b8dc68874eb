"""`manage.py import_threads FILE --project ID`: a file of past conversations as a project's threads."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from os import fstat
from os.path import samestat
from pathlib import Path
from typing import Any, BinaryIO, TextIO
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError
from tqdm import tqdm

from categorisation.conversations_file import Line, read_lines
from categorisation.services.imports import Tally, check_threads, import_threads
from teams.errors import ProjectNotFound
from teams.selectors import find_project

MAX_SHOWN = 20
INTERRUPTED = 130  # as shells count it
STANDARD_INPUT = "-"
AGAIN = "The same command goes on where it ended."


class Command(BaseCommand):
    help = (
        "Import past conversations from a file of JSON Lines, one conversation a line (docs/guides/importing.md). "
        "Those that were imported before stay as they are, so that an import may be repeated. A bad line is told "
        "and passed over; the exit code is not 0 then."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="a file of JSON Lines, or - for the standard input")
        parser.add_argument("--project", required=True, help="the project's id")
        parser.add_argument("--dry-run", action="store_true", help="check every line, and write nothing")
        parser.add_argument(
            "--errors", type=Path, help=f"a file for all bad lines' reasons: only {MAX_SHOWN} are shown"
        )

    def handle(self, *args: Any, file: str, project: str, dry_run: bool, errors: Path | None, **options: Any) -> None:
        try:
            project_id = find_project(project).pk
        except ProjectNotFound as exc:
            raise CommandError(str(exc)) from exc
        tally = Tally()
        with ExitStack() as opened:
            source = _open_source(file, opened)
            reasons = _open_errors(errors, source, opened)
            ended = self._run(source, project_id, tally, reasons, is_dry_run=dry_run)
        self._tell(tally, is_dry_run=dry_run)
        if ended is not None:
            raise ended
        if tally.bad:
            raise CommandError(f"Bad lines passed over: {tally.bad}.")

    def _run(
        self, source: BinaryIO, project_id: UUID, tally: Tally, reasons: TextIO | None, *, is_dry_run: bool
    ) -> CommandError | None:
        """What ended the import before the end of the file, if anything did."""
        work = check_threads if is_dry_run else import_threads
        report = partial(self._report, tally, reasons)
        try:
            with tqdm(total=_size_of(source), desc="reading", unit="B", unit_scale=True, disable=None) as bar:
                work(_with_progress(source, bar, tally), project_id=project_id, tally=tally, report=report)
        except KeyboardInterrupt:
            return CommandError(f"Interrupted. {AGAIN}", returncode=INTERRUPTED)
        except (OperationalError, InterfaceError) as exc:
            return CommandError(f"The database failed: {str(exc).strip()}\n{AGAIN}")
        except OSError as exc:
            return CommandError(f"Reading or writing a file failed: {exc}\n{AGAIN}")
        except ProjectNotFound as exc:
            return CommandError(str(exc))
        return None

    def _report(self, tally: Tally, reasons: TextIO | None, number: int, reason: str) -> None:
        message = f"line {number}: {reason}"
        if reasons is not None:
            reasons.write(message + "\n")
        if tally.bad <= MAX_SHOWN:
            with tqdm.external_write_mode():
                self.stderr.write(self.style.WARNING(message))

    def _tell(self, tally: Tally, *, is_dry_run: bool) -> None:
        if tally.bad > MAX_SHOWN:
            self.stderr.write(self.style.WARNING(f"… and {tally.bad - MAX_SHOWN} more bad lines"))
        verb = "to be imported" if is_dry_run else "imported"
        notes = [f"{tally.labelled} with a person's decision"] if tally.labelled else []
        notes += [f"{tally.undated} without a time, dated a day back"] if tally.undated else []
        details = f" ({', '.join(notes)})" if notes else ""
        self.stdout.write(f"{tally.imported} {verb}{details}, {tally.present} already there, {tally.bad} bad.")
        if tally.present and not tally.imported:
            self.stdout.write("Nothing was new.")
        if is_dry_run:
            self.stdout.write("A dry run: nothing was written.")


def _open_source(file: str, opened: ExitStack) -> BinaryIO:
    if file == STANDARD_INPUT:
        return sys.stdin.buffer
    path = Path(file)
    if path.is_dir():
        raise CommandError(f"{path} is a folder; a file of JSON Lines is expected.")
    try:
        return opened.enter_context(path.open("rb"))
    except FileNotFoundError as exc:
        raise CommandError(f"There is no file {path}.") from exc
    except OSError as exc:
        raise CommandError(f"{path} cannot be read: {exc.strerror}.") from exc


def _open_errors(path: Path | None, source: BinaryIO, opened: ExitStack) -> TextIO | None:
    if path is None:
        return None
    try:
        if path.exists() and _is_regular(source) and samestat(path.stat(), fstat(source.fileno())):
            raise CommandError("--errors names the file that is to be imported.")
        return opened.enter_context(path.open("w", encoding="utf-8"))
    except OSError as exc:
        raise CommandError(f"{path} cannot be written: {exc.strerror}.") from exc


def _with_progress(source: BinaryIO, bar: tqdm, tally: Tally) -> Iterator[Line]:
    for line in read_lines(source):
        yield line
        bar.set_postfix(imported=tally.imported, there=tally.present, bad=tally.bad, refresh=False)
        bar.update(line.size_bytes)


def _is_regular(source: BinaryIO) -> bool:
    try:
        return stat.S_ISREG(fstat(source.fileno()).st_mode)
    except OSError:  # a stream that is no file at all
        return False


def _size_of(source: BinaryIO) -> int | None:
    return fstat(source.fileno()).st_size if _is_regular(source) else None
