"""Check 23: schemathesis asks the running service what nobody thought of. No 5xx comes of it, and no answer that the
description does not tell: statuses, content types, bodies, events, headers.

`make soak PYTEST_ARGS=tests/contract` asks for an hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from categorisation.models import ActorKind, Run
from config.pagination import Cursor
from query.models import Thread
from teams.models import Project, Scope
from teams.services import create_api_key
from tests.contract.fuzzing.campaign import Outcome, Target, ask_in_chains, ask_one_by_one
from tests.contract.test_openapi import PROMISED
from tests.crash.conftest import bot as bot
from tests.crash.conftest import logs_of
from tests.crash.service import WEB_ENVIRONMENT, Bot, Service, Web
from tests.factories.categorisation import CategoryFactory
from tests.factories.knowledge import DocumentFactory
from tests.factories.query import QuestionAnswerFactory, ThreadFactory
from tests.plugin import neighbours

pytestmark = [pytest.mark.django_db(transaction=True)]

# Valid by the description, and refused, whichever field it is in: rules that JSON Schema cannot state, or says in other
# words. How far a run comes in its time decides which fields it tries, so that none is named that need not be.
UNSPEAKABLE_ANYWHERE = (
    "blank",  # spaces, or what nobody sees
    "control",
    "duplicate",
    "empty",
    "immutable",
    "invisible",
    "no_name",
    "nul",
    "null_characters_not_allowed",
    "number_too_large",
    "parse_error",  # NUL characters, also in fields that nobody reads; numbers beyond a double
    "scheme",
    "too_large",
    "unreadable",
    "unsupported_media_type",  # a file's kind is told by its name
)
UNSPEAKABLE = (
    *(("*", code) for code in UNSPEAKABLE_ANYWHERE),
    ("cursor", "invalid"),
    ("thread_id", "invalid"),  # an empty text is taken for a UUID
)


@pytest.fixture
def service(request: pytest.FixtureRequest, bot: Bot, broker: str) -> Iterator[Service]:
    """A worker that labels and indexes without pause; web servers to be started before it."""
    service = Service(neighbours, broker, {"DUMMY_CLASSIFIER_SECONDS": "0"}, logs=logs_of(request))
    service.start_worker("live,ingest,mail,backfill", environment={"EMBEDDER": WEB_ENVIRONMENT["EMBEDDER"]})
    yield service
    service.close()


@pytest.fixture
def web(service: Service) -> Web:
    """A web server that sets no limit of calls."""
    return service.start_web(environment={"CALLS_PER_MINUTE": "0"})


def make_target(web: Web, bot: Bot, *, keys: Sequence[Scope] = ()) -> Target:
    """The service, with ids of things that are there in every state."""
    project = bot.project
    categories = [CategoryFactory(project=project) for _ in range(25)]
    threads = make_threads(project, categories)
    documents = [DocumentFactory(project=project) for _ in range(30)]
    runs = [make_run(project, "category_deleted", state) for state in ("running", "paused") * 8]
    runs.append(make_run(project, "backfill", "paused"))
    runs.append(make_run(project, "preview", "done", result={"sample": 1, "failed": 0, "counts": [], "table": []}))
    of = {"thread_id": threads, "category_id": categories, "document_id": documents, "run_id": runs}
    ids = {f"path.{name}": [str(row.pk) for row in rows] for name, rows in of.items()}
    return Target(
        schema=f"{web.client.base_url}/schema?format=json",
        base_url=str(web.client.base_url),
        key=bot.key,
        ids={**ids, "query.category": ["null", *ids["path.category_id"]], "query.reassign_to": ids["path.category_id"]},
        fixed={"path.project_id": str(project.pk)},
        keys=[create_api_key(project=project, name=scope, scopes=[scope])[1] for scope in keys],
        cursors=[Cursor(row.created_at, row.pk, bool(place % 2)).encode() for place, row in enumerate(threads)],
        unspeakable=UNSPEAKABLE,
    )


def make_threads(project: Project, categories: Sequence[Any]) -> list[Thread]:
    threads = [ThreadFactory(project=project) for _ in range(40)]
    for number, thread in enumerate(threads):
        QuestionAnswerFactory.create_batch(number % 3, thread=thread)
        if number % 4 < 3:
            source, confidence = (("user", None), ("classifier", 0.5), ("user", None))[number % 4]
            category = None if number % 4 == 2 else categories[number % len(categories)]
            Thread.objects.filter(pk=thread.pk).update(
                category=category,
                category_source=source,
                category_confidence=confidence,
                categorised_at=timezone.now(),
            )
    Thread.objects.filter(pk__in=[thread.pk for thread in threads[::5]]).update(
        created_at=timezone.now() - timedelta(days=3)
    )
    return threads


def make_run(project: Project, kind: str, state: str, **fields: Any) -> Run:
    finished_at = timezone.now() if state in ("done", "cancelled") else None
    return Run.objects.create(
        project=project,
        kind=kind,
        state=state,
        total=10,
        taxonomy_version=1,
        started_by_kind=ActorKind.COMMAND,
        started_by="test",
        finished_at=finished_at,
        **fields,
    )


def check(outcome: Outcome, *, calls: int) -> None:
    if not outcome.is_clean or max(outcome.statuses) >= 500:
        pytest.fail(outcome.report, pytrace=False)
    assert sum(outcome.statuses.values()) > calls, outcome.report


def calls_that_never_came_through(outcome: Outcome) -> list[str]:
    calls = [f"{method.upper()} {path}" for method, path in PROMISED]
    return [call for call in calls if not any(status < 300 for status in outcome.statuses_of(call))]


@pytest.mark.ci
def test_check_23_calls_one_by_one_get_no_5xx_and_no_answer_that_is_not_described(web: Web, bot: Bot, tmp_path: Path):
    outcome = ask_one_by_one(make_target(web, bot, keys=list(Scope)), tmp_path, examples=50)
    check(outcome, calls=1_000)
    assert calls_that_never_came_through(outcome) == []
    assert outcome.statuses[403] > 10


@pytest.mark.ci
def test_check_23_chains_of_calls_get_no_5xx_and_no_answer_that_is_not_described(web: Web, bot: Bot, tmp_path: Path):
    check(ask_in_chains(make_target(web, bot), tmp_path, seconds=90), calls=100)


@pytest.mark.ci
def test_check_23_refusals_for_too_many_calls_are_described_too(service: Service, bot: Bot, tmp_path: Path):
    web = service.start_web(environment={"CALLS_PER_MINUTE": "60"})
    outcome = ask_one_by_one(make_target(web, bot), tmp_path, examples=5)
    check(outcome, calls=500)
    assert outcome.statuses[429] > 300


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_check_23_thousands_of_examples_find_no_more(web: Web, bot: Bot, tmp_path: Path, seed: int):
    target = make_target(web, bot, keys=list(Scope))
    check(ask_one_by_one(target, tmp_path, examples=1_000, seed=seed), calls=10_000)
    check(ask_in_chains(target, tmp_path, seconds=600, seed=seed), calls=1_000)
