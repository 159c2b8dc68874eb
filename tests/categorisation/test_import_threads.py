"""`manage.py import_threads`: what a file of past conversations becomes in the database."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from categorisation import conversations_file, services
from categorisation.conversations_file import Line
from categorisation.models import Category, LabelChange
from categorisation.services import imports
from query.models import QuestionAnswer, Thread
from teams.models import Project
from tests.categorisation.two_connections import (
    started_on_another_connection,
    uncommitted_on_another_connection,
    wait_until_somebody_waits_for_a_lock,
)
from tests.factories.categorisation import CategoryFactory
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory

REPOSITORY = Path(__file__).resolve().parents[2]
GUIDE = REPOSITORY / "docs" / "guides" / "importing.md"

pytestmark = pytest.mark.django_db


def write_lines(folder: Path, *lines: dict[str, Any] | bytes) -> Path:
    path = folder / "past.jsonl"
    path.write_bytes(b"".join(b if isinstance(b, bytes) else json.dumps(b).encode() + b"\n" for b in lines))
    return path


def conversation(external_id: str, **fields: Any) -> dict[str, Any]:
    question = f"How do I do {external_id}?"
    return {"external_id": external_id, "question": question, "created_at": "2025-01-01T00:00:00Z", **fields}


def run_import(path: Path | str, project: Project | str, *options: str) -> str:
    out = StringIO()
    project_id = project if isinstance(project, str) else str(project.pk)
    call_command("import_threads", str(path), "--project", project_id, *options, stdout=out, stderr=StringIO())
    return out.getvalue()


def run_bad_import(path: Path | str, project: Project, *options: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    with pytest.raises(CommandError, match="Bad lines passed over") as ended:
        call_command("import_threads", str(path), "--project", str(project.pk), *options, stdout=out, stderr=err)
    assert ended.value.returncode == 1
    return out.getvalue(), err.getvalue()


class TestWhatIsImported:
    def test_the_guides_example(self, project, discovery, tmp_path, api):
        example = re.search(r"```json\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        path = tmp_path / "past.jsonl"
        path.write_text(example[1])
        assert run_import(path, project) == (
            "3 imported (1 with a person's decision, 1 without a time, dated a day back), 0 already there, 0 bad.\n"
        )
        first, second, third = Thread.objects.filter(project=project).order_by("external_id")
        row = api.get(f"/query/v1/projects/{project.pk}/threads/{first.pk}/").json()
        assert row["created_at"] == "2025-03-31T09:30:00Z"
        assert row["last_activity_at"] == "2025-03-31T09:31:20Z"
        assert row["first_question"] == "How do I send something back?"
        assert (row["total_questions"], row["is_uncertain"]) == (2, True)
        assert row["category"] == {"id": str(discovery.pk), "title": "Discovery"}
        assert (row["category_source"], row["category_confidence"]) == ("user", None)
        assert [exchange["question"] for exchange in row["question_answers"]] == [
            "How do I send something back?",
            "And after 30 days?",
        ]
        assert row["question_answers"][0]["relevant_sources"][0]["title"] == "Returns"
        assert [exchange["is_uncertain"] for exchange in row["question_answers"]] == [False, True]
        assert (first.user_email, first.user_unique_client_id) == ("ann@example.com", "browser-17")
        assert (first.user_metadata, first.origin_url) == ({"plan": "free"}, "https://example.com/help")
        assert first.category_taxonomy_version == project.taxonomy.version
        assert second.question_answers.get().answer == ""
        assert third.created_at == third.last_activity_at == datetime.fromisoformat("2025-04-02T16:00:00Z")
        assert third.category_source is None

    def test_the_guide_tells_of_every_field(self):
        told = set(re.findall(r"^\| `(\w+)`", GUIDE.read_text(), re.MULTILINE))
        assert told == conversations_file._SHORT_FORM | conversations_file._LONG_FORM

    def test_texts_come_through_as_they_are(self, project, tmp_path):
        strange = 'tab\t newline\n return\r backslash\\ \\N \\. quote" comma, ünïcödé 🙂 \x7f \x01'
        metadata = {strange: [strange, 1.5, None, True]}
        exchange = {"question": "q" + strange + "q", "answer": strange}
        path = write_lines(
            tmp_path,
            {"external_id": strange, "question_answers": [exchange], "user": {"metadata": metadata}},
            conversation("\\N", answer="\\."),
        )
        assert run_import(path, project).startswith("2 imported")
        thread = Thread.objects.get(external_id=strange)
        assert (thread.first_question, thread.user_metadata) == ("q" + strange + "q", metadata)
        assert thread.question_answers.get().answer == strange
        assert Thread.objects.get(external_id="\\N").question_answers.get().answer == "\\."

    def test_exchanges_of_one_moment_keep_their_order(self, project, tmp_path):
        questions = [f"question {number}" for number in range(50)]
        exchanges = [{"question": question} for question in questions]
        path = write_lines(
            tmp_path, {"external_id": "1", "created_at": "2025-01-01T00:00:00Z", "question_answers": exchanges}
        )
        run_import(path, project)
        assert list(QuestionAnswer.objects.values_list("question", flat=True)) == questions

    def test_a_thread_changed_when_it_was_imported(self, project, tmp_path):
        before = timezone.now() - timedelta(seconds=5)
        run_import(write_lines(tmp_path, conversation("1", created_at="2020-01-01T00:00:00Z")), project)
        thread = Thread.objects.get()
        assert thread.updated_at > before
        assert thread.created_at.year == thread.last_activity_at.year == 2020

    def test_the_standard_input(self, project, monkeypatch):
        given = BytesIO(json.dumps(conversation("1")).encode() + b"\n\n  \n" + json.dumps(conversation("2")).encode())
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(given))
        assert run_import("-", project).startswith("2 imported")

    def test_a_pipe_with_a_name(self, project, tmp_path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_bytes, args=[json.dumps(conversation("1")).encode()])
        writer.start()
        assert run_import(pipe, project).startswith("1 imported")
        writer.join()

    def test_an_empty_file(self, project, tmp_path):
        assert run_import(write_lines(tmp_path), project) == "0 imported, 0 already there, 0 bad.\n"


class TestLabels:
    def test_categories_are_found_as_the_api_compares_them(self, project, discovery, tmp_path):
        street = CategoryFactory(project=project, title="Straße")
        lines = [
            conversation("1", category="  dISCOVERY "),
            conversation("2", category=str(discovery.pk).upper()),
            conversation("3", category="STRASSE"),
        ]
        run_import(write_lines(tmp_path, *lines), project)
        labels = Thread.objects.order_by("external_id").values_list("category", "category_source")
        assert list(labels) == [(discovery.pk, "user"), (discovery.pk, "user"), (street.pk, "user")]

    def test_none_of_them_is_a_decision(self, project, tmp_path):
        run_import(write_lines(tmp_path, conversation("1", category=None, category_source="user")), project)
        thread = Thread.objects.get()
        assert (thread.category, thread.category_source) == (None, "user")
        assert thread.categorised_at is not None

    def test_decisions_stand_in_the_history(self, project, discovery, tmp_path):
        lines = [
            conversation("1", category="Discovery"),
            conversation("2", category=None, category_source="user"),
            conversation("3"),
        ]
        path = write_lines(tmp_path, *lines)
        run_import(path, project)
        run_import(path, project)
        changes = LabelChange.objects.order_by("thread__external_id").values_list(
            "thread__external_id", "from_category", "from_source", "to_category", "to_source", "actor_kind", "actor"
        )
        assert list(changes) == [
            ("1", None, None, discovery.pk, "user", "command", "import_threads"),
            ("2", None, None, None, "user", "command", "import_threads"),
        ]

    @pytest.mark.parametrize(
        "named",
        ["Returns", pytest.param(str(uuid4()), id="an unknown id"), "of another project", "deleted", "\x1b[31mred"],
    )
    def test_a_category_that_is_not_there_is_a_bad_line(self, project, discovery, tmp_path, named):
        CategoryFactory(title="of another project")
        CategoryFactory(project=project, title="deleted", deleted_at=timezone.now())
        out, err = run_bad_import(
            write_lines(tmp_path, conversation("1", category=named), conversation("2", category="Discovery")), project
        )
        assert f"line 1: category: the project has no category {named!r}" in err
        assert "1 imported" in out
        assert Category.objects.filter(project=project, deleted_at=None).count() == 2

    def test_no_decision_is_announced_and_unlabelled_threads_are_due(self, project, tmp_path, monkeypatch):
        monkeypatch.setattr("config.nudging.nudger", None)  # a nudge would fail
        run_import(write_lines(tmp_path, conversation("1"), conversation("2")), project)
        for thread in Thread.objects.all():
            assert thread.classify_after <= timezone.now()
            assert (thread.classify_attempts, thread.category_source) == (0, None)


class TestAgain:
    def test_nothing_changes_and_the_command_says_so(self, project, tmp_path):
        run_import(write_lines(tmp_path, conversation("1", category="Discovery"), conversation("2")), project)
        before = list(Thread.objects.order_by("pk").values())
        path = write_lines(tmp_path, conversation("1", category="Troubleshooting", answer="New."), conversation("2"))
        assert run_import(path, project) == "0 imported, 2 already there, 0 bad.\nNothing was new.\n"
        assert list(Thread.objects.order_by("pk").values()) == before
        assert QuestionAnswer.objects.count() == 2

    def test_of_two_with_one_id_the_first_wins(self, project, tmp_path, monkeypatch):
        lines = [conversation("1", answer="first"), conversation("1", answer="second"), conversation("2")]
        path = write_lines(tmp_path, *lines, conversation("1", answer="third"))
        monkeypatch.setattr(imports, "MAX_BATCH_THREADS", 2)
        assert run_import(path, project).startswith("2 imported, 2 already there")
        assert Thread.objects.get(external_id="1").question_answers.get().answer == "first"

    def test_a_bad_line_does_not_take_the_id(self, project, tmp_path):
        lines = [conversation("1", category="nowhere"), conversation("1", answer="second")]
        run_bad_import(write_lines(tmp_path, *lines), project)
        assert QuestionAnswer.objects.get().answer == "second"

    def test_two_projects_may_use_the_same_ids(self, project, tmp_path):
        path = write_lines(tmp_path, conversation("1"))
        other = ProjectFactory()
        assert run_import(path, project).startswith("1 imported")
        assert run_import(path, other).startswith("1 imported")
        assert set(Thread.objects.values_list("project", flat=True)) == {project.pk, other.pk}

    def test_threads_that_were_never_imported_stay_untouched(self, project, tmp_path):
        own = ThreadFactory(project=project)
        run_import(write_lines(tmp_path, conversation("1")), project)
        assert Thread.objects.get(pk=own.pk).external_id is None
        assert Thread.objects.count() == 2


class TestBadLines:
    def test_they_are_told_and_the_rest_is_imported(self, project, tmp_path):
        lines = [b"\xff\n", conversation("1"), b"{\n", b"\n", {"external_id": "2"}, conversation("3")]
        out, err = run_bad_import(write_lines(tmp_path, *lines), project)
        assert out == "2 imported, 0 already there, 3 bad.\n"
        assert [line.split(": ")[0] for line in err.splitlines()] == ["line 1", "line 3", "line 5"]

    def test_after_twenty_they_are_counted_and_all_stand_in_the_file(self, project, tmp_path):
        errors = tmp_path / "errors.txt"
        out, err = run_bad_import(write_lines(tmp_path, *[b"{\n"] * 25), project, "--errors", str(errors))
        assert "25 bad" in out
        assert len(re.findall("^line", err, re.MULTILINE)) == 20
        assert "… and 5 more bad lines" in err
        assert len(errors.read_text().splitlines()) == 25

    def test_a_line_that_only_the_database_refuses_goes_alone(self, project):
        """The parser knows what the database refuses. Here it does not: a column is too short all at once."""
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE query_thread ALTER external_id TYPE varchar(3)")
        lines = [Line(n, json.dumps(conversation(x)).encode(), 1) for n, x in enumerate(["1", "long", "3", "4"], 1)]
        tally, told = imports.Tally(), []
        imports.import_threads(
            lines, project_id=project.pk, tally=tally, report=lambda number, reason: told.append((number, reason))
        )
        assert (tally.imported, tally.bad) == (3, 1)
        assert told[0][0] == 2
        assert "the database refuses it: value too long" in told[0][1]
        assert set(Thread.objects.values_list("external_id", flat=True)) == {"1", "3", "4"}


class TestDryRun:
    def test_it_tells_what_would_be_and_writes_nothing(self, project, tmp_path, monkeypatch):
        monkeypatch.setattr(imports, "MAX_BATCH_THREADS", 1)
        run_import(write_lines(tmp_path, conversation("1")), project)
        lines = [
            conversation("1"),
            conversation("2", category="Discovery"),
            conversation("3", category="nowhere"),
            conversation("2"),
            b"{\n",
        ]
        path = write_lines(tmp_path, *lines)
        out, err = run_bad_import(path, project, "--dry-run")
        assert out == (
            "1 to be imported (1 with a person's decision), 2 already there, 2 bad.\nA dry run: nothing was written.\n"
        )
        assert "line 3: category" in err
        assert Thread.objects.count() == 1
        run_bad_import(path, project, "--dry-run")  # leaves nothing behind that stands in its own way
        out, _ = run_bad_import(path, project)
        assert out.startswith("1 imported (1 with a person's decision), 2 already there, 2 bad.")


class TestCalls:
    @pytest.mark.parametrize("project_id", ["nonsense", pytest.param(str(uuid4()), id="an unknown id")])
    def test_a_project_that_is_not_there(self, tmp_path, project_id):
        with pytest.raises(CommandError, match="There is no project"):
            run_import(write_lines(tmp_path), project_id)

    def test_a_file_that_is_not_there_or_a_folder(self, project, tmp_path):
        with pytest.raises(CommandError, match="There is no file"):
            run_import(tmp_path / "nowhere", project)
        with pytest.raises(CommandError, match="is a folder"):
            run_import(tmp_path, project)

    def test_errors_are_not_written_over_the_file_itself(self, project, tmp_path):
        path = write_lines(tmp_path, conversation("1"))
        for errors in (path, tmp_path / "nowhere" / "errors.txt", tmp_path):
            with pytest.raises(CommandError, match=r"names the file|cannot be written"):
                run_import(path, project, "--errors", str(errors))
        assert path.read_bytes()
        assert not Thread.objects.exists()

    def test_an_interrupted_import_tells_how_far_it_came(self, project, tmp_path, monkeypatch):
        class Interrupted(BytesIO):
            def readline(self, size: int | None = -1, /) -> bytes:
                line = super().readline(size)
                if not line:
                    raise KeyboardInterrupt
                return line

        given = Interrupted(b"".join(json.dumps(conversation(str(n))).encode() + b"\n" for n in range(5)))
        monkeypatch.setattr(imports, "MAX_BATCH_THREADS", 2)
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(given))
        out = StringIO()
        with pytest.raises(CommandError, match="goes on where it ended") as ended:
            call_command("import_threads", "-", "--project", str(project.pk), stdout=out)
        assert ended.value.returncode == 130
        assert out.getvalue().startswith("4 imported")
        assert Thread.objects.count() == 4


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_a_category_that_is_deleted_meanwhile_labels_nothing(self, project, discovery, tmp_path):
        path = write_lines(tmp_path, conversation("1", category="Discovery"), conversation("2"))

        def delete() -> None:
            services.delete_category(project_id=project.pk, category_id=discovery.pk)

        with (
            uncommitted_on_another_connection(delete) as commit,
            started_on_another_connection(lambda: run_bad_import(path, project)) as importing,
        ):
            wait_until_somebody_waits_for_a_lock()
            commit()
            out, err = importing.result(20)
        assert out.startswith("1 imported, 0 already there, 1 bad")
        assert "line 1: category: it was deleted meanwhile" in err
        assert Thread.objects.get().external_id == "2"

    def test_a_deletion_waits_for_the_batch_and_finds_its_threads(self, project, discovery, tmp_path):
        path = write_lines(tmp_path, conversation("1", category="Discovery"))

        def delete() -> None:
            services.delete_category(project_id=project.pk, category_id=discovery.pk)

        with (
            uncommitted_on_another_connection(lambda: run_import(path, project)) as commit,
            started_on_another_connection(delete) as deleting,
        ):
            wait_until_somebody_waits_for_a_lock()
            commit()
            deleting.result(20)
        assert Thread.objects.get().category_id == discovery.pk  # to be freed like any other
        assert Category.objects.get(pk=discovery.pk).deleted_at is not None

    def test_two_imports_of_one_file_import_it_once(self, project, tmp_path):
        path = write_lines(tmp_path, conversation("1"), conversation("2"))
        with (
            uncommitted_on_another_connection(lambda: run_import(path, project)) as commit,
            started_on_another_connection(lambda: run_import(path, project)) as second,
        ):
            wait_until_somebody_waits_for_a_lock()
            commit()
            assert second.result(20).startswith("0 imported, 2 already there")
        assert Thread.objects.count() == QuestionAnswer.objects.count() == 2

    def test_a_database_that_goes_away_ends_it_in_words(self, project, tmp_path):
        path = write_lines(tmp_path, conversation("1"))
        with (
            uncommitted_on_another_connection(lambda: run_import(path, project)) as commit,
            started_on_another_connection(lambda: run_import(path, project)) as importing,
        ):
            wait_until_somebody_waits_for_a_lock()
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
            with pytest.raises(CommandError, match=r"(?s)The database failed: .*goes on where it ended"):
                importing.result(20)
            commit()

    def test_a_project_that_is_deleted_meanwhile(self, project, tmp_path):
        path = write_lines(tmp_path, conversation("1"))
        with (
            uncommitted_on_another_connection(Project.objects.get(pk=project.pk).delete) as commit,
            started_on_another_connection(lambda: run_import(path, project)) as importing,
        ):
            wait_until_somebody_waits_for_a_lock()
            commit()
            with pytest.raises(CommandError, match="any more"):
                importing.result(20)
        assert not Thread.objects.exists()


@pytest.mark.ci
@pytest.mark.django_db(transaction=True)
def test_an_import_that_is_killed_is_completed_by_the_next(project, tmp_path):
    wanted = {str(number): 1 + number % 3 for number in range(3_500)}
    lines = [
        {
            "external_id": external_id,
            "question_answers": [{"question": f"question {number}"} for number in range(exchanges)],
            "category": "Discovery" if exchanges == 2 else None,
        }
        for external_id, exchanges in wanted.items()
    ]
    path = write_lines(tmp_path, *lines)

    with transaction.atomic():
        # a batch has inserted its threads, and waits in the middle
        connection.cursor().execute("LOCK TABLE query_questionanswer IN SHARE ROW EXCLUSIVE MODE")
        with import_process(str(path), project) as importing:
            wait_until_somebody_waits_for_a_lock()
            importing.kill()
    assert not Thread.objects.exists()

    with import_process("-", project) as importing:  # two batches have come, and a part of the third
        importing.stdin.write(b"".join(path.read_bytes().splitlines(keepends=True)[:2_500]))
        importing.stdin.flush()
        _wait_for_threads(2_000)
        importing.kill()
    assert Thread.objects.count() == 2_000
    _assert_complete(wanted, project.pk)

    with import_process(str(path), project) as importing:
        out, _ = importing.communicate()
    assert importing.returncode == 0
    assert out.decode().startswith("1500 imported")
    assert "2000 already there, 0 bad." in out.decode()
    _assert_complete(wanted, project.pk)
    assert Thread.objects.count() == len(wanted)


def import_process(file: str, project: Project) -> subprocess.Popen[bytes]:
    name = connection.settings_dict["NAME"]
    url = re.sub(r"/[^/?]*(\?.*)?$", rf"/{name}\1", os.environ["DATABASE_URL"])
    return subprocess.Popen(
        [sys.executable, "manage.py", "import_threads", file, "--project", str(project.pk)],
        cwd=REPOSITORY,
        env={**os.environ, "DATABASE_URL": url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _wait_for_threads(count: int) -> None:
    deadline = time.monotonic() + 30
    while Thread.objects.count() < count:
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def _assert_complete(wanted: dict[str, int], project_id: UUID) -> None:
    """Whatever threads are there have all that belongs to them."""
    discovery = Category.objects.get(project=project_id, title="Discovery")
    threads = Thread.objects.filter(project_id=project_id).prefetch_related("question_answers", "label_changes")
    for thread in threads:
        exchanges = wanted[thread.external_id]
        assert len(thread.question_answers.all()) == thread.total_questions == exchanges
        assert thread.category_id == (discovery.pk if exchanges == 2 else None)
        assert len(thread.label_changes.all()) == (exchanges == 2)
