"""What a report says, to mail programs and to people; whatever a name or a question holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import default
from html.parser import HTMLParser
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insights.composition import Sender
from insights.errors import MailRefused
from insights.figures import AskedQuestion, CategoryCount, Count, ProjectFigures, TeamFigures
from insights.periods import Frequency, Period
from insights.reports import message, wording
from insights.reports.message import Letter, write_html, write_mail, write_text
from insights.selectors import MAX_DETAILED

NOW = datetime(2026, 3, 9, 7, 0, tzinfo=UTC)
SENDER = Sender(Address("Parley, the bot", addr_spec="parley@example.com"), "https://parley.example.com")
KEY = UUID("7d9d8f5e-0000-4000-8000-000000000001")
WEEK = Period(date(2026, 3, 2), date(2026, 3, 9), "Europe/Zurich")
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "Ada\r\nBcc: mallory@example.com\r\n\r\nAnother body",
    "a\u2028b\u2029c\x0bd\x85e\x00f",
    "\u202eevil\u202c \u2066\u2069\u200f",
    "{{ settings.SECRET_KEY }} {% debug %}",
    "x" * 100_000,
    "=?utf-8?q?encoded?=",
    "مرحبا بالعالم",
    "日本語" * 50,
    "🧪" * 300,
    "'" * 300,
    "don't & won't \"quote\" <that> " * 20,
    "",
    "   ",
]


def question(text: str, *, is_uncertain: bool = False) -> AskedQuestion:
    return AskedQuestion(text, datetime(2026, 3, 8, 13, 5, tzinfo=UTC), is_uncertain)


PROJECT = ProjectFigures(
    uuid4(),
    "Handbook",
    threads=Count(20, 10),
    questions=Count(1_234, 1_300),
    uncertain=Count(3, 3),
    categories=(
        CategoryCount(uuid4(), "Discovery", Count(12, 12)),
        CategoryCount(uuid4(), "Troubleshooting", Count(6, 0)),
        CategoryCount(None, "Not sorted yet", Count(2, 4)),
        CategoryCount(uuid4(), "Careers", Count(0, 4)),
    ),
    latest=(question("How do I retry?"), question("Why?", is_uncertain=True)),
    latest_uncertain=(question("Why?", is_uncertain=True),),
)


def letter(*projects: ProjectFigures, **values: Any) -> Letter:
    given: dict[str, Any] = {
        "message_key": KEY,
        "recipient": "ada@example.com",
        "team": "Acme",
        "frequency": Frequency.WEEKLY,
        "period": WEEK,
        "figures": TeamFigures(projects or (PROJECT,)),
        "preference_url": "https://parley.example.com/reports/unsubscribe/token",
    }
    return Letter(**(given | values))


def parse(text: bytes) -> EmailMessage:
    parsed = message_from_bytes(text, policy=default)
    assert isinstance(parsed, EmailMessage)
    assert not parsed.defects
    return parsed


class Elements(HTMLParser):
    """Every element of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


ALLOWED = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "div",
    "table",
    "tr",
    "td",
    "h1",
    "h2",
    "h3",
    "p",
    "span",
    "a",
}


def test_the_headers_are_those_that_mail_programs_look_for():
    mail = write_mail(letter(), SENDER, NOW)
    read = parse(mail.text)
    assert mail.recipient == "ada@example.com"
    assert {name: str(read[name]) for name in read if name != "Content-Type"} == {
        "From": '"Parley, the bot" <parley@example.com>',
        "To": "ada@example.com",
        "Subject": "Acme: 2 to 8 March 2026",
        "Date": "Mon, 09 Mar 2026 07:00:00 +0000",
        "Message-ID": f"<report-{KEY}@parley.example.com>",
        "List-Unsubscribe": "<https://parley.example.com/reports/unsubscribe/token>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "Auto-Submitted": "auto-generated",
        "MIME-Version": "1.0",
    }
    assert [part.get_content_type() for part in read.iter_parts()] == ["text/plain", "text/html"]


def test_both_parts_say_the_same():
    html, text = Elements(write_html(letter())).text, write_text(letter())
    for said in (
        "Acme",
        "2 to 8 March 2026",
        "Europe/Zurich",
        "Handbook",
        "1,234",
        "\N{MINUS SIGN}5 %",
        "+100 %",
        "below 1 % of all",
        "Discovery",
        "Careers",
        "60 %",
        "How do I retry?",
        "8 March, 14:05",
    ):
        assert said in html, said
        assert said in text, said


def test_where_nobody_asked_anything_it_says_so():
    quiet = replace(PROJECT, name="Manual", categories=(), latest=(), latest_uncertain=())
    for projects, title in (((quiet,), "Nobody asked anything"), ((PROJECT, quiet), "Other projects")):
        for written in (write_html(letter(*projects)), write_text(letter(*projects))):
            assert title in written
            assert ("Nobody asked" in written) == (title != "Other projects")


def test_the_chart_is_made_of_cells_whose_widths_are_the_parts():
    cells = [attributes for tag, attributes in Elements(write_html(letter())).tags if tag == "td"]
    bars = [cell["width"] for cell in cells if cell.get("class") == "bar"]
    rests = [cell["width"] for cell in cells if cell.get("class") == "rest"]
    assert bars == ["100%", "50%", "17%"]
    assert rests == ["50%", "83%", "100%"]
    assert "####################  12 (60 %)" in write_text(letter())


