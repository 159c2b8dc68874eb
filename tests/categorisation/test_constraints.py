"""What PostgreSQL itself refuses, whoever writes: raw SQL, every combination of a label's columns."""

from __future__ import annotations

import itertools
import math
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from categorisation.models import Category
from query.models import Thread
from teams.models import Project
from tests.factories.query import ThreadFactory
from tests.factories.teams import ProjectFactory

pytestmark = pytest.mark.django_db

NONE, OWN, FOREIGN, UNKNOWN = "none", "own", "another project's", "unknown"
CATEGORIES = [NONE, OWN, FOREIGN, UNKNOWN]
SOURCES = [None, "classifier", "user", "nobody"]
CONFIDENCES = [None, 0.0, 0.5, 1.0, -0.1, 1.1, math.nan]
TIMES = [None, "2026-01-01T00:00Z"]
VERSIONS = [None, 1]


@dataclass(frozen=True)
class Label:
    """A state of the columns that make up a label, whether it makes sense or not."""

    category: str
    source: str | None
    confidence: float | None
    categorised_at: str | None
    version: int | None

    @property
    def makes_sense(self) -> bool:
        if self.category not in (NONE, OWN):
            return False
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            return False
        if self.source is None:
            return self == Label(NONE, None, None, None, None)
        if self.source == "classifier":
            return self.category == OWN and self.categorised_at is not None
        return self.source == "user" and self.confidence is None and self.categorised_at is not None


LABELS = [Label(*columns) for columns in itertools.product(CATEGORIES, SOURCES, CONFIDENCES, TIMES, VERSIONS)]
INSERT = (
    "INSERT INTO query_thread (category_id, category_source, category_confidence, categorised_at,"
    " category_taxonomy_version, id, project_id, first_question, total_questions, is_uncertain, user_email,"
    " user_unique_client_id, user_metadata, origin_url, classify_attempts)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, 'How?', 1, false, '', '', '{}', '', 0)"
)
UPDATE = (
    "UPDATE query_thread SET category_id = %s, category_source = %s, category_confidence = %s, categorised_at = %s,"
    " category_taxonomy_version = %s WHERE id = %s"
)


def is_accepted(statement: str, parameters: list[Any]) -> bool:
    """Whether the database takes it, of which nothing is left behind."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            transaction.set_rollback(True)
    except IntegrityError:
        return False
    return True


@pytest.fixture
def category_ids(discovery: Category) -> dict[str, uuid.UUID | None]:
    foreign = ProjectFactory().categories.get(title="Discovery")
    return {NONE: None, OWN: discovery.pk, FOREIGN: foreign.pk, UNKNOWN: uuid.uuid4()}


@pytest.mark.parametrize("how", ["insert", "update"])
def test_check_16_raw_sql_writes_no_label_that_makes_no_sense(
    project: Project, category_ids: dict[str, uuid.UUID | None], how: str
):
    thread = ThreadFactory(project=project)
    wrong = []
    for label in LABELS:
        columns = [category_ids[label.category], label.source, label.confidence, label.categorised_at, label.version]
        if how == "insert":
            accepted = is_accepted(INSERT, [*columns, uuid.uuid4(), project.pk])
        else:
            accepted = is_accepted(UPDATE, [*columns, thread.pk])
        if accepted != label.makes_sense:
            wrong.append((label, "accepted" if accepted else "refused"))
    assert wrong == []


@pytest.fixture
def labelled(project: Project, discovery: Category) -> Thread:
    return ThreadFactory(
        project=project, category=discovery, category_source="user", categorised_at="2026-01-01T00:00Z"
    )


def test_check_16_raw_sql_deletes_no_category_that_a_thread_bears(labelled: Thread):
    assert not is_accepted("DELETE FROM categorisation_category WHERE id = %s", [labelled.category_id])


def test_check_16_raw_sql_moves_no_thread_and_no_borne_category_to_another_project(labelled: Thread):
    elsewhere = ProjectFactory()
    assert not is_accepted("UPDATE query_thread SET project_id = %s WHERE id = %s", [elsewhere.pk, labelled.pk])
    move = "UPDATE categorisation_category SET project_id = %s, title = 'Moved' WHERE id = %s"
    assert not is_accepted(move, [elsewhere.pk, labelled.category_id])
    assert not is_accepted(
        "UPDATE categorisation_category SET id = %s WHERE id = %s", [uuid.uuid4(), labelled.category_id]
    )


def test_check_16_raw_sql_makes_no_second_category_of_a_title(project: Project, discovery: Category):
    copy = (
        "INSERT INTO categorisation_category"
        " (id, project_id, title, description, examples, cues, is_predefined, created_at, updated_at)"
        " VALUES (%s, %s, %s, '', '{}', '{}', false, now(), now())"
    )
    assert not is_accepted(copy, [uuid.uuid4(), project.pk, " discovery "])
    assert is_accepted(copy, [uuid.uuid4(), ProjectFactory(name="Another").pk, "Careers"])
