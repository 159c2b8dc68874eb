"""A run of schemathesis against a running server: what it is fed, and what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SEED = 20
HOOKS = Path(__file__).with_name("hooks.py")
TIMEOUT_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Target:
    """A server and its description.

    `ids` are of things that are there, by the parameter that takes them (`path.thread_id`, `query.category`); those in
    `fixed` are always used, the others mostly. Calls in `left_out` are not made: they would end what others need.
    `unspeakable` are refusals of valid data, by `attr` (`*` is any) and `code`, for what no schema can state.
    `ambiguous` are calls whose path another call's path parameter fits, too, `naming_others` those whose body names
    other things, which may be missing.
    """

    schema: str
    base_url: str
    key: str
    ids: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    keys: Sequence[str] = ()
    cursors: Sequence[str] = ()
    unspeakable: Sequence[tuple[str | None, str]] = ()
    ambiguous: Sequence[str] = ()
    naming_others: Sequence[str] = ()
    unavailable_is_expected: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How schemathesis ended, what it said, and how often each call got each answer."""

    is_clean: bool
    report: str
    answers: Mapping[str, int]

    def statuses_of(self, call: str) -> dict[int, int]:
        return {
            int(told.rpartition(" ")[2]): count
            for told, count in self.answers.items()
            if told.rpartition(" ")[0] == call
        }

    @property
    def statuses(self) -> dict[int, int]:
        counts: dict[int, int] = {}
        for told, count in self.answers.items():
            status = int(told.rpartition(" ")[2])
            counts[status] = counts.get(status, 0) + count
        return counts


def ask_one_by_one(target: Target, folder: Path, *, examples: int, seed: int = SEED) -> Outcome:
    """Ask each call by itself: what the description shows, the bounds of its schemas, and so many random examples."""
    return _run(target, folder, "--phases", "examples,coverage,fuzzing", "--max-examples", str(examples), seed=seed)


def ask_in_chains(target: Target, folder: Path, *, seconds: int, seed: int = SEED) -> Outcome:
    """Ask for so long in chains of calls, each with what the ones before it gave."""
    return _run(target, folder, "--phases", "stateful", "--max-time", str(seconds), seed=seed)


def _run(target: Target, folder: Path, *options: str, seed: int) -> Outcome:
    answers = folder / "answers.json"
    feed = folder / "feed.json"
    feed.write_text(
        json.dumps(
            {
                "key": target.key,
                "keys": list(target.keys),
                "cursors": list(target.cursors),
                "unspeakable": [{"attr": attr, "code": code} for attr, code in target.unspeakable],
                "ambiguous": list(target.ambiguous),
                "naming_others": list(target.naming_others),
                "answers": str(answers),
                "seed": seed,
            }
        )
    )
    settings = folder / "schemathesis.toml"
    settings.write_text(_write_settings(target))
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", target.schema]
    command += ["--url", target.base_url, *options, "--seed", str(seed)]
    command += ["--generation-database", "none", "--no-color", "--request-timeout", "30", "--continue-on-failure"]
    command += ["--suppress-health-check", "all"]
    ended = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "FUZZING_FEED": str(feed)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    told = json.loads(answers.read_text()) if answers.exists() else {}
    return Outcome(ended.returncode == 0, ended.stdout[-60_000:] + ended.stderr[-10_000:], told)


def _write_settings(target: Target) -> str:
    """TOML, whose strings and lists are JSON's."""
    quote = json.dumps
    lines = [f"hooks = {quote(str(HOOKS))}"]
    for number, ids in enumerate(target.ids.values()):
        lines += [f"[dictionaries.d{number}]", f"values = {quote(list(ids))}"]
    lines.append("[parameters]")
    lines += [f"{quote(name)} = {quote(value)}" for name, value in target.fixed.items()]
    for number, name in enumerate(target.ids):
        lines.append(f'{quote(name)} = {{ dictionary = "d{number}", probability = 0.7 }}')
    if target.unavailable_is_expected:
        lines += ["[checks.not_a_server_error]", 'expected-statuses = ["2xx", "3xx", "4xx", 503]']
    for call in target.left_out:
        lines += ["[[operations]]", f"include-name = {quote(call)}", "enabled = false"]
    return "\n".join(lines) + "\n"
