"""Conversations: threads and their question-answers. The label is a set of columns of the thread."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import MD5, Now

from teams.models import Project

MAX_ATTEMPTS = 5  # to classify a thread: then it is given up
# When a thread began, as the admin's list of all projects' threads is ordered. An expression, so that its index tempts
# the planner in no list of one project: it would walk down all the others' threads in search of that project's.
CREATED_AT_BY_UTC = Func(Value("UTC"), F("created_at"), function="timezone", output_field=models.DateTimeField())
FIRST_QUESTION_WORDS = SearchVector("first_question", config="simple")


class CategorySource(models.TextChoices):
    """Who gave a thread its label."""

    CLASSIFIER = "classifier"
    USER = "user"


class Thread(models.Model):
    """A conversation.

    Its label is `category` with `category_source`: no source means unlabelled; the source `user` without a category
    means that a person said "none of them". The database itself refuses a category of another project (a composite
    foreign key, made in the migration) and a state that makes no sense. `classify_after` says from when the thread may
    be claimed for classification: at once, when a claim's lease ends, when the pause before a retry is over, or never
    (the end of the year 9999: given up); `classify_attempts` counts the failures; `classify_run` is the run that took
    the label away and owes the thread another. `external_id` is what an imported conversation is called where it came
    from.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(
        Project,
        on_delete=models.CASCADE,
        related_name="threads",
        db_index=False,  # thread_newest_first begins with it
    )
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    last_activity_at = models.DateTimeField(db_default=Now())

    first_question = models.TextField()
    total_questions = models.PositiveIntegerField(default=1)
    is_uncertain = models.BooleanField(default=False)

    user_email = models.EmailField(max_length=320, blank=True, default="")
    user_unique_client_id = models.CharField(max_length=200, blank=True, default="")
    user_metadata: models.JSONField[dict[str, Any]] = models.JSONField(default=dict, blank=True)
    origin_url = models.CharField(max_length=2000, blank=True, default="")

    category = models.ForeignKey(
        "categorisation.Category",
        null=True,
        blank=True,
        on_delete=models.RESTRICT,
        db_constraint=False,  # the composite foreign key of the migration stands in its place
        db_index=False,
        related_name="threads",
    )
    category_source = models.CharField(max_length=16, choices=CategorySource.choices, null=True, blank=True)  # noqa: DJ001
    category_confidence = models.FloatField(null=True, blank=True)
    categorised_at = models.DateTimeField(null=True, blank=True)
    category_taxonomy_version = models.PositiveIntegerField(null=True, blank=True)

    classify_after = models.DateTimeField(db_default=Now())
    classify_attempts = models.PositiveSmallIntegerField(default=0)
    classify_run = models.ForeignKey(
        "categorisation.Run",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    external_id = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                name="thread_label_is_whole",
                # "is not null" beside each source: a CHECK lets pass what is neither true nor false
                condition=Q(
                    category_source=None,
                    category=None,
                    category_confidence=None,
                    categorised_at=None,
                    category_taxonomy_version=None,
                )
                | Q(
                    category_source__isnull=False,
                    category_source="classifier",
                    category__isnull=False,
                    categorised_at__isnull=False,
                )
                | Q(
                    category_source__isnull=False,
                    category_source="user",
                    category_confidence=None,
                    categorised_at__isnull=False,
                ),
            ),
            models.CheckConstraint(
                name="thread_confidence_is_a_share",
                condition=Q(category_confidence=None) | Q(category_confidence__gte=0, category_confidence__lte=1),
            ),
            models.UniqueConstraint(
                fields=["project", "external_id"],
                condition=Q(external_id__isnull=False),
                name="thread_external_id_in_project",
            ),
        ]
        # `classify_after` stands in none of them, so that a claim touches no index
        indexes = [
            models.Index(F("project"), F("created_at").desc(), F("id").desc(), name="thread_newest_first"),
            models.Index(CREATED_AT_BY_UTC.desc(), F("id").desc(), name="thread_newest_of_all"),
            models.Index(
                F("project"),
                F("category"),
                F("category_source"),
                F("created_at").desc(),
                F("id").desc(),
                name="thread_by_label",
            ),
            models.Index(
                F("project"),
                F("is_uncertain"),
                F("created_at").desc(),
                F("id").desc(),
                name="thread_by_uncertainty",
            ),
            models.Index(fields=["project", "updated_at"], name="thread_by_update"),
            models.Index(
                F("project"),
                F("created_at").desc(),
                F("id").desc(),
                condition=Q(category=None, category_source=None, classify_attempts__lt=MAX_ATTEMPTS),
                name="thread_to_classify",
            ),
            models.Index(
                fields=["project", "category", "categorised_at"],
                condition=Q(category_source="classifier", classify_attempts__lt=MAX_ATTEMPTS),
                name="thread_to_reclassify",
            ),
            models.Index(fields=["project"], condition=Q(classify_attempts__gte=MAX_ATTEMPTS), name="thread_given_up"),
            models.Index(
                F("classify_run"),
                F("created_at").desc(),
                F("id").desc(),
                condition=Q(classify_run__isnull=False),
                name="thread_of_run",
            ),
            models.Index(
                F("project"),
                MD5("first_question"),
                condition=Q(category_source="classifier"),
                name="thread_same_question",
            ),
            GinIndex(FIRST_QUESTION_WORDS, name="thread_first_question_words"),
        ]

    def __str__(self) -> str:
        return self.first_question[:80]

    @property
    def shown_category(self) -> Any:  # a Category, or None: that room is not imported here
        """The category that reads show: for a deleted one the live one that it was replaced by, if any."""
        if self.category is None or self.category.deleted_at is None:
            return self.category
        successor = self.category.reassigned_to
        return successor if successor is not None and successor.deleted_at is None else None

    @property
    def is_hidden_label(self) -> bool:
        """Whether reads show the thread as unlabelled although its row bears a label still: its category is gone."""
        return self.category is not None and self.shown_category is None


