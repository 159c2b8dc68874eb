"""Past conversations become threads, in batches, each in one transaction.

What tells a conversation from another is its `external_id`: one that is there already stays as it is, label included.
So an import that ended half-way is simply begun again. A batch is copied into a temporary table first, so that its
locks are held for the inserts alone: categories, then the project, then threads in the order of their external ids, by
which two imports of one file wait for each other and never in a circle. Nothing is announced to workers: the sweeper
and the backfill find unlabelled threads by their age.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from uuid import UUID, uuid4

import orjson
from django.db import DatabaseError, DataError, connection, transaction
from django.utils import timezone

from categorisation import selectors
from categorisation.conversations_file import Line, PastConversation, PastLabel, parse_line
from categorisation.errors import BadConversation
from categorisation.models import ActorKind
from categorisation.services.history import Actor
from categorisation.services.labels import lock_live_categories
from categorisation.titles import fold_title
from query.models import CategorySource
from teams.errors import ProjectNotFound

IMPORTER = Actor(ActorKind.COMMAND, "import_threads")
MAX_BATCH_THREADS = 1_000
MAX_BATCH_BYTES = 8 * 1024 * 1024

STAGE = """
CREATE TEMPORARY TABLE import_staged_thread (
    id uuid, external_id text, created_at timestamptz, last_activity_at timestamptz, first_question text,
    total_questions integer, is_uncertain boolean, user_email text, user_unique_client_id text, user_metadata jsonb,
    origin_url text, category_id uuid, category_source text
)
"""
COPY_STAGED = "COPY import_staged_thread FROM STDIN"
UNSTAGE = "DROP TABLE import_staged_thread"
INSERT_THREADS = """
INSERT INTO query_thread (
    id, project_id, external_id, created_at, updated_at, last_activity_at, first_question, total_questions,
    is_uncertain, user_email, user_unique_client_id, user_metadata, origin_url,
    category_id, category_source, categorised_at, category_taxonomy_version, classify_after, classify_attempts
)
SELECT
    id, %(project)s, external_id, created_at, now(), last_activity_at, first_question, total_questions,
    is_uncertain, user_email, user_unique_client_id, user_metadata, origin_url,
    category_id, category_source,
    CASE WHEN category_source IS NOT NULL THEN now() END,
    CASE WHEN category_source IS NOT NULL
        THEN (SELECT version FROM categorisation_taxonomy WHERE project_id = %(project)s) END,
    now(), 0
FROM import_staged_thread
WHERE category_id IS NULL OR category_id = ANY(%(live)s::uuid[])
ORDER BY external_id
ON CONFLICT (project_id, external_id) WHERE external_id IS NOT NULL DO NOTHING
RETURNING id
"""
INSERT_CHANGES = """
INSERT INTO categorisation_labelchange (thread_id, at, to_category_id, to_source, actor_kind, actor)
SELECT id, now(), category_id, category_source, %(actor_kind)s, %(actor)s
FROM import_staged_thread
WHERE category_source IS NOT NULL AND id = ANY(%(imported)s::uuid[])
"""
COPY_EXCHANGES = """
COPY query_questionanswer (
    id, thread_id, question, standalone_question, answer, is_uncertain, relevant_sources, timings, created_at
) FROM STDIN
"""
LOCK_PROJECT = "SELECT 1 FROM teams_project WHERE id = %(project)s FOR KEY SHARE"
REMEMBER = "CREATE TEMPORARY TABLE import_seen (external_id text PRIMARY KEY)"
FORGET = "DROP TABLE import_seen"
SEE = """
INSERT INTO import_seen (external_id)
SELECT external_id FROM unnest(%(external_ids)s::text[]) AS given (external_id)
WHERE NOT EXISTS (SELECT FROM query_thread AS thread
    WHERE thread.project_id = %(project)s AND thread.external_id = given.external_id)
