"""The room's parts follow the settings; a setting that is not understood stops every process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from pydantic import SecretStr

from knowledge import checks, composition
from knowledge.embedders import MiniLMEmbedder, OpenAIEmbedder
from knowledge.errors import DocumentUnreadable
from knowledge.loaders import PlainTextLoader
from knowledge.splitter import HeadingSplitter
from tests.knowledge.fakes import TinyEmbedder


def faults() -> list[str]:
    return [fault.msg for fault in checks.check_settings()]


def make_splitter() -> HeadingSplitter:
    return HeadingSplitter(target_characters=50)


not_callable = "a text"
OPENAI = {"embedder": "openai", "embedder_base_url": "http://127.0.0.1:1/v1", "embedder_model": "small"}


def test_the_defaults_work_offline(use_environment):
    use_environment()
    assert faults() == []
    assert isinstance(composition.embedder(), MiniLMEmbedder)
    assert isinstance(composition.splitter(), HeadingSplitter)
    assert composition.embedder() is composition.embedder()


def test_an_openai_compatible_endpoint(use_environment):
    use_environment(**OPENAI)
    assert faults() == []
    assert isinstance(composition.embedder(), OpenAIEmbedder)
    assert composition.embedder().fingerprint == "small@127.0.0.1:1/v1"


def test_parts_of_ones_own(use_environment):
    use_environment(
        embedder="tests.knowledge.fakes.TinyEmbedder",
        splitter=f"{__name__}.make_splitter",
        loaders={"text/html": "knowledge.loaders.PlainTextLoader"},
    )
    assert faults() == []
    assert isinstance(composition.embedder(), TinyEmbedder)
    assert isinstance(composition.loader_for("text/html"), PlainTextLoader)
    assert not isinstance(composition.loader_for("text/markdown"), PlainTextLoader)


def test_a_content_type_without_a_loader_is_unreadable(use_environment):
    use_environment()
    with pytest.raises(DocumentUnreadable) as refusal:
        composition.loader_for("application/msword")
    assert refusal.value.attr == "content_type"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"embedder": "openai", "embedder_model": "m"}, "EMBEDDER_BASE_URL"),
        ({"embedder": "openai", "embedder_model": "m", "embedder_base_url": "localhost:1"}, "EMBEDDER_BASE_URL"),
        ({"embedder": "openai", "embedder_base_url": "http://h"}, "EMBEDDER_MODEL"),
        ({"embedder": "no.such.module"}, "EMBEDDER"),
        ({"embedder": f"{__name__}.not_callable"}, "EMBEDDER"),
        ({"splitter": "os.no_such_name"}, "SPLITTER"),
        ({"loaders": {"text/html": "nonsense"}}, "LOADERS"),
        ({"loaders": {"application/msword": "knowledge.loaders.PlainTextLoader"}}, "LOADERS"),
        ({**OPENAI, "embedder_api_key": SecretStr("schlüssel")}, "EMBEDDER_API_KEY"),
        ({"vectordb_api_key": SecretStr("a\nb")}, "VECTORDB_API_KEY"),
        ({"vectordb_url": "vectordb:8003"}, "VECTORDB_URL"),
        ({"vectordb_url": "http://host:port"}, "VECTORDB_URL"),
    ],
)
def test_a_setting_that_is_not_understood_is_named(use_environment, changes, named):
    use_environment(**changes)
    assert [fault.partition(":")[0].partition(",")[0] for fault in faults()] == [named]
    with pytest.raises(SystemExit) as end:
        checks.refuse_to_start(checks.check_settings())
    assert named in str(end.value)


@pytest.mark.parametrize(
    "argv",
    [
        ["-c", "import config.wsgi"],
        ["-m", "celery", "-A", "config", "worker", "-c", "1"],
        ["-m", "celery", "-A", "config", "beat", "--pidfile="],
        ["manage.py", "migrate", "--check"],
    ],
    ids=["web", "worker", "beat", "manage"],
)
def test_no_process_starts_with_a_setting_that_is_not_understood(argv):
    environment = {**os.environ, "EMBEDDER": "openai", "EMBEDDER_BASE_URL": "http://127.0.0.1:1", "EMBEDDER_MODEL": ""}
    ended = subprocess.run([sys.executable, *argv], env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert "Parley cannot start" in ended.stderr
    assert "EMBEDDER_MODEL" in ended.stderr


def test_a_forked_child_makes_parts_of_its_own(use_environment):
    use_environment(embedder="tests.knowledge.fakes.TinyEmbedder")
    ours = composition.embedder()
    child = os.fork()
    if child == 0:
        os._exit(0 if composition.embedder() is not ours else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert composition.embedder() is ours