def test_a_part_that_is_very_small_can_still_be_seen():
    categories = (CategoryCount(uuid4(), "A", Count(9_999, 0)), CategoryCount(uuid4(), "B", Count(1, 0)))
    shown = letter(replace(PROJECT, threads=Count(10_000, 0), categories=categories))
    cells = [attributes for tag, attributes in Elements(write_html(shown)).tags if tag == "td"]
    assert [cell["width"] for cell in cells if cell.get("class") == "bar"] == ["100%", "1%"]
    assert "above 99 %" in write_text(shown)
    assert "1 (below 1 %)" in write_text(shown)


def test_nothing_is_loaded_from_anywhere():
    for tag, attributes in Elements(write_html(letter())).tags:
        assert tag in ALLOWED
        assert "src" not in attributes
        assert "url(" not in str(attributes)
        assert attributes.get("href", "https://parley.example.com").startswith("https://parley.example.com")


def everything_is(text: str) -> Letter:
    categories = tuple(CategoryCount(uuid4(), text, Count(n + 1, 1)) for n in range(30))
    project = replace(
        PROJECT, name=text, categories=categories, latest=(question(text),) * 5, latest_uncertain=(question(text),) * 5
    )
    brief = tuple(ProjectFigures(uuid4(), text) for _ in range(500))
    return letter(*(project,) * MAX_DETAILED, *brief, team=text)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text)[:20])
def test_whatever_names_and_questions_hold_a_mail_stays_one(text: str):
    written = write_mail(everything_is(text), SENDER, NOW)
    read = parse(written.text)
    assert read.keys().count("Subject") == 1
    assert {name.lower() for name in read} <= {
        "from", "to", "subject", "date", "message-id", "list-unsubscribe", "list-unsubscribe-post", "auto-submitted",
        "mime-version", "content-type",
    }  # fmt: skip
    assert all(len(line) <= 998 for line in written.text.split(b"\r\n"))
    assert b"\n" not in written.text.replace(b"\r\n", b"")
    assert written.text.isascii()
    html = read.get_body(("html",)).get_content()  # type: ignore[union-attr]
    assert len(html.encode()) < 102_400, "mail programs cut what is longer"
    elements = Elements(html)
    assert {tag for tag, _ in elements.tags} <= ALLOWED
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_no_text_breaks_a_header_or_the_page(text: str):
    read = parse(write_mail(letter(replace(PROJECT, name=text), team=text), SENDER, NOW).text)
    assert read["To"] == "ada@example.com"
    assert len(str(read["Subject"])) <= 120
    html = read.get_body(("html",)).get_content()  # type: ignore[union-attr]
    assert {tag for tag, _ in Elements(html).tags} <= ALLOWED


def test_a_long_address_and_a_long_link_stay_in_one_piece():
    address = f"{'a' * 64}@{'b' * 60}.{'c' * 60}.example.com"
    url = f"https://{'d' * 60}.{'e' * 60}.example.com/reports/unsubscribe/{'f' * 66}"
    text = write_mail(letter(recipient=address, preference_url=url), SENDER, NOW).text
    assert f"\r\nTo: {address}\r\n".encode() in text
    assert f"\r\nList-Unsubscribe: <{url}>\r\n".encode() in text


@pytest.mark.parametrize(
    ("address", "written"),
    [("ada@example.com", "ada@example.com"), ("ada+x@bücher.example", "ada+x@xn--bcher-kva.example")],
)
def test_an_address_is_written_as_mail_servers_read_it(address: str, written: str):
    assert message.write_address(address) == written


@pytest.mark.parametrize(
    "address", ["", "ada", "ada@", "a\r\nb@example.com", "a b@example.com", "ädä@example.com", "<x>@y.z"]
)
def test_an_address_that_is_none_is_refused_for_good(address: str):
    with pytest.raises(MailRefused) as refused:
        message.write_address(address)
    assert refused.value.is_permanent


@pytest.mark.parametrize(
    ("count", "written"),
    [
        (Count(0, 0), "as before"),
        (Count(5, 5), "as before"),
        (Count(5, 0), "none before"),
        (Count(0, 5), "\N{MINUS SIGN}100 %"),
        (Count(3, 2), "+50 %"),
        (Count(1_001, 1_000), "about as before"),
        (Count(100, 1), "+9,900 %"),
    ],
)
def test_a_change_is_told_in_words(count: Count, written: str):
    assert wording.write_change(count) == written


@pytest.mark.parametrize(
    ("frequency", "first", "days", "written"),
    [
        (Frequency.DAILY, date(2026, 3, 9), 1, "Monday 9 March 2026"),
        (Frequency.WEEKLY, date(2026, 3, 2), 7, "2 to 8 March 2026"),
        (Frequency.WEEKLY, date(2026, 3, 30), 7, "30 March to 5 April 2026"),
        (Frequency.BIWEEKLY, date(2025, 12, 29), 14, "29 December 2025 to 11 January 2026"),
        (Frequency.MONTHLY, date(2026, 2, 1), 28, "February 2026"),
    ],
)
def test_a_period_is_told_as_people_say_it(frequency: Frequency, first: date, days: int, written: str):
    assert wording.write_period(frequency, Period(first, first + timedelta(days=days), "UTC")) == written
