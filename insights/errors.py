"""What can go wrong with reports.

InsightsError
├── LinkNotValid
├── ReportNotSendable
└── MailError
    ├── MailServerUnavailable
    ├── MailRefused
    │   └── ConversationEnded
    └── FateUnknown
"""


class InsightsError(Exception):
    """Base of this room's errors; the message is for the person who asked."""


class LinkNotValid(InsightsError):
    """A link to somebody's choice of reports that we did not make, or whose row is gone."""


class ReportNotSendable(InsightsError):
    """Only a report that failed, or whose fate is unknown, can be sent again."""


class MailError(InsightsError):
    """A mail was not delivered, or may not have been; the message is for operators."""


class MailServerUnavailable(MailError):
    """The mail server cannot be used at all now. Nothing was handed over, and other mails would fare no better."""


class MailRefused(MailError):
    """The mail server refused this one mail, and did not take it."""

    def __init__(self, message: str, *, is_permanent: bool) -> None:
        super().__init__(message)
        self.is_permanent = is_permanent


class ConversationEnded(MailRefused):
    """The mail server hung up, fell silent or said that it was closing, over this mail; it did not take it.

    Perhaps it does so to all of them, perhaps to this recipient's alone: another connection tells.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, is_permanent=False)


class FateUnknown(MailError):
    """The mail was on its way when the connection broke: it may or may not have been taken."""
