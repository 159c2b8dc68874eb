"""docs/operations.md names every setting that the code reads, and none that it does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from config.environment import Environment
from vectordb.server.settings import Settings as VectordbSettings

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "operations.md").read_text()
# What code outside of the typed settings reads: environ["NAME"], environ.get("NAME"), a helper's (environ, "NAME", …).
READ_ELSEWHERE = re.compile(r"""environ(?:ment)?(?:\.get\(|\[|,\s*)"([A-Z][A-Z0-9_]+)\"""")
NOBODY_SETS = {
    "DJANGO_SETTINGS_MODULE",  # always config.settings
    "MAKELEVEL",  # make's own
    "PATH",
    "PROMETHEUS_MULTIPROC_DIR",  # each server makes a folder of its own
}


def documented() -> set[str]:
    """The names in the first column of the tables below "Settings"."""
    settings = re.search(r"^## Settings$(.*?)^## ", GUIDE, re.DOTALL | re.MULTILINE)
    assert settings
    cells = re.findall(r"^\| (`[^|]*`) \|", settings[1], re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([A-Z0-9_]+)`", cell)}


def read_by_the_code() -> set[str]:
    typed = {name.upper() for name in Environment.model_fields}
    vectordb = {f"VECTORDB_{name.upper()}" for name in VectordbSettings.model_fields}
    rooms = [
        ROOT / name for name in ("config", "deploy", "knowledge", "observability", "query", "teams", "categorisation")
    ]
    files = [path for room in rooms for path in room.rglob("*.py")]
    elsewhere = {name for path in files for name in READ_ELSEWHERE.findall(path.read_text())}
    return (typed | vectordb | elsewhere) - NOBODY_SETS


def test_every_setting_stands_in_the_guide_of_operations():
    assert read_by_the_code() - documented() == set(), "add them to the tables in docs/operations.md"


def test_the_guide_tells_how_long_a_secret_key_must_be():
    told = re.search(r"^\| `SECRET_KEY` \|.* At least (\d+) characters", GUIDE, re.MULTILINE)
    assert told
    with pytest.raises(ValidationError) as short:
        Environment(secret_key="x" * (int(told[1]) - 1))  # type: ignore[call-arg, arg-type]
    assert "secret_key" in {fault["loc"][0] for fault in short.value.errors()}
    accepted = Environment(secret_key="x" * int(told[1]))  # type: ignore[call-arg, arg-type]
    assert accepted.secret_key


@pytest.mark.parametrize("block", re.findall(r"^```sh\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE))
def test_no_commands_stand_twice_in_a_row_of_them(block: str):
    steps = block.strip().split("\n\n")
    assert len(set(steps)) == len(steps)


def test_the_guide_names_no_setting_that_nobody_reads():
    assert documented() - read_by_the_code() == set()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\]\(#([a-z0-9-]+)\)", GUIDE))))
def test_links_within_the_guide_lead_somewhere(name: str):
    headings = re.findall(r"^##+ (.*)$", GUIDE, re.MULTILINE)
    assert name in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