ON CONFLICT DO NOTHING
RETURNING external_id
"""

Report = Callable[[int, str], None]


@dataclass(slots=True)
class Tally:
    """What became of the lines so far. Of the imported, `labelled` bear a person's decision, `undated` had no time."""

    imported: int = 0
    present: int = 0
    bad: int = 0
    labelled: int = 0
    undated: int = 0


@dataclass(frozen=True, slots=True)
class _Row:
    """A conversation on its way into the tables."""

    number: int
    thread_id: UUID
    category_id: UUID | None
    conversation: PastConversation


@dataclass(slots=True)
class _Batch:
    """Conversations of one transaction by their external ids, and the live categories that their labels may name."""

    categories: dict[str, UUID]
    rows: dict[str, _Row] = field(default_factory=dict)
    size_bytes: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.rows) >= MAX_BATCH_THREADS or self.size_bytes >= MAX_BATCH_BYTES


def import_threads(lines: Iterable[Line], *, project_id: UUID, tally: Tally, report: Report) -> None:
    """Import a project's past conversations; `tally` is kept up to date, so that it holds whatever ends this.

    Bad lines are reported by number and reason, and passed over. Raises ProjectNotFound when the project goes.
    """
    for batch in _read_batches(lines, project_id, tally, report):
        _import_rows(list(batch.rows.values()), project_id, tally, report)


def check_threads(lines: Iterable[Line], *, project_id: UUID, tally: Tally, report: Report) -> None:
    """Find out what `import_threads` would do, and do nothing."""
    with _memory_of_external_ids():
        for batch in _read_batches(lines, project_id, tally, report):
            new = _find_new(project_id, list(batch.rows))
            _count(batch.rows.values(), {row.thread_id for key, row in batch.rows.items() if key in new}, tally)


def _read_batches(lines: Iterable[Line], project_id: UUID, tally: Tally, report: Report) -> Iterator[_Batch]:
    batch = _Batch(_read_categories(project_id))
    for line in lines:
        if not line.data.strip():
            continue
        try:
            row = _read_row(line, batch.categories)
        except BadConversation as error:
            _refuse(line.number, str(error), tally, report)
            continue
        if batch.rows.setdefault(row.conversation.external_id, row) is not row:
            tally.present += 1
            continue
        batch.size_bytes += line.size_bytes
        if batch.is_full:
            yield batch
            batch = _Batch(_read_categories(project_id))
    if batch.rows:
        yield batch


def _read_categories(project_id: UUID) -> dict[str, UUID]:
    """The live categories by title and by id, as a label may name them."""
    live = dict(selectors.categories_of(project_id).values_list("pk", "title"))
    by_title = {fold_title(title): category_id for category_id, title in live.items()}
    return by_title | {str(category_id): category_id for category_id in live}


def _read_row(line: Line, categories: dict[str, UUID]) -> _Row:
    conversation = parse_line(line.data, now=timezone.now())
    return _Row(line.number, uuid4(), _find_category(conversation.label, categories), conversation)


def _find_category(label: PastLabel | None, categories: dict[str, UUID]) -> UUID | None:
    if label is None or label.category is None:
        return None
    try:
        return categories[fold_title(label.category)]
    except KeyError:
        raise BadConversation(f"category: the project has no category {label.category!r}") from None


def _import_rows(rows: Sequence[_Row], project_id: UUID, tally: Tally, report: Report) -> None:
    try:
        imported, live = _write(rows, project_id)
    except DataError as exc:  # the parser knows what the database refuses; should one escape it, its line goes alone
        if len(rows) == 1:
            _refuse(rows[0].number, f"the database refuses it: {str(exc).splitlines()[0]}", tally, report)
            return
        middle = len(rows) // 2
        _import_rows(rows[:middle], project_id, tally, report)
        _import_rows(rows[middle:], project_id, tally, report)
        return
    for row in rows:
        if row.category_id is not None and row.category_id not in live:
            _refuse(row.number, "category: it was deleted meanwhile", tally, report)
    _count([row for row in rows if row.category_id is None or row.category_id in live], imported, tally)


