"""The one place of this room that reads the settings and puts its parts together."""

from __future__ import annotations

from dataclasses import dataclass
from email.headerregistry import Address
from email.utils import parseaddr
from urllib.parse import urlsplit

from django.conf import settings
from django.urls import reverse

from insights.periods import Frequency
from insights.reports.planning import Choices
from insights.reports.smtp import MailServer

NOT_SWITCHED_ON = "No reports are sent: EMAIL_HOST is not set (docs/guides/reports.md)."
NOBODY = "parley@localhost"  # stands in what is only looked at, where no sender is named


@dataclass(frozen=True, slots=True)
class Sender:
    """Whom reports come from, and where their links lead."""

    address: Address
    public_url: str

    @property
    def domain(self) -> str:
        """Of this service, in the ids of its mails."""
        return urlsplit(self.public_url).hostname or "localhost"

    def preference_url(self, token: str) -> str:
        return self.public_url + reverse("report-preference", args=[token])


def mail_server() -> MailServer | None:
    """None: reports are switched off."""
    environment = settings.ENVIRONMENT
    if not environment.email_host:
        return None
    password = environment.email_host_password
    return MailServer(
        host=environment.email_host,
        port=environment.email_port,
        security=environment.email_security,
        user=environment.email_host_user or "",
        password=password.get_secret_value() if password else "",
        timeout_s=environment.email_timeout_s,
        own_name=sender().address.domain,
    )


def sender() -> Sender:
    name, address = parseaddr(settings.ENVIRONMENT.email_from or NOBODY)
    return Sender(Address(name or "Parley", addr_spec=address), settings.PUBLIC_URL)


def choices() -> Choices:
    return Choices(Frequency(settings.ENVIRONMENT.reports_default_frequency), settings.ENVIRONMENT.reports_from_hour)
