"""Whose doing it is, and the record of every person's decision on a label.

What classifiers and deletions do to labels is recorded in bulk by the statements that do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from categorisation.models import ActorKind, LabelChange
from query.models import Thread
from query.selectors import Label
from teams.models import ProjectAPIKey, User

MAX_NAME_LENGTH = 200
KEY_NAME_LENGTH = 180  # leaves room for the part of the key that may be shown


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something to labels and runs, as the history remembers it: also when the key or the user is gone."""

    kind: ActorKind
    name: str

    @classmethod
    def of_key(cls, key: ProjectAPIKey) -> Actor:
        return cls(ActorKind.KEY, f"{key.name[:KEY_NAME_LENGTH]} ({key.shown_part}…)")

    @classmethod
    def of_user(cls, user: User) -> Actor:
        return cls(ActorKind.USER, user.email[:MAX_NAME_LENGTH])


SHELL = Actor(ActorKind.COMMAND, "command line")  # whoever calls a service without saying who
BEAT = Actor(ActorKind.BEAT, "beat")


NO_LABEL = Label(None, None)


def lock_label(project_id: UUID, thread_id: UUID) -> Label | None:
    """The label of the project's thread, which stays until the transaction ends; None when there is no such thread."""
    row = (
        Thread.objects.select_for_update(no_key=True)
        .filter(pk=thread_id, project_id=project_id)
        .values_list("category_id", "category_source")
        .first()
    )
    return None if row is None else Label(*row)


def record_change(thread_id: UUID, before: Label, after: Label, actor: Actor) -> None:
    """Add to the thread's history, in the transaction that changes the label."""
    LabelChange.objects.create(
        thread_id=thread_id,
        from_category_id=before.category_id,
        from_source=before.source,
        to_category_id=after.category_id,
        to_source=after.source,
        actor_kind=actor.kind,
        actor=actor.name,
    )
