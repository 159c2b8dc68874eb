"""One stretch of sending: reports that are due, one after another, over one connection to the mail server.

What one mail meets concerns that mail alone, also when the server hangs up over it: the next one goes over another
connection. What concerns the server ends the stretch, as do several mails in a row that it hangs up over; another one
comes later. The figures of a team and a period are counted once for all its users.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field

from django.db import Error, connection
from django.utils import timezone

from insights.composition import Sender
from insights.errors import ConversationEnded, FateUnknown, MailRefused, MailServerUnavailable
from insights.figures import Span, TeamFigures
from insights.models import Report, ReportState
from insights.periods import Frequency, Period, before
from insights.reports.claims import Claim, ClaimLost, claim_reports
from insights.reports.message import Letter, Mail, write_mail
from insights.reports.planning import Choices
from insights.reports.smtp import Connection, MailServer
from insights.selectors import figures_of_team
from insights.services import preference_of
from insights.tokens import make_token
from observability import metrics
from teams.models import Team

logger = logging.getLogger(__name__)

CLAIMED_AT_ONCE = 10
HELD_FOR_S = 60.0  # well below a lease, less the longest that one mail takes
NOTING_PAUSES_S = (0.5, 2.0)  # when the database fails just after a mail was taken
ENDED_IN_A_ROW = 3  # a server that does this would cost all reports an attempt, or leave them of unknown fate
LOST = "lost"
UNWANTED = "The user unsubscribed, left the team, or was deactivated."
QUIET = "Nothing was asked in this period, nor in the one before."

Outcomes = Counter[str]
Tell = Callable[[Report, str], None]


@dataclass(slots=True)
class Mailer:
    """What a stretch of sending needs. `should_stop` is asked before each report; `tell` hears what became of each."""

    server: MailServer
    sender: Sender
    choices: Choices
    should_stop: Callable[[], bool] = lambda: False
    tell: Tell = lambda report, outcome: None
    _figures: dict[tuple[object, ...], TeamFigures | Error] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _connection: Connection | None = None
    _ended_in_a_row: int = 0

    def send_due(self, budget_s: float = float("inf")) -> Outcomes:
        """Send what is due, for so long at most, and count what became of the reports.

        Raises MailServerUnavailable when the mail server can take none. Those that were claimed are due again then.
        """
        outcomes: Outcomes = Counter()
        ends_at = time.monotonic() + budget_s
        with self._stack:
            while not self._is_over(ends_at) and (claims := claim_reports(CLAIMED_AT_ONCE)):
                with closing(self._work_on(claims, ends_at)) as working:
                    for claim in working:
                        outcome = self._send(claim)
                        outcomes[outcome] += 1
                        metrics.REPORTS.labels(outcome).inc()
                        self.tell(claim.report, outcome)
                        self._end_if_all_are_ended()
        return outcomes

    def _is_over(self, ends_at: float) -> bool:
        return time.monotonic() >= ends_at or self.should_stop()

    def _work_on(self, claims: list[Claim], ends_at: float) -> Generator[Claim, None, None]:
        """Each of them, until it is time to end. The others, and all when the block fails, are let go."""
        until = min(ends_at, time.monotonic() + HELD_FOR_S)
        left = list(claims)
        try:
            while left and not self._is_over(until):
                yield left.pop(0)
        finally:
            with suppress(Error):  # the leases end by themselves
                for claim in left:
                    claim.release()

    def _send(self, claim: Claim) -> str:
        """What became of it. Raises MailServerUnavailable.

        Once it is being handed over, nothing but the mail server's answer makes it due again: an error of any other
        kind passes through, and leaves the row as it is.
        """
        try:
            mail = self._prepare(claim)
            return ReportState.SKIPPED if mail is None else self._deliver(claim, mail)
        except ClaimLost:
            logger.warning("report %s was taken from its sender", claim.report.pk)
            return LOST
        except MailServerUnavailable as error:
            claim.release(str(error))
            raise
        except MailRefused as error:
            self._ended_in_a_row += isinstance(error, ConversationEnded)
            # without the server's words, in which addresses stand: the row has them
            logger.warning("report %s is refused %s", claim.report.pk, "for good" if error.is_permanent else "for now")
            return self._give_up(claim, str(error)) if error.is_permanent else self._put_off(claim, str(error))

    def _deliver(self, claim: Claim, mail: Mail) -> str:
        connection = self._connect()
        connection.offer(self.sender.address.addr_spec, mail.recipient)
        try:
            is_wanted = claim.begin_handing_over(self.choices.default_frequency.value)
        except BaseException:
            connection.abandon()
            raise
        if not is_wanted:
            connection.abandon()
            claim.skip(UNWANTED)
            return ReportState.SKIPPED
        return self._hand_over(claim, connection, mail)

    def _prepare(self, claim: Claim) -> Mail | None:
        """The mail; None when there is nothing to tell, and that was noted. Raises MailRefused."""
        if claim.is_one_too_many:
            raise MailRefused("Its sender ended each time without a word.", is_permanent=True)
        try:
            figures = self._count(claim.report)
            if figures.is_active:
                return write_mail(write_letter(claim.report, figures, self.sender), self.sender, timezone.now())
        except MailRefused:
            raise
        except Exception as error:  # whatever is wrong with one report, the others are sent
            logger.exception("report %s cannot be made", claim.report.pk)
            if isinstance(error, Error) and not connection.is_usable():
                connection.close()  # what becomes of the report is noted over another one
            raise MailRefused(f"It cannot be made: {type(error).__name__}.", is_permanent=False) from error
        claim.skip(QUIET)
        return None

    def _count(self, report: Report) -> TeamFigures:
        """Raises the database's error, also to those whose figures are the same: they would wait as long for it."""
        key = report.team_id, report.frequency, report.period_start, report.time_zone
        if key not in self._figures:
            try:
                self._figures = {key: count_for(report.team, Frequency(report.frequency), period_of(report))}
            except Error as error:
                self._figures = {key: error}
        figures = self._figures[key]
        if isinstance(figures, Error):
            raise figures
        return figures

    def _connect(self) -> Connection:
        if self._connection is None or not self._connection.is_usable:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._stack.enter_context(self.server.connect())
        return self._connection

    def _hand_over(self, claim: Claim, connection: Connection, mail: Mail) -> str:
        try:
            connection.hand_over(mail.text)
        except FateUnknown as error:
            logger.warning("the fate of report %s is unknown", claim.report.pk)
            claim.note_unknown(str(error))
            self._ended_in_a_row += 1
            return ReportState.UNKNOWN
        self._ended_in_a_row = 0
        note_insistently(claim.note_sent)
        return ReportState.SENT

    def _end_if_all_are_ended(self) -> None:
        if self._ended_in_a_row >= ENDED_IN_A_ROW:
            raise MailServerUnavailable("The mail server hangs up in the middle of each mail.")

    def _put_off(self, claim: Claim, reason: str) -> str:
        return ReportState.DUE if claim.retry(reason) else ReportState.FAILED

    def _give_up(self, claim: Claim, reason: str) -> str:
        claim.fail(reason)
        return ReportState.FAILED


def note_insistently(note: Callable[[], None]) -> None:
    """Try again when the database fails just now: what is not noted is of unknown fate. Raises what `note` raises."""
    for pause_s in NOTING_PAUSES_S:
        try:
            note()
        except Error:
            connection.close()
            time.sleep(pause_s)
        else:
            return
    note()


def write_letter(report: Report, figures: TeamFigures, sender: Sender) -> Letter:
    preference = preference_of(report.user_id, report.team_id)
    return Letter(
        message_key=report.message_key,
        recipient=report.user.email,
        team=report.team.name,
        frequency=Frequency(report.frequency),
        period=period_of(report),
        figures=figures,
        preference_url=sender.preference_url(make_token(preference.pk)),
    )


def period_of(report: Report) -> Period:
    return Period(report.period_start, report.period_end, report.time_zone)


def count_for(team: Team, frequency: Frequency, period: Period) -> TeamFigures:
    """The team's figures of that period, with those of the one before."""
    return figures_of_team(team, Span(before(frequency, period).starts_at, period.starts_at, period.ends_at))
