"""A report as a mail: HTML and plain text of the same figures, and the headers by which it is unsubscribed from.

Names and questions are other people's words: in HTML they are escaped, in headers and in plain text they are one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.template.loader import render_to_string

from insights.composition import Sender
from insights.errors import MailRefused
from insights.figures import AskedQuestion, Count, ProjectFigures, TeamFigures
from insights.periods import Frequency, Period
from insights.reports import wording

MAX_NAME_LENGTH = 70
MAX_QUESTION_LENGTH = 160
MAX_CATEGORIES = 8
MAX_BRIEF = 20
BAR_CHARACTERS = 20


class _OneLine(UnstructuredHeader):
    """Folded nowhere, and encoded nowhere: the package would write a long address as encoded words."""

    def fold(self, *, policy: Any) -> str:
        return f"{self.name}: {self}\r\n"  # type: ignore[attr-defined]


_HEADERS = HeaderRegistry()
for _name in ("to", "message-id", "list-unsubscribe", "list-unsubscribe-post"):
    _HEADERS.map_to_type(_name, _OneLine)  # type: ignore[arg-type]  # the registry adds the base itself
POLICY = SMTP.clone(header_factory=_HEADERS, cte_type="7bit")


@dataclass(frozen=True, slots=True)
class Letter:
    """All that a report says, and to whom."""

    message_key: UUID  # the same for the same user, team and period
    recipient: str
    team: str
    frequency: Frequency
    period: Period
    figures: TeamFigures
    preference_url: str
    is_shown: bool = False  # only looked at: nobody gets it

    @property
    def subject(self) -> str:
        team = wording.clean(self.team, MAX_NAME_LENGTH)
        return f"{team}: {wording.write_period(self.frequency, self.period)}"


@dataclass(frozen=True, slots=True)
class Mail:
    """A letter on its way: `text` is what the mail server is given, of lines that end in CRLF."""

    recipient: str
    text: bytes


def write_mail(letter: Letter, sender: Sender, now: datetime) -> Mail:
    """Raises MailRefused for an address to which nothing can be sent."""
    recipient = write_address(letter.recipient)
    message = EmailMessage(policy=POLICY)
    message["From"] = sender.address
    message["To"] = recipient
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(now)
    # of the report, not of the attempt: who gets it twice, by an operator's decision, can tell
    message["Message-ID"] = f"<report-{letter.message_key}@{sender.domain}>"
    message["List-Unsubscribe"] = f"<{letter.preference_url}>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(write_text(letter))
    message.add_alternative(write_html(letter), subtype="html")
    return Mail(recipient, message.as_bytes(policy=POLICY))


def write_address(address: str) -> str:
    """As mail servers understand it: ASCII. Raises MailRefused."""
    try:
        validate_email(address)
        local, _, domain = address.rpartition("@")
        return f"{local.encode('ascii').decode()}@{domain.encode('idna').decode()}"
    except (ValidationError, UnicodeError) as error:
        raise MailRefused("The user's address is none that mails can be sent to.", is_permanent=True) from error


def write_html(letter: Letter) -> str:
    page = render_to_string("insights/report.html", _context(letter))
    return "\n".join(line for line in map(str.strip, page.splitlines()) if line) + "\n"


def write_text(letter: Letter) -> str:
    """What mail programs show that show no HTML, and screens that are read aloud."""
    return "\n".join(_lines(_context(letter))) + "\n"


def _context(letter: Letter) -> dict[str, Any]:
    figures = letter.figures
    detailed = [project for project in figures.projects if project.categories or project.latest]
    brief = [project for project in figures.projects if project not in detailed]
    return {
        "title": letter.subject,
        "team": wording.clean(letter.team, MAX_NAME_LENGTH),
        "adjective": wording.ADJECTIVES[letter.frequency],
        "before": wording.SPANS[letter.frequency],
        "period": wording.write_period(letter.frequency, letter.period),
        "time_zone": letter.period.time_zone,
        "totals": _totals(figures) if len(figures.projects) > 1 else [],
        "projects": [_project(project, letter.period.time_zone) for project in detailed],
        "brief": [_brief(project) for project in brief[:MAX_BRIEF]],
        "brief_title": "Other projects" if detailed else "Nobody asked anything",
        "more": max(0, len(brief) - MAX_BRIEF),
        "preference_url": letter.preference_url,
        "is_shown": letter.is_shown,
    }


def _totals(figures: TeamFigures | ProjectFigures) -> list[dict[str, str]]:
    share = wording.write_share(figures.uncertain.now, figures.questions.now)
    return [
        _figure("Conversations", figures.threads),
        _figure("Questions", figures.questions),
        {
            **_figure("Uncertain answers", figures.uncertain),
            "share": f"{share} of all" if figures.uncertain.now else "",
        },
    ]


def _figure(name: str, count: Count) -> dict[str, str]:
    return {
        "name": name,
        "number": wording.write_number(count.now),
        "change": wording.write_change(count),
        "before": wording.write_number(count.before),
        "share": "",
    }


def _project(project: ProjectFigures, time_zone: str) -> dict[str, Any]:
    return {
        "name": wording.clean(project.name, MAX_NAME_LENGTH),
        "figures": _totals(project),
        "categories": list(_bars(project)),
        "more_categories": max(0, len(project.categories) - MAX_CATEGORIES),
        "uncertain": _questions(project.latest_uncertain, time_zone),
        "latest": _questions(project.latest, time_zone),
    }


def _brief(project: ProjectFigures) -> dict[str, str]:
    return {
        "name": wording.clean(project.name, MAX_NAME_LENGTH),
        "threads": wording.write_number(project.threads.now),
        "questions": wording.write_number(project.questions.now),
    }


def _bars(project: ProjectFigures) -> Iterator[dict[str, Any]]:
    """A bar is as long as its part of the longest; its share is of all conversations."""
    longest = max((each.threads.now for each in project.categories), default=0)
    for each in project.categories[:MAX_CATEGORIES]:
        part = each.threads.now / longest if longest else 0.0
        yield {
            "title": wording.clean(each.title, MAX_NAME_LENGTH),
            "number": wording.write_number(each.threads.now),
            "share": wording.write_share(each.threads.now, project.threads.now),
            "change": wording.write_change(each.threads),
            # a bar that is there can be seen
            "percent": max(1, round(100 * part)) if part else 0,
            "rest": 100 - (max(1, round(100 * part)) if part else 0),
            "characters": max(1, round(BAR_CHARACTERS * part)) if part else 0,
        }


def _questions(questions: Sequence[AskedQuestion], time_zone: str) -> list[dict[str, Any]]:
    return [
        {
            "text": wording.clean(question.text, MAX_QUESTION_LENGTH) or "(empty)",
            "at": wording.write_time(question.asked_at, time_zone),
            "is_uncertain": question.is_uncertain,
        }
        for question in questions
    ]


def _lines(context: dict[str, Any]) -> Iterator[str]:
    yield f"{context['team']}: {context['adjective']} report"
    yield f"{context['period']}, by the clocks of {context['time_zone']}; compared with {context['before']}"
    if context["totals"]:
        yield ""
        yield f"All {len(context['projects']) + len(context['brief']) + context['more']} projects"
        yield from _figure_lines(context["totals"])
    for project in context["projects"]:
        yield from _project_lines(project)
    if context["brief"]:
        yield from ("", context["brief_title"], "=" * len(context["brief_title"]))
    for project in context["brief"]:
        yield f"  {project['name']}: {project['threads']} conversations, {project['questions']} questions"
    if context["more"]:
        yield f"  and {context['more']} more"
    yield from ("", "-- ", "Change how often you get this report, or unsubscribe:", context["preference_url"])


def _project_lines(project: dict[str, Any]) -> Iterator[str]:
    yield from ("", project["name"], "=" * min(len(project["name"]), 60))
    yield from _figure_lines(project["figures"])
    if project["categories"]:
        yield from ("", "Conversations by category")
        width = max(len(each["title"]) for each in project["categories"])
        for each in project["categories"]:
            bar = "#" * each["characters"]
            yield f"  {each['title']:<{width}}  {bar:<{BAR_CHARACTERS}}  {each['number']} ({each['share']})"
        if project["more_categories"]:
            yield f"  and {project['more_categories']} more categories"
    for title, questions in (
        ("Latest uncertain answers", project["uncertain"]),
        ("Latest questions", project["latest"]),
    ):
        if questions:
            yield from ("", title)
            yield from (f"  - {each['text']} ({each['at']})" for each in questions)


def _figure_lines(figures: Sequence[dict[str, str]]) -> Iterator[str]:
    for each in figures:
        share = f", {each['share']}" if each["share"] else ""
        yield f"  {each['name'] + ':':<19} {each['number']}{share} ({each['change']}; {each['before']} before)"
