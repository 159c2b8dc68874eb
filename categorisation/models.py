"""Labels: the categories of a project, the runs that label in the background, and what became of every label."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Now, Trim

from query.models import CategorySource, Thread
from teams.models import Project


class Taxonomy(models.Model):
    """A project's categories as a whole, and how its threads are classified.

    Its row is locked by every change of the categories, and `version` moves with each.
    """

    project = models.OneToOneField(Project, primary_key=True, on_delete=models.CASCADE, related_name="taxonomy")
    version = models.PositiveIntegerField(default=1)
    is_enabled = models.BooleanField("classify this project's threads", default=True)
    max_lanes = models.PositiveSmallIntegerField(
        "classifications at a time",
        null=True,
        blank=True,
        help_text="How many of this project's threads a run classifies at once, at most. Empty: as many as there are.",
    )
    backfill_is_suspended = models.BooleanField(
        db_default=False, default=False, help_text="A backfill was cancelled: beat starts no other until someone does."
    )

    class Meta:
        verbose_name_plural = "taxonomies"

    def __str__(self) -> str:
        return f"classification of {self.project}"

    def get_additional_data(self) -> dict[str, str]:
        """What the audit trail notes beside a change."""
        return {"project": str(self.project_id)}


class Category(models.Model):
    """An entry of a project's taxonomy.

    A deleted one (`deleted_at`) is hidden from every read, or shown as the one that it was replaced by
    (`reassigned_to`). Once no thread bears it (`emptied_at`), its row is left for the history's sake.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="categories")
    title = models.CharField(max_length=100)
    description = models.TextField(blank=True, default="")
    examples = ArrayField(models.CharField(max_length=500), default=list, blank=True)
    cues = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    is_predefined = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    emptied_at = models.DateTimeField(null=True, blank=True)
    reassigned_to = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        verbose_name_plural = "categories"
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                F("project"), Lower(Trim("title")), condition=Q(deleted_at=None), name="category_title_in_project"
            ),
            # what the composite foreign key of a thread's label refers to
            models.UniqueConstraint(fields=["project", "id"], name="category_of_project"),
        ]
        indexes = [
            models.Index(
                fields=["project"],
                condition=Q(deleted_at__isnull=False, emptied_at=None),
                name="category_to_be_emptied",
            ),
        ]

    def __str__(self) -> str:
        return self.title

    def get_additional_data(self) -> dict[str, str]:
        """What the audit trail notes beside a change."""
        return {"project": str(self.project_id)}


class RunKind(models.TextChoices):
    """What a run is for. Of a project's open runs the ones that stand first here are served first."""

    PREVIEW = "preview"
    CATEGORY_DELETED = "category_deleted"
    RECLASSIFY = "reclassify"
    BACKFILL = "backfill"


class RunState(models.TextChoices):
    """Where a run stands."""

    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


class ReclassifyScope(models.TextChoices):
    """Which of the classifier's labels are computed again."""

    ALL = "all"
    STALE = "stale"
    CATEGORY = "category"


class ActorKind(models.TextChoices):
    """Who does something to labels and runs."""

    KEY = "key", "API key"
    USER = "user", "admin user"
    CLASSIFIER = "classifier"
    COMMAND = "command", "command line"
    BEAT = "beat"


OPEN_STATES = (RunState.RUNNING, RunState.PAUSED)


