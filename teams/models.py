"""Who: teams, their users, their projects and the keys of these."""

from __future__ import annotations

import uuid
import zoneinfo
from datetime import datetime
from typing import Any, ClassVar, TypeVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower

MAX_RETENTION_DAYS = 36_500


def is_time_zone(name: str) -> None:
    if name not in zoneinfo.available_timezones():
        raise ValidationError(f"{name} is not a time zone, such as Europe/Zurich.")


M = TypeVar("M", bound=models.Model)


class NotDeleted(models.Manager[M]):
    """The rows that are not marked as deleted: what everybody sees."""

    def get_queryset(self) -> models.QuerySet[M]:
        return super().get_queryset().filter(deleted_at=None)


class Team(models.Model):
    """A customer.

    A deleted one (`deleted_at`) is hidden; its row goes when its projects' rows are gone.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200)
    time_zone = models.CharField(max_length=64, default="UTC", validators=[is_time_zone])
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects: ClassVar[models.Manager[Team]] = NotDeleted()
    including_deleted: ClassVar[models.Manager[Team]] = models.Manager()

    class Meta:
        ordering = ["name"]
        base_manager_name = "including_deleted"

    def __str__(self) -> str:
        return self.name


class UserManager(BaseUserManager["User"]):
    """Makes users, whose login is their e-mail address."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        if not email:
            raise ValueError("A user needs an e-mail address.")
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, **{**fields, "is_staff": True, "is_superuser": True})

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email__iexact=username)


class User(AbstractBaseUser, PermissionsMixin):
    """A person who logs in with an e-mail address."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=200, blank=True)
    teams = models.ManyToManyField(Team, related_name="users", blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField("may enter the admin", default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        ordering = ["email"]
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_without_case")]

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        """Tell a form of a taken address in words, where the constraint would tell its own name."""
        super().clean()
        if User.objects.filter(email__iexact=self.email).exclude(pk=self.pk).exists():
            raise ValidationError({"email": "There is a user with this e-mail address already."})


class Project(models.Model):
    """One bot of a team.

    A deleted one (`deleted_at`) is hidden, and no key of it opens anything; its row goes when all that was its own is
    gone (teams.deletion).
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="projects")
    name = models.CharField(max_length=200)
    retention_days = models.PositiveIntegerField(
        "keep conversations for so many days",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_RETENTION_DAYS)],
        help_text="Counted from the last question. They are erased within a day after. Left empty: they are kept.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects: ClassVar[models.Manager[Project]] = NotDeleted()
    including_deleted: ClassVar[models.Manager[Project]] = models.Manager()

    class Meta:
        ordering = ["name"]
        base_manager_name = "including_deleted"

    def __str__(self) -> str:
        return self.name


class Scope(models.TextChoices):
    """What a key may do."""

    CHAT = "chat"
    READ = "read"
    LABEL = "label"
    INGEST = "ingest"
    MANAGE = "manage"


class ProjectAPIKey(models.Model):
    """A key of one project. Only its hash is kept; several may live at once, so that rotation needs no pause."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=200)
    shown_part = models.CharField("begins with", max_length=16, editable=False)
    key_hash = models.CharField(max_length=64, unique=True, editable=False)
    scopes = ArrayField(models.CharField(max_length=16, choices=Scope.choices))
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    calls_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(1_000_000)],
        help_text="Left empty: as many as the service allows every key.",
    )

    class Meta:
        verbose_name = "project API key"
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=models.Q(scopes__len__gt=0), name="api_key_has_a_scope"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.shown_part}…)"

    def get_additional_data(self) -> dict[str, str]:
        """What the audit trail notes beside a change."""
        return {"project": str(self.project_id)}

    def is_usable(self, now: datetime) -> bool:
        if self.project.deleted_at is not None:
            return False
        if self.revoked_at is not None and self.revoked_at <= now:
            return False
        return self.expires_at is None or self.expires_at > now


class RateBucket(models.Model):
    """When a key's calls of late will be forgotten (teams/rates.py). Its table is not logged: a crash forgives.

    Without a constraint to keys in the database: one that is deleted while it calls is no error.
    """

    api_key = models.OneToOneField(
        ProjectAPIKey, primary_key=True, on_delete=models.CASCADE, related_name="+", db_constraint=False
    )
    empty_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.api_key_id} until {self.empty_at}"


class LoginBucket(models.Model):
    """When somebody's attempts to log in of late will be forgotten (teams/logins.py). Not logged either."""

    subject = models.CharField(primary_key=True, max_length=64)
    empty_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.subject[:8]} until {self.empty_at}"
