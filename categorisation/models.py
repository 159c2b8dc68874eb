"""Labels: the categories of a project, and the version of them as a whole."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Trim

from teams.models import Project


class Taxonomy(models.Model):
    """A project's categories as a whole. Its row is locked by every change of them, and `version` moves with each."""

    project = models.OneToOneField(Project, primary_key=True, on_delete=models.CASCADE, related_name="taxonomy")
    version = models.PositiveIntegerField(default=1)
    is_enabled = models.BooleanField("classify this project's threads", default=True)

    class Meta:
        verbose_name_plural = "taxonomies"

    def __str__(self) -> str:
        return f"version {self.version}"


class Category(models.Model):
    """An entry of a project's taxonomy. A deleted one is hidden from every read until no thread bears it."""

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

    def __str__(self) -> str:
        return self.title
