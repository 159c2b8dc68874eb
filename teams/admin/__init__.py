"""Teams, users, projects, keys and the audit trail in the admin, and what the pages of every room are made of.

base      lists, choices and change pages, as every room's admin has them
people    teams, users and groups
projects  projects, with the way to all that is theirs
keys      API keys, shown once
trail     who changed what
"""

from teams.admin.base import (
    OnlyToLookAt,
    OperatorAdmin,
    PagedStackedInline,
    PagedTabularInline,
    PeriodFilter,
    ReadOnly,
    RelatedFilter,
    read_id,
    show_as_label,
)
from teams.admin.keys import ProjectAPIKeyAdmin
from teams.admin.people import GroupAdmin, TeamAdmin, UserAdmin
from teams.admin.projects import ProjectAdmin
from teams.admin.trail import TrailAdmin

__all__ = [
    "GroupAdmin",
    "OnlyToLookAt",
    "OperatorAdmin",
    "PagedStackedInline",
    "PagedTabularInline",
    "PeriodFilter",
    "ProjectAPIKeyAdmin",
    "ProjectAdmin",
    "ReadOnly",
    "RelatedFilter",
    "TeamAdmin",
    "TrailAdmin",
    "UserAdmin",
    "read_id",
    "show_as_label",
]
