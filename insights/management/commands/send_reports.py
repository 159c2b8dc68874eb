"""`manage.py send_reports`: send the usage reports that are due, or write what they would look like into a folder."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q
from django.utils import timezone
from tqdm import tqdm

from insights import composition
from insights.errors import MailRefused, MailServerUnavailable
from insights.models import Report, ReportPreference, ReportState
from insights.periods import Frequency, find_zone, last_complete
from insights.reports import planning
from insights.reports.message import Letter, write_html, write_mail, write_text
from insights.reports.sending import Mailer, count_for
from insights.tokens import make_token
from teams.models import Team, User

ONLY_WITH_PREVIEW = "--user, --team, --frequency and --now say what --preview shows; what is sent is what is due."
FIRST_YEAR, LAST_YEAR = 1900, 9000  # around which periods and zones can be reckoned with
INTERRUPTED = 130  # as shells count it


def read_moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError("must be a time such as 2026-03-09T08:00+01:00") from error
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ArgumentTypeError(f"must lie between the years {FIRST_YEAR} and {LAST_YEAR}")
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.get_current_timezone())


class Command(BaseCommand):
    help = (
        "Send the usage reports that are due, as beat has a worker do every ten minutes. With --preview write them "
        "into a folder instead, as HTML, as plain text and as whole mails; nothing is sent or changed then."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--preview", type=Path, metavar="DIR", help="write the reports into this folder")
        parser.add_argument("--user", metavar="EMAIL", help="preview: of this user alone")
        parser.add_argument("--team", metavar="NAME", help="preview: of this team alone, by its name or its id")
        parser.add_argument(
            "--frequency",
            choices=[frequency.value for frequency in planning.FREQUENCIES],
            help="preview: instead of what each user has chosen",
        )
        parser.add_argument("--now", type=read_moment, metavar="TIME", help="preview: as if it were that time")

    def handle(
        self,
        *args: Any,
        preview: Path | None,
        user: str | None,
        team: str | None,
        frequency: str | None,
        now: datetime | None,
        **options: Any,
    ) -> None:
        if preview is None:
            if user or team or frequency or now:
                raise CommandError(ONLY_WITH_PREVIEW)
            self._send()
            return
        letters = self._write_letters(self._members(user, team), frequency, now or timezone.now())
        self._write_files(preview, letters)

    # -- sending ------------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        server = composition.mail_server()
        if server is None:
            raise CommandError(composition.NOT_SWITCHED_ON)
        choices = composition.choices()
        plan = planning.plan(timezone.now(), choices)
        self._tell_plan(plan)
        outcomes: Counter[str] = Counter()
        with tqdm(desc="sending", unit=" reports", total=planning.count_due(), disable=None) as bar:

            def tell(report: Report, outcome: str) -> None:
                outcomes[outcome] += 1
                bar.update()

            try:
                Mailer(server, composition.sender(), choices, tell=tell).send_due()
            except MailServerUnavailable as error:
                self._tell(outcomes)
                raise CommandError(f"{error}\nThe reports that are left are tried again within ten minutes.") from error
            except KeyboardInterrupt as error:
                self._tell(outcomes)
                raise CommandError("Interrupted. What is left is due still.", returncode=INTERRUPTED) from error
        self._tell(outcomes)
        if outcomes[ReportState.FAILED] or outcomes[ReportState.UNKNOWN]:
            raise CommandError("Not all were sent. The admin lists them with the reasons: /admin/insights/report/")

    def _tell_plan(self, plan: planning.Plan) -> None:
        if plan.unknown:
            self.stderr.write(
                self.style.WARNING(
                    f"{plan.unknown} reports may have been sent, or not: their sender ended in between. The admin lists"
                    " them, and sends them again: /admin/insights/report/?state__exact=unknown"
                )
            )
        if plan.late:
            self.stderr.write(self.style.WARNING(f"{plan.late} reports could not be sent in time, and are given up."))

    def _tell(self, outcomes: Counter[str]) -> None:
        words = {
            ReportState.SENT: "sent",
            ReportState.SKIPPED: "not wanted any more, or with nothing to tell",
            ReportState.DUE: "refused for now, and tried again later",
            ReportState.FAILED: "failed",
            ReportState.UNKNOWN: "of unknown fate",
            "lost": "taken by another sender",
        }
        told = [f"{outcomes[state]} {what}" for state, what in words.items() if outcomes[state]]
        self.stdout.write(f"{'; '.join(told)}." if told else "No report is due.")

    # -- previews -----------------------------------------------------------------------------------------------------

    def _members(self, email: str | None, team: str | None) -> list[tuple[User, Team]]:
        users = User.objects.filter(is_active=True, teams__isnull=False).distinct()
        if email is not None:
            users = users.filter(email__iexact=email)
            if not users:
                raise CommandError(f"No active user of a team has the address {email}.")
        teams = Team.objects.all() if team is None else self._find_teams(team)
        pairs = User.teams.through.objects.filter(user__in=users, team__in=teams).select_related("user", "team")
        members = [(pair.user, pair.team) for pair in pairs.order_by("team__name", "user__email")]
        if not members:
            raise CommandError("There is no such user in such a team.")
        return members

    def _find_teams(self, name: str) -> list[Team]:
        try:
            is_it = Q(pk=UUID(name))
        except ValueError:
            is_it = Q(name=name)
        found = list(Team.objects.filter(is_it))
        if not found:
            raise CommandError(f"There is no team {name}.")
        return found

    def _write_letters(self, members: list[tuple[User, Team]], frequency: str | None, now: datetime) -> list[Letter]:
        sender, default = composition.sender(), composition.choices().default_frequency
        chosen = {(each.user_id, each.team_id): each.frequency for each in ReportPreference.objects.all()}
        letters = []
        for user, team in tqdm(members, desc="counting", unit=" reports", disable=None):
            wanted = Frequency(frequency or chosen.get((user.pk, team.pk)) or default)
            if wanted is Frequency.OFF:
                self.stdout.write(f"{user} wants no reports on {team}.")
                continue
            if find_zone(team.time_zone) is None:
                told = f"{user} gets no reports on {team}: there is no time zone {team.time_zone}."
                self.stderr.write(self.style.WARNING(told))
                continue
            period = last_complete(wanted, now, team.time_zone)
            letters.append(
                Letter(
                    message_key=uuid4(),
                    recipient=user.email,
                    team=team.name,
                    frequency=wanted,
                    period=period,
                    figures=count_for(team, wanted, period),
                    # of nobody: whoever tries the links of a preview must not unsubscribe the user
                    preference_url=sender.preference_url(make_token(uuid4())),
                )
            )
        return letters

    def _write_files(self, folder: Path, letters: list[Letter]) -> None:
        sender = composition.sender()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for number, letter in enumerate(letters, 1):
                stem = f"{number:03}-{_as_file_name(letter.team)}-{_as_file_name(letter.recipient)}-{letter.frequency}"
                (folder / f"{stem}.html").write_text(write_html(letter), "utf-8")
                (folder / f"{stem}.txt").write_text(write_text(letter), "utf-8")
                try:
                    (folder / f"{stem}.eml").write_bytes(write_mail(letter, sender, timezone.now()).text)
                except MailRefused as error:
                    self.stderr.write(self.style.WARNING(f"{letter.recipient}: {error}"))
        except OSError as error:
            raise CommandError(f"The files cannot be written: {error}") from error
        self.stdout.write(f"{len(letters)} reports are in {folder}.")


def _as_file_name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "x"