class QuestionAnswer(models.Model):
    """One exchange of a thread."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    thread = models.ForeignKey(Thread, on_delete=models.CASCADE, related_name="question_answers")
    question = models.TextField()
    standalone_question = models.TextField()
    answer = models.TextField()
    is_uncertain = models.BooleanField()
    relevant_sources: models.JSONField[list[dict[str, str]]] = models.JSONField(default=list)
    timings: models.JSONField[dict[str, float]] = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = "question-answer"
        ordering = ["created_at", "id"]
        indexes = [models.Index(fields=["thread", "created_at", "id"], name="question_answer_in_order")]

    def __str__(self) -> str:
        return self.question[:80]


class Erasure(models.Model):
    """Conversations that are erased for good: the work while it is open, and afterwards the record of it.

    What says whose conversations they are (`user_email`, `user_unique_client_id`) stands here as long as the work needs
    it. What stays are digests, by which an operator who is given an address sees whether its conversations were erased.
    """

    class Reason(models.TextChoices):
        ASKED_FOR = "asked_for", "asked for"
        SELECTED = "selected", "chosen in the admin"
        RETENTION = "retention", "kept long enough"
        PROJECT_DELETED = "project_deleted", "their project was deleted"

    class State(models.TextChoices):
        OPEN = "open"
        DONE = "done"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    reason = models.CharField(max_length=20, choices=Reason.choices, default=Reason.ASKED_FOR)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)

    project = models.ForeignKey(
        Project,
        on_delete=models.DO_NOTHING,
        null=True,
        blank=True,
        db_constraint=False,  # the record outlives its project
        db_index=False,
        related_name="+",
    )
    project_name = models.CharField(max_length=200, blank=True, default="")
    user_email = models.CharField(max_length=320, blank=True, default="")
    user_unique_client_id = models.CharField(max_length=200, blank=True, default="")
    user_email_digest = models.CharField(max_length=64, blank=True, default="")
    user_unique_client_id_digest = models.CharField(max_length=64, blank=True, default="")
    idle_since = models.DateTimeField(null=True, blank=True)  # nothing was asked in them then or later

    asked_by = models.CharField(max_length=320)
    total = models.PositiveIntegerField(null=True, blank=True)
    erased = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-started_at", "-id"]
        constraints = [
            models.CheckConstraint(
                name="erasure_forgets_whose_it_was",
                condition=Q(state="open") | Q(user_email="", user_unique_client_id="", finished_at__isnull=False),
            ),
        ]
        indexes = [
            models.Index(F("started_at").desc(), F("id").desc(), name="erasure_newest_first"),
            models.Index(fields=["state"], condition=Q(state="open"), name="erasure_open"),
        ]

    def __str__(self) -> str:
        return f"{self.get_reason_display()}, {self.started_at:%Y-%m-%d %H:%M}"
