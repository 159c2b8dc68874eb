"""The audit trail: who changed what, when, from what to what. Built on django-auditlog.

Rooms say what of their models is recorded (`record_changes_of`); saving or deleting a row then adds an entry, in the
same transaction. Who did it is found when an entry is written, from the request at hand, so that a request that
changes nothing pays nothing. No secret and no text of a conversation or a document is ever recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import Any

from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models.signals import m2m_changed, pre_save
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from teams.models import Project, ProjectAPIKey, Team, User

NOT_SHOWN = "(not recorded)"
NO_REQUEST = "command line or background work"
MOST_NAMES = 100  # of what was added to a row, or taken from it, at once
ENTRIES_A_BATCH = 5_000
_request: ContextVar[HttpRequest | None] = ContextVar("audited_request", default=None)


@contextmanager
def on_behalf_of(request: HttpRequest) -> Iterator[None]:
    """Within it, on this thread, what is changed is changed by who sent the request."""
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)


def record_changes_of(
    model: type[models.Model], fields: Sequence[str], *, only_that: Sequence[str] = (), many: Collection[str] = ()
) -> None:
    """Record the fields' values, of `only_that` only that they changed; `many` are many-to-many relations, from both
    of their ends."""
    auditlog.register(
        model,
        include_fields=[*fields, *only_that],
        mask_fields=list(only_that),
        mask_callable="teams.audit.hide",
    )
    for name in many:
        field = model._meta.get_field(name)
        assert isinstance(field, models.ManyToManyField)
        m2m_changed.connect(
            partial(_record_relation, field),
            sender=field.remote_field.through,
            weak=False,
            dispatch_uid=f"audit {field}",
        )


def _record_relation(field: models.ManyToManyField[Any, Any], instance: models.Model, **signal: Any) -> None:
    """In the place of django-auditlog's own, which takes a clearing for the loss of every row that there is."""
    accessor = field.remote_field.get_accessor_name() if signal["reverse"] else field.name
    if accessor is None:
        return
    match signal["action"]:
        case "post_add" | "post_remove":
            rows = signal["model"]._default_manager.filter(pk__in=signal["pk_set"])
        case "pre_clear":
            rows = getattr(instance, accessor).all()
        case _:
            return
    names = [str(row) for row in rows[: MOST_NAMES + 1]]
    if not names:
        return
    shown = names[:MOST_NAMES] + (["and more"] if len(names) > MOST_NAMES else [])
    operation = "add" if signal["action"] == "post_add" else "remove"
    LogEntry.objects.log_create(
        instance,
        action=LogEntry.Action.UPDATE,
        changes={accessor: {"type": "m2m", "operation": operation, "objects": shown}},
    )


def hide(value: str) -> str:
    """What is recorded in the place of a value."""
    return NOT_SHOWN


def record(row: models.Model, action: int, changes: Mapping[str, Sequence[Any]], *, name: str | None = None) -> None:
    """Add an entry for what no saving of the row tells: each change's name, with what was before and what is now.

    `action` is one of `LogEntry.Action`. `name` stands for the row's own, which must not be recorded where it is part
    of a conversation or a document.
    """
    LogEntry.objects.log_create(
        row,
        action=action,
        changes={field: list(change) for field, change in changes.items()},
        object_repr=name or str(row),
    )


def url_of_trail(model: type[models.Model], object_pk: object) -> str:
    """The page of the admin with a row's entries."""
    content_type = ContentType.objects.get_for_model(model)
    query = {"content_type__id__exact": str(content_type.pk), "object_pk": str(object_pk)}
    return f"{reverse('admin:auditlog_logentry_changelist')}?{urlencode(query)}"


def forget_old_entries(days: int) -> int:
    """Delete what is older than so many days (none for 0), batch by batch. Returns how many."""
    if not days:
        return 0
    end = timezone.now() - timedelta(days=days)
    forgotten = 0
    while True:
        batch = list(
            LogEntry.objects.filter(timestamp__lt=end)
            .order_by("timestamp")
            .values_list("pk", flat=True)[:ENTRIES_A_BATCH]
        )
        if not batch:
            return forgotten
        forgotten += LogEntry.objects.filter(pk__in=batch).delete()[0]


def name_actor(sender: type[LogEntry], instance: LogEntry, **kwargs: Any) -> None:
    """Put down who did it: the user who is logged in, or the API key."""
    if not instance._state.adding:
        return
    request = _request.get()
    key, user = getattr(request, "auth", None), getattr(request, "user", None)
    if isinstance(key, ProjectAPIKey):
        who: dict[str, Any] = {"key": str(key.pk), "by": f"API key {key}"}
    elif isinstance(user, User):
        instance.actor_email = user.email
        if User.objects.filter(pk=user.pk).exists():  # nobody who is just deleting themselves
            instance.actor_id = user.pk
        who = {"by": user.email}
    else:
        who = {"by": NO_REQUEST}
    instance.additional_data = {**(instance.additional_data or {}), **who}


def start() -> None:
    """Record what of this room's models changes, from now on."""
    pre_save.connect(name_actor, sender=LogEntry, dispatch_uid="teams.audit")
    record_changes_of(Team, ["name", "time_zone"])
    record_changes_of(
        User,
        ["email", "name", "is_active", "is_staff", "is_superuser"],
        only_that=["password"],
        many=["teams", "groups", "user_permissions"],
    )
    record_changes_of(Group, ["name"], many=["permissions"])
    record_changes_of(Project, ["name", "team", "retention_days"])
    record_changes_of(
        ProjectAPIKey, ["project", "name", "shown_part", "scopes", "expires_at", "revoked_at", "calls_per_minute"]
    )
