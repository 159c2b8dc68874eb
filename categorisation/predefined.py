"""The categories that every new project starts with: data alone.

Once seeded they are rows like any other, which a team may change or delete; no code knows their titles. The examples
are shown by the API as sample questions. The cues are matched as `categorisation.classifiers.cues` describes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PredefinedCategory:
    """What a seeded category's row starts with."""

    title: str
    description: str
    examples: tuple[str, ...]
    cues: tuple[str, ...]


DISCOVERY = PredefinedCategory(
    title="Discovery",
    description=(
        "The user wants to learn what the product can do and how to use it: how do I do this, what is that, can it do "
        "such a thing, which option to choose, where to find, set up or configure something."
    ),
    examples=(
        "How do I get started?",
        "How can I configure a proxy?",
        "How to change the default language",
        "What is the difference between these two options?",
        "What does this parameter do?",
        "Which plan includes single sign-on?",
        "Which versions of the database are supported?",
        "Can I export my data to a CSV file?",
        "Can I use my own domain name?",
        "Is there a way to schedule a job every night?",
        "Is it possible to run this on Windows?",
        "Does it support dark mode?",
        "Where can I find a list of all settings?",
        "Should I use the command line or the web interface?",
        "What are the best practices for deploying to production?",
        "Example of using it together with another tool",
        "Looking for a tutorial for beginners",
        "Explain how permissions work",
        "I want to customise the look of the start page",
        "Support for importing files from other programs",
    ),
    cues=(
        "how do",
        "how can",
        "how to",
        "how should",
        "how would",
        "how does",
        "what is",
        "what are",
        "what does",
        "what's",
        "which",
        "where can",
        "where do",
        "where is",
        "can i",
        "can we",
        "can it",
        "could i",
        "should i",
        "do i need",
        "is there",
        "are there",
        "is it possible",
        "possible to",
        "does it support",
        "support for",
        "way to",
        "best practice*",
        "difference between",
        "example*",
        "tutorial*",
        "guide*",
        "documentation",
        "looking for",
        "want to",
        "would like",
        "learn*",
        "explain*",
        "recommend*",
        "alternative*",
        "configur*",
        "customi*",
        "option*",
        "integrat*",
    ),
)

TROUBLESHOOTING = PredefinedCategory(
    title="Troubleshooting",
    description=(
        "Something that should work does not: an error message, a crash, a failure, a wrong or missing result, "
        "something broken, stuck or slow that the user wants to have fixed."
    ),
    examples=(
        "It fails with an error message after the update",
        "The application crashes on startup",
        "I get a connection refused error",
        "Login does not work any more",
        "The installation fails with a missing dependency",
        "Unexpected exception when saving a file",
        "The page is blank after I sign in",
        "Results are wrong when I sort the table",
        "The process hangs and never finishes",
        "Requests time out under heavy load",
        "Memory keeps growing until the server is killed",
        "My settings are ignored after a restart",
        "The upload stops halfway without any message",
        "Permission denied when opening a folder that I own",
        "It worked yesterday, but now it is broken",
        "The build breaks since the latest version",
        "Why is my export empty?",
        "Notifications are not delivered",
        "Data is missing after the import",
        "The button does nothing when I click it",
    ),
    cues=(
        "error*",
        "fail*",
        "crash*",
        "exception*",
        "traceback*",
        "bug*",
        "broke*",
        "break*",
        "wrong*",
        "incorrect*",
        "not work*",
        "stop* working",
        "does not",
        "doesn't",
        "do not",
        "don't",
        "did not",
        "didn't",
        "is not",
        "isn't",
        "are not",
        "aren't",
        "cannot",
        "can't",
        "could not",
        "couldn't",
        "won't",
        "unable to",
        "no longer",
        "never",
        "stuck",
        "hang*",
        "freez*",
        "timeout*",
        "time out",
        "timed out",
        "missing",
        "unexpected*",
        "invalid",
        "denied",
        "refused",
        "corrupt*",
        "lost",
        "leak*",
        "slow*",
        "problem*",
        "trouble*",
        "after updat*",
        "after upgrad*",
        "why is",
        "why does",
        "ignored",
        "not found",
        "raises",
        "throws",
    ),
)

PREDEFINED_CATEGORIES = (DISCOVERY, TROUBLESHOOTING)
