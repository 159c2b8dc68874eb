"""What this room does when others announce something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models.signals import post_save
from django.dispatch import receiver

from categorisation import services, tasks
from categorisation.signals import run_waits, threads_unlabelled
from query.signals import thread_started, threads_erased
from teams import deletion
from teams.models import Project
from teams.signals import project_deleted

deletion.register(services.empty_project)


@receiver(post_save, sender=Project)
def seed_new_project(instance: Project, *, created: bool, raw: bool = False, **kwargs: Any) -> None:
    if created and not raw:  # raw: a fixture is being loaded, which brings its own categories
        services.seed_taxonomy(instance)


@receiver(project_deleted)
def stop_runs_of_deleted_project(project: Project, **kwargs: Any) -> None:
    services.stop_classifying(project.pk)


@receiver(threads_erased)
def forget_erased_threads(thread_ids: Sequence[UUID], **kwargs: Any) -> None:
    services.forget_threads(thread_ids)


@receiver(thread_started)
def nudge_for_new_thread(thread_id: UUID, **kwargs: Any) -> None:
    tasks.classify_thread.nudge(str(thread_id))


@receiver(threads_unlabelled)
def nudge_for_unlabelled_threads(thread_ids: Sequence[UUID], **kwargs: Any) -> None:
    for thread_id in thread_ids:
        tasks.classify_thread.nudge(str(thread_id))


@receiver(run_waits)
def nudge_planner(run_id: UUID, **kwargs: Any) -> None:
    tasks.plan.nudge()
