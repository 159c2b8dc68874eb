"""What workers run. Harmless when it is delivered twice, and at once by several."""

from __future__ import annotations

import logging
from functools import cache

from celery import shared_task
from django.utils import timezone

from categorisation.shutdown import is_shutting_down
from insights import composition
from insights.errors import MailServerUnavailable
from insights.reports import planning
from insights.reports.sending import Mailer
from schema.locks import session_lock

logger = logging.getLogger(__name__)

LOCK = "sender of reports"
BUDGET_S = 30.0  # with the longest that connecting and one mail take, below the time limit of tasks


@shared_task  # type: ignore[untyped-decorator]  # celery has no types
def send_reports() -> None:
    """On beat: find out which reports are due, and send them; a successor sends what is left.

    One process at a time, so that mails never take the workers from those whom people wait for.
    """
    server = composition.mail_server()
    if server is None:
        _say_that_reports_are_off()
        return
    choices = composition.choices()
    with session_lock(LOCK) as is_ours:
        if not is_ours:
            return
        planning.plan(timezone.now(), choices)
        mailer = Mailer(server, composition.sender(), choices, should_stop=is_shutting_down)
        try:
            outcomes = mailer.send_due(BUDGET_S)
        except MailServerUnavailable as error:
            logger.warning("%s Reports wait until it can.", error)
            return
    if outcomes:
        logger.info("reports: %s", ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
    if planning.is_any_due() and not is_shutting_down():
        send_reports.nudge()


@cache
def _say_that_reports_are_off() -> None:
    """Once a process: the schedule asks again every few minutes."""
    logger.info(composition.NOT_SWITCHED_ON)
