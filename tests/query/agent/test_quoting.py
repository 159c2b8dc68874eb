"""Answers without a model: what is quoted, and how it is shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from query.agent import REFUSAL_MARKER, Exchange, QuotingLLM, RAGAgent
from query.agent.markup import resolve_citations
from tests.query.agent.fakes import FakeRetriever, passage, prompt

llm = QuotingLLM()


def test_prose_is_a_blockquote_and_code_a_fence_introduced_by_title_heading_and_number():
    content = "## Retrying > Backoff\n\nUse `retry_backoff`:\n\n```python\nretry_backoff=True\n```\n\nIt doubles."
    assert llm.generate(prompt("How do I retry with backoff?", passage(content, title="Tasks"))) == (
        "From **Tasks** [1], “Retrying > Backoff”:\n\n"
        "> Use `retry_backoff`:\n\n```python\nretry_backoff=True\n```\n\n> It doubles."
    )


def test_the_passage_whose_headings_are_about_the_question_is_quoted():
    mentioned = passage("## Changes\n\nA chord, an error, handled.", document_id="a", title="News", cosine=0.6)
    about = passage("## Chords > Errors\n\nHandle an error so.", document_id="b", title="Canvas", cosine=0.55)
    answer = llm.generate(prompt("How do I handle errors in a chord?", mentioned, about))
    assert answer.startswith("From **Canvas** [2]")
    assert "Handle an error so." in answer


def test_one_contiguous_stretch_of_a_long_passage_is_quoted():
    filler = "\n\n".join(f"Filler paragraph {number} about nothing in particular. " * 5 for number in range(12))
    content = f"{filler}\n\nSet the visibility timeout like this:\n\n```python\nvisibility_timeout = 3600\n```"
    answer = llm.generate(prompt("What is the visibility timeout?", passage(content)))
    assert "```python\nvisibility_timeout = 3600\n```" in answer
    assert "Set the visibility timeout like this:" in answer
    assert "Filler paragraph 0" not in answer


def test_a_line_that_leads_on_to_nothing_does_not_end_a_quotation():
    answer = llm.generate(prompt("What is a chord?", passage("A chord is a group with a callback.\n\nSome examples:")))
    assert answer.endswith("callback.")


def test_other_near_sources_are_named():
    passages = [passage("A chord.", document_id=name, title=name.upper(), cosine=0.7) for name in "abcdef"]
    answer = llm.generate(prompt("What is a chord?", *passages))
    assert answer.endswith("See also **D** [4] and **E** [5].")


def test_at_most_three_sections_are_quoted_and_they_share_the_room():
    content = "\n\n".join(f"A chord, part {number}, is told of at some length here. " * 5 for number in range(20))
    passages = [passage(content, document_id=name, title=name.upper(), cosine=0.7) for name in "abcd"]
    answer = llm.generate(prompt("What is a chord?", *passages))
    assert answer.count("From **") == 3
    assert len(answer) < 2_700
    best, second, _ = (part for part in answer.split("From **") if part)
    assert len(best) > 2 * len(second)


def test_a_second_passage_that_fits_nearly_as_well_is_quoted_too_and_one_that_does_not_is_not():
    best = passage("A chord runs a callback.", document_id="a", title="A", cosine=0.70)
    near = passage("A chord waits for its header.", document_id="b", title="B", cosine=0.66)
    far = passage("A chain runs one after another.", document_id="c", title="C", cosine=0.40)
    both = llm.generate(prompt("What is a chord?", best, near, far))
    assert both == "From **A** [1]:\n\n> A chord runs a callback.\n\nFrom **B** [2]:\n\n> A chord waits for its header."
    assert "[3]" not in llm.generate(prompt("What is a chord?", best, far, far))


def test_numbers_in_brackets_of_the_text_do_not_read_as_citations():
    answer = llm.generate(prompt("What is a chord?", passage("A chord [7], see `x[3]`.", title="Notes [2] *x*")))
    assert resolve_citations(answer, 1) == (answer, {1})
    assert "\\[7\\]" in answer
    assert "`x[3]`" in answer


def test_without_passages_it_refuses():
    assert llm.generate(prompt("What is a chord?")) == REFUSAL_MARKER


def test_follow_ups_take_the_topic_of_the_conversation():
    assert llm.make_self_contained("What is it?", [Exchange("How does a chord work?", "")]) == "What is a chord?"


@given(st.text(alphabet="`#*>[1]: \nab", max_size=300), st.text(alphabet="ab #[`*\n", max_size=30))
def test_a_quotation_of_any_passage_is_an_answer_with_its_citation(content: str, title: str):
    found = passage("word " + content, title=title)
    answer = RAGAgent(FakeRetriever([found]), llm).answer("What is a word?", [])
    assert not answer.is_uncertain
    assert "[1]" in answer.text