@transaction.atomic
def _write(rows: Sequence[_Row], project_id: UUID) -> tuple[set[UUID], set[UUID]]:
    """Insert threads that are not there yet, each with all that belongs to it: their ids, and the live categories.

    One whose category is not live any more is left out.
    """
    with connection.cursor() as cursor:
        cursor.execute(STAGE)
        _copy(COPY_STAGED, map(_thread_columns, rows))
        used = {row.category_id for row in rows if row.category_id is not None}
        live = lock_live_categories(project_id, used) if used else set()
        cursor.execute(LOCK_PROJECT, {"project": project_id})
        if not cursor.fetchone():
            raise ProjectNotFound(f"There is no project {project_id} any more.")
        cursor.execute(INSERT_THREADS, {"project": project_id, "live": list(live)})
        imported = {row[0] for row in cursor.fetchall()}
        actor = {"actor_kind": IMPORTER.kind.value, "actor": IMPORTER.name}
        cursor.execute(INSERT_CHANGES, {"imported": list(imported), **actor})
        _copy(COPY_EXCHANGES, (columns for row in rows if row.thread_id in imported for columns in _exchanges(row)))
        cursor.execute(UNSTAGE)
    return imported, live


def _thread_columns(row: _Row) -> tuple[str | None, ...]:
    conversation = row.conversation
    exchanges = conversation.exchanges
    return (
        str(row.thread_id),
        conversation.external_id,
        conversation.created_at.isoformat(),
        exchanges[-1].created_at.isoformat(),
        exchanges[0].question,
        str(len(exchanges)),
        str(any(exchange.is_uncertain for exchange in exchanges)),
        conversation.user_email,
        conversation.user_unique_client_id,
        _encode_json(conversation.user_metadata),
        conversation.origin_url,
        None if row.category_id is None else str(row.category_id),
        None if conversation.label is None else CategorySource.USER.value,
    )


def _exchanges(row: _Row) -> Iterator[tuple[str, ...]]:
    exchanges = row.conversation.exchanges
    # Exchanges of one moment are read in the order of their ids.
    for exchange_id, exchange in zip(sorted(uuid4().hex for _ in exchanges), exchanges, strict=True):
        yield (
            exchange_id,
            str(row.thread_id),
            exchange.question,
            exchange.question,
            exchange.answer,
            str(exchange.is_uncertain),
            _encode_json(exchange.relevant_sources),
            "{}",
            exchange.created_at.isoformat(),
        )


def _copy(statement: str, rows: Iterable[Sequence[str | None]]) -> None:
    """Run a COPY in PostgreSQL's text format."""
    text = "".join("\t".join(map(_encode, row)) + "\n" for row in rows)
    with connection.cursor() as cursor, connection.wrap_database_errors:
        cursor.copy_expert(statement, BytesIO(text.encode()), 1 << 16)


def _encode_json(value: object) -> str:
    return orjson.dumps(value).decode()


def _encode(value: str | None) -> str:
    if value is None:
        return "\\N"
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


@contextmanager
def _memory_of_external_ids() -> Iterator[None]:
    """Where a check remembers what it has seen: in the database's temporary space, however many there are."""
    with connection.cursor() as cursor:
        cursor.execute(REMEMBER)
        try:
            yield
        finally:
            with suppress(DatabaseError):  # of a connection that fails, nothing is left
                cursor.execute(FORGET)


def _find_new(project_id: UUID, external_ids: list[str]) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(SEE, {"project": project_id, "external_ids": external_ids})
        return {row[0] for row in cursor.fetchall()}


def _count(rows: Iterable[_Row], imported: set[UUID], tally: Tally) -> None:
    for row in rows:
        if row.thread_id not in imported:
            tally.present += 1
            continue
        tally.imported += 1
        tally.labelled += row.conversation.label is not None
        tally.undated += not row.conversation.is_dated


def _refuse(number: int, reason: str, tally: Tally, report: Report) -> None:
    tally.bad += 1
    report(number, reason)