class Run(models.Model):
    """A stretch of background labelling with progress.

    `total` is how many threads it has to do with, `done` those that need nothing more, `failed` those that were given
    up; `reused` of the done got the label of a thread with the same first question. `claimed` bounds a run with a
    `limit`. `rate_per_s` is measured while it runs.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="runs")
    kind = models.CharField(max_length=20, choices=RunKind.choices)
    state = models.CharField(max_length=10, choices=RunState.choices, default=RunState.RUNNING)

    scope = models.CharField(max_length=10, choices=ReclassifyScope.choices, blank=True, default="")
    category = models.ForeignKey(Category, on_delete=models.CASCADE, null=True, blank=True, related_name="runs")
    limit = models.PositiveIntegerField(null=True, blank=True)
    draft: models.JSONField[list[dict[str, Any]] | None] = models.JSONField(null=True, blank=True)
    sample_size = models.PositiveSmallIntegerField(null=True, blank=True)
    taxonomy_version = models.PositiveIntegerField()

    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    reused = models.PositiveIntegerField(default=0)
    claimed = models.PositiveIntegerField(default=0)
    rate_per_s = models.FloatField(null=True, blank=True)
    measured_at = models.DateTimeField(null=True, blank=True)
    measured_done = models.PositiveIntegerField(default=0)
    result: models.JSONField[dict[str, Any] | None] = models.JSONField(null=True, blank=True)

    started_by_kind = models.CharField(max_length=10, choices=ActorKind.choices)
    started_by = models.CharField(max_length=200)
    events: models.JSONField[list[dict[str, str]]] = models.JSONField(
        default=list, blank=True, help_text="Who paused, resumed or cancelled it, and when."
    )
    started_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-started_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "kind"],
                condition=Q(state__in=["running", "paused"]) & ~Q(kind="category_deleted"),
                name="run_open_once_of_a_kind",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["running", "paused"], finished_at=None)
                | Q(state__in=["done", "cancelled"], finished_at__isnull=False),
                name="run_ends_once",
            ),
        ]
        indexes = [
            models.Index(F("project"), F("started_at").desc(), F("id").desc(), name="run_newest_first"),
            models.Index(fields=["state"], condition=Q(state__in=["running", "paused"]), name="run_open"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.started_at:%Y-%m-%d %H:%M}"

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_STATES

    @property
    def left(self) -> int:
        """How many of its threads are neither done nor given up."""
        return max(0, self.total - self.done - self.failed)

    @property
    def eta_seconds(self) -> float | None:
        """How long it takes yet at its measured pace; None when that is not known, or it does not run."""
        if self.state != RunState.RUNNING or not self.rate_per_s:
            return None
        return round(self.left / self.rate_per_s, 1)


class PreviewThread(models.Model):
    """A thread of a preview's sample: what it is now, and what it would be by the draft. Its label stays untouched."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="sample")
    thread = models.ForeignKey(Thread, on_delete=models.CASCADE, related_name="+")
    current_category = models.ForeignKey(Category, on_delete=models.CASCADE, null=True, related_name="+")
    draft_position = models.PositiveSmallIntegerField(null=True)  # of the category in the draft
    classify_after = models.DateTimeField(db_default=Now())
    classify_attempts = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "thread"], name="preview_thread_once")]

    def __str__(self) -> str:
        return str(self.thread_id)


class LabelChange(models.Model):
    """One entry of a thread's history: whose decision or computation moved its label, from what to what.

    Without constraints to threads and categories in the database, which a million labels would pay for one by one;
    categories that are deleted keep their row.
    """

    id = models.BigAutoField(primary_key=True)
    thread = models.ForeignKey(
        Thread, on_delete=models.CASCADE, related_name="label_changes", db_constraint=False, db_index=False
    )
    at = models.DateTimeField(db_default=Now())
    from_category = models.ForeignKey(
        Category, on_delete=models.DO_NOTHING, null=True, related_name="+", db_constraint=False, db_index=False
    )
    from_source = models.CharField(max_length=16, choices=CategorySource.choices, null=True)  # noqa: DJ001
    to_category = models.ForeignKey(
        Category, on_delete=models.DO_NOTHING, null=True, related_name="+", db_constraint=False, db_index=False
    )
    to_source = models.CharField(max_length=16, choices=CategorySource.choices, null=True)  # noqa: DJ001
    actor_kind = models.CharField(max_length=10, choices=ActorKind.choices)
    actor = models.CharField("who", max_length=200, help_text="A key, an admin user, or a classifier with its version.")
    run = models.ForeignKey(
        Run, on_delete=models.SET_NULL, null=True, related_name="+", db_constraint=False, db_index=False
    )

    class Meta:
        verbose_name = "change of a label"
        verbose_name_plural = "changes of labels"
        indexes = [models.Index(fields=["thread", "id"], name="label_change_of_thread")]

    def __str__(self) -> str:
        return f"{self.actor} at {self.at:%Y-%m-%d %H:%M}"


class Batch(models.Model):
    """A task of the backfill at work, and how many lanes of its worker it holds. One that is not seen is dead."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    worker = models.CharField(max_length=200)
    lanes = models.PositiveIntegerField(default=0)
    is_draining = models.BooleanField(default=False)
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "batches"

    def __str__(self) -> str:
        return f"{self.worker}: {self.lanes} lanes"


class ClassifierHealth(models.Model):
    """Whether a classifier is well, as all workers together see it: the breaker's memory.

    `failing_threads` are different threads that it failed on lately, whose attempts are given back when the breaker
    opens; `successes` came since the first of them.
    """

    classifier = models.CharField("classifier and its version", max_length=200, primary_key=True)
    failing_threads = ArrayField(models.UUIDField(), default=list, blank=True)
    successes = models.PositiveIntegerField(default=0)
    openings = models.PositiveSmallIntegerField(default=0)
    open_until = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=200, blank=True, default="")
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = "classifier's health"
        verbose_name_plural = "classifiers' health"

    def __str__(self) -> str:
        return self.classifier
