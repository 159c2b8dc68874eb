"""A line of a file of past conversations: what it becomes, and why it is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from categorisation import conversations_file
from categorisation.conversations_file import MAX_LINE_BYTES, PastConversation, PastLabel, parse_line, read_lines
from categorisation.errors import BadConversation

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ASKED = "2026-05-01T09:30:00Z"


def parse(line: Any) -> PastConversation:
    return parse_line(line if isinstance(line, bytes) else json.dumps(line).encode(), now=NOW)


def with_fields(**fields: Any) -> dict[str, Any]:
    return {"external_id": "1", "question": "How?", **fields}


def with_exchanges(*exchanges: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"external_id": "1", "question_answers": [{"question": "How?", **given} for given in exchanges], **fields}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


class TestForms:
    def test_the_short_form_is_one_exchange(self):
        source = {"title": "A", "source_url": "/a", "snippet": "a"}
        short = parse(with_fields(answer="So.", created_at=ASKED, is_uncertain=True, relevant_sources=[source]))
        exchange = {"answer": "So.", "created_at": ASKED, "is_uncertain": True, "relevant_sources": [source]}
        assert short == parse(with_exchanges(exchange))
        assert short.exchanges[0].relevant_sources == [source]

    def test_what_is_left_out_is_empty_and_null_is_the_same(self):
        names = ("answer", "created_at", "is_uncertain", "relevant_sources", "user", "metadata", "category_source")
        bare = parse(with_fields())
        assert parse(with_fields(**dict.fromkeys(names))) == bare
        assert (bare.user_email, bare.user_metadata, bare.origin_url, bare.label) == ("", {}, "", None)
        assert (bare.exchanges[0].answer, bare.exchanges[0].is_uncertain) == ("", False)

    def test_a_question_is_trimmed_as_the_chat_does(self):
        assert parse(with_fields(question="  How? \n")).exchanges[0].question == "How?"

    def test_a_source_has_all_its_fields(self):
        sources = parse(with_fields(relevant_sources=[{"title": "A"}])).exchanges[0].relevant_sources
        assert sources == [{"title": "A", "source_url": "", "snippet": ""}]


class TestTimes:
    def test_zones_are_heeded(self):
        assert parse(with_fields(created_at="2026-05-01T09:30:00+02:00")).created_at == at("2026-05-01T07:30:00Z")

    def test_an_exchange_without_a_time_has_that_of_the_one_before(self):
        conversation = parse(with_exchanges({}, {"created_at": "2026-05-02T00:00:00Z"}, {}, created_at=ASKED))
        assert [exchange.created_at for exchange in conversation.exchanges] == [
            at(ASKED),
            at("2026-05-02T00:00:00Z"),
            at("2026-05-02T00:00:00Z"),
        ]

    def test_a_conversation_begins_with_its_first_known_time(self):
        later = "2026-05-03T00:00:00Z"
        assert parse(with_exchanges({}, {"created_at": ASKED})).created_at == at(ASKED)
        assert parse(with_exchanges({"created_at": ASKED}, created_at=later)).created_at == at(ASKED)
        assert parse(with_exchanges({"created_at": later}, created_at=ASKED)).created_at == at(ASKED)

    def test_one_without_any_time_is_too_old_for_the_sweeper(self):
        conversation = parse(with_exchanges({}, {}))
        assert not conversation.is_dated
        assert conversation.created_at == NOW - timedelta(days=1)
        assert {exchange.created_at for exchange in conversation.exchanges} == {conversation.created_at}

    def test_a_clock_may_be_a_little_fast(self):
        almost = (NOW + timedelta(minutes=4)).isoformat()
        assert parse(with_fields(created_at=almost)).created_at == at(almost)


class TestLabels:
    @pytest.mark.parametrize("source", [{}, {"category_source": None}, {"category_source": "user"}])
    def test_a_category_is_a_persons_decision(self, source):
        assert parse(with_fields(category="Returns", **source)).label == PastLabel("Returns")

    def test_null_of_a_person_says_none_of_them(self):
        assert parse(with_fields(category=None, category_source="user")).label == PastLabel(None)

    def test_null_alone_says_nothing(self):
        assert parse(with_fields(category=None)).label is None


BAD = {
    "not UTF-8": b'{"external_id": "\xff"}',
    "UTF-16": '{"external_id": "1", "question": "How?"}'.encode("utf-16"),
    "not JSON": b'{"external_id": "1"',
    "two values": b"{} {}",
    "NaN": b'{"external_id": "1", "question": "How?", "user": {"metadata": {"n": NaN}}}',
    "-Infinity": b'{"external_id": "1", "question": "How?", "user": {"metadata": {"n": -Infinity}}}',
    "1e999": b'{"external_id": "1", "question": "How?", "user": {"metadata": {"n": 1e999}}}',
    "5,000 digits": b'{"external_id": "1", "question": "How?", "user": {"metadata": {"n": ' + b"1" * 5000 + b"}}}",
    "a key twice": b'{"external_id": "1", "external_id": "2", "question": "How?"}',
    "an inner key twice": b'{"external_id": "1", "question": "How?", "user": {"metadata": {"a": 1, "a": 2}}}',
    "nested too deep": b"[" * 100_000,
    "too long": json.dumps(with_fields(answer="x" * MAX_LINE_BYTES)).encode(),
    "an array": [1],
    "a text": "x",
    "null": None,
    "no id": {"question": "How?"},
    "id is null": with_fields(external_id=None),
    "id is a number": with_fields(external_id=1),
    "id is empty": with_fields(external_id=""),
    "id is too long": with_fields(external_id="x" * 201),
    "id with NUL": with_fields(external_id="a\0b"),
    "id with a lone surrogate": b'{"external_id": "\\ud800", "question": "How?"}',
    "no question": {"external_id": "1"},
    "no exchange": {"external_id": "1", "question_answers": []},
    "both forms": with_exchanges({}, question="How?"),
    "exchanges are no list": {"external_id": "1", "question_answers": {"question": "How?"}},
    "exchanges are no objects": {"external_id": "1", "question_answers": ["How?"]},
    "too many exchanges": with_exchanges(*[{}] * 1001),
    "question is empty": with_fields(question=" \n"),
    "question is invisible": with_fields(question="\u200b"),
    "question is too long": with_fields(question="x" * 10_001),
    "question is a number": with_fields(question=1),
    "answer is a list": with_fields(answer=["So."]),
    "answer is too long": with_fields(answer="x" * 100_001),
    "answer with NUL": with_fields(answer="\0"),
    "uncertain is a text": with_fields(is_uncertain="yes"),
    "uncertain is a number": with_fields(is_uncertain=1),
    "a misspelt field": with_fields(catgory="Returns"),
    "a misspelt inner field": with_exchanges({"anwser": "So."}),
    "a field of the short form in the long": with_exchanges({}, answer="So."),
    "an address that a browser runs": with_fields(relevant_sources=[{"source_url": "java\tscript:alert(1)"}]),
    "another scheme": with_fields(relevant_sources=[{"source_url": " data:text/html,x"}]),
    "too many sources": with_fields(relevant_sources=[{}] * 51),
    "time without zone": with_fields(created_at="2026-05-01T09:30:00"),
    "time as a number": with_fields(created_at=1700000000),
    "a day alone": with_fields(created_at="2026-05-01"),
    "no time at all": with_fields(created_at="yesterday"),
    "the first year": with_fields(created_at="0001-01-01T00:00:00+14:00"),
    "before 1970": with_fields(created_at="1969-12-31T23:59:59Z"),
    "the future": with_fields(created_at="2026-06-01T12:06:00Z"),
    "times in disorder": with_exchanges({"created_at": ASKED}, {"created_at": "2026-04-30T00:00:00Z"}),
    "user is a text": with_fields(user="ann"),
    "e-mail without at": with_fields(user={"email": "ann"}),
    "e-mail is too long": with_fields(user={"email": "a" * 320 + "@b"}),
    "client id is too long": with_fields(user={"unique_client_id": "x" * 201}),
    "metadata is a list": with_fields(user={"metadata": []}),
    "metadata is too large": with_fields(user={"metadata": {"a": "x" * 16_384}}),
    "metadata is too deep": with_fields(user={"metadata": {"a": [[[[[[[[[1]]]]]]]]]}}),
    "metadata with 2**63": with_fields(user={"metadata": {"a": 2**63}}),
    "metadata with an empty name": with_fields(user={"metadata": {"": 1}}),
    "metadata with NUL": with_fields(user={"metadata": {"a\0": 1}}),
    "metadata with a lone surrogate": with_fields(user={"metadata": {"a": "\ud800"}}),
    "origin_url is too long": with_fields(metadata={"origin_url": "x" * 2001}),
    "other metadata": with_fields(metadata={"plan": "free"}),
    "a classifier's label": with_fields(category="Returns", category_source="classifier"),
    "source is a list": with_fields(category="Returns", category_source=["user"]),
    "source without a category": with_fields(category_source="user"),
    "category is empty": with_fields(category=" "),
    "category is an object": with_fields(category={"title": "Returns"}),
}


@pytest.mark.parametrize("line", BAD.values(), ids=BAD.keys())
def test_a_bad_line_is_refused_with_a_reason(line):
    with pytest.raises(BadConversation) as refusal:
        parse(line)
    reason = str(refusal.value)
    assert reason.isprintable()
    assert 0 < len(reason) < 500


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (with_exchanges({}, {"answer": 1}), "question_answers[1].answer: a text is expected"),
        (with_fields(user={"email": 1}), "user.email: a text is expected"),
        (b'{"external_id": 1, "external_id": 2}', "external_id: stands there twice"),
        (with_fields(created_at="2026-06-01T13:00:00Z"), "created_at: is in the future"),
    ],
)
def test_a_reason_names_the_place(line, reason):
    with pytest.raises(BadConversation, match=f"^{reason.replace('[', '.').replace(']', '.')}$"):
        parse(line)


def test_a_key_that_stands_there_twice_among_many_is_found_fast():
    keys = ",".join(f'"{number}": 0' for number in range(60_000))
    with pytest.raises(BadConversation, match="59999: stands there twice"):
        parse(f'{{{keys}, "59999": 0}}'.encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
NAMES = sorted((conversations_file._SHORT_FORM | conversations_file._LONG_FORM) - {"external_id"})
TIMES = st.datetimes(timezones=st.sampled_from([UTC, None])).map(datetime.isoformat)
ALMOST = st.fixed_dictionaries(
    {"external_id": st.just("1") | JSON},
    optional={name: JSON | TIMES | st.lists(st.dictionaries(st.sampled_from(NAMES), JSON | TIMES)) for name in NAMES},
)


def parse_or_refuse(line: Any) -> PastConversation | str:
    try:
        return parse(line)
    except BadConversation as refusal:
        reason = str(refusal)
    assert reason.isprintable()
    return reason


@given(st.binary())
def test_no_bytes_make_it_raise_anything_but_its_own_error(data):
    parse_or_refuse(data)


@given(ALMOST)
def test_no_object_makes_it_raise_anything_but_its_own_error(document):
    conversation = parse_or_refuse(document)
    if isinstance(conversation, PastConversation):
        times = [conversation.created_at, *(exchange.created_at for exchange in conversation.exchanges)]
        assert times == sorted(times)
        assert all("\0" not in exchange.question + exchange.answer for exchange in conversation.exchanges)


class TestLines:
    def test_lines_are_counted_from_one_and_measured(self):
        lines = list(read_lines(BytesIO(b"one\r\n\ntwo")))
        assert lines == [(1, b"one\r\n", 5), (2, b"\n", 1), (3, b"two", 3)]

    def test_a_byte_order_mark_is_passed_over(self):
        assert next(read_lines(BytesIO(b"\xef\xbb\xbf{}"))).data == b"{}"

    @pytest.mark.parametrize("excess", [-1, 0, 1, 2, MAX_LINE_BYTES, 3 * MAX_LINE_BYTES])
    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
    def test_a_line_of_any_length_is_one_line(self, excess, end):
        long = b"x" * (MAX_LINE_BYTES + excess)
        lines = list(read_lines(BytesIO(b"a\n" + long + end + b"b")))
        assert sum(line.size_bytes for line in lines) == len(long + end) + 3
        assert max(len(line.data) for line in lines) <= MAX_LINE_BYTES + 1
        if end:
            assert [line.number for line in lines] == [1, 2, 3]
            assert lines[-1].data == b"b"

    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    def test_the_longest_line_is_read_and_a_longer_one_refused(self, end):
        short = len(json.dumps(with_fields(user={"metadata": {}})))
        line = json.dumps(with_fields(user={"metadata": {}})).encode() + b" " * (MAX_LINE_BYTES - short)
        whole, longer = read_lines(BytesIO(line + end + b" " + line + end))
        assert parse(whole.data).external_id == "1"
        with pytest.raises(BadConversation, match="longer than"):
            parse(longer.data)
