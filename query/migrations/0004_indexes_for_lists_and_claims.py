import django.db.models.deletion
from django.db import migrations, models
from django.db.models import F, OrderBy, Q
from django.db.models.functions import MD5

from schema.operations import (
    AddIndexConcurrently,
    AddUniqueIndexConcurrently,
    RemoveForeignKeyIndexConcurrently,
    RemoveIndexConcurrently,
)

NEWEST_FIRST = (OrderBy(F("created_at"), descending=True), OrderBy(F("id"), descending=True))

# Labels are updates of most rows: room for them on the row's own page keeps claims out of the indexes, and a fiftieth
# of a million rows that changed is reason enough to clean up and to count anew.
TUNE = """
ALTER TABLE query_thread SET (
    fillfactor = 85,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.02
);
"""
UNTUNE = """
ALTER TABLE query_thread RESET (
    fillfactor,
    autovacuum_vacuum_scale_factor,
    autovacuum_vacuum_insert_scale_factor,
    autovacuum_analyze_scale_factor
);
"""


class Migration(migrations.Migration):
    """An index for each filter of the list and each claim, made and dropped while requests go on."""

    atomic = False

    dependencies = [
        ("categorisation", "0002_runs_and_history"),
        ("query", "0003_thread_of_run_and_of_elsewhere"),
        ("teams", "0001_initial"),
    ]

    operations = [
        migrations.RunSQL(TUNE, UNTUNE),
        AddIndexConcurrently(
            "thread",
            models.Index(F("project"), F("category"), F("category_source"), *NEWEST_FIRST, name="thread_by_label"),
        ),
        AddIndexConcurrently(
            "thread",
            models.Index(F("project"), F("is_uncertain"), *NEWEST_FIRST, name="thread_by_uncertainty"),
        ),
        AddIndexConcurrently("thread", models.Index(fields=["project", "updated_at"], name="thread_by_update")),
        AddIndexConcurrently(
            "thread",
            models.Index(
                F("project"),
                *NEWEST_FIRST,
                condition=Q(category=None, category_source=None, classify_attempts__lt=5),
                name="thread_to_classify",
            ),
        ),
        AddIndexConcurrently(
            "thread",
            models.Index(
                fields=["project", "category", "categorised_at"],
                condition=Q(category_source="classifier", classify_attempts__lt=5),
                name="thread_to_reclassify",
            ),
        ),
        AddIndexConcurrently(
            "thread",
            models.Index(fields=["project"], condition=Q(classify_attempts__gte=5), name="thread_given_up"),
        ),
        AddIndexConcurrently(
            "thread",
            models.Index(
                F("classify_run"), *NEWEST_FIRST, condition=Q(classify_run__isnull=False), name="thread_of_run"
            ),
        ),
        AddIndexConcurrently(
            "thread",
            models.Index(
                F("project"),
                MD5("first_question"),
                condition=Q(category_source="classifier"),
                name="thread_same_question",
            ),
        ),
        AddUniqueIndexConcurrently(
            "thread",
            models.UniqueConstraint(
                fields=["project", "external_id"],
                condition=Q(external_id__isnull=False),
                name="thread_external_id_in_project",
            ),
        ),
        RemoveIndexConcurrently("thread", "thread_by_category"),
        RemoveIndexConcurrently("thread", "thread_unlabelled"),
        migrations.SeparateDatabaseAndState(
            database_operations=[RemoveForeignKeyIndexConcurrently("thread", "project")],
            state_operations=[
                migrations.AlterField(
                    "thread",
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="threads",
                        to="teams.project",
                    ),
                )
            ],
        ),
    ]
