"""The way from a question to an answer with its sources."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass

from query.agent.deltas import DeltaWriter
from query.agent.inert import links_of, make_inert
from query.agent.markup import make_snippet, resolve_citations
from query.agent.protocols import (
    REFUSAL_MARKER,
    Answer,
    AnswerPart,
    Exchange,
    LLMClient,
    Passage,
    Prompt,
    RelevantSource,
    Retrieval,
    Retriever,
    Source,
    SourcesFound,
    StreamingLLMClient,
    TextWritten,
    Timings,
)
from query.agent.sections import join_sections

UNKNOWN_ANSWER = (
    "I don't know. The documents that I was given do not answer this question; perhaps other words for it help."
)
_MAX_QUESTION_CHARACTERS = 10_000
# How many more passages are looked through for the rest of the sections that were found, for each passage looked at.
_FURTHER_FACTOR = 2


@dataclass(frozen=True, slots=True)
class PreparedAnswer:
    """Everything that is known before a word is generated: what an answer may cite, or that there is nothing to cite.

    `prompt` is None when nothing relevant was found. Times are of `time.perf_counter`.
    """

    standalone_question: str
    prompt: Prompt | None
    relevant_sources: tuple[RelevantSource, ...]
    retrieval: Retrieval
    started_at: float
    rewriting_ms: float

    def make_cleaner(self) -> Callable[[str], tuple[str, set[int]]]:
        """What makes of what the model wrote the text that is shown, and the numbers of the sources that it cites."""
        is_known = links_of(self.prompt.sources if self.prompt else ())
        return lambda generated: resolve_citations(make_inert(generated, is_known), len(self.relevant_sources))


class RAGAgent:
    """Answers questions from retrieved passages, and from nothing else.

    Args:
        retriever: finds passages.
        llm: writes the answer.
        top_k: passages to look at.
        max_sources: documents that an answer may cite.
        before_wait: called ahead of each call of the model: whatever is held may be given back for that time.
    """

    def __init__(
        self,
        retriever: Retriever,
        llm: LLMClient,
        *,
        top_k: int = 8,
        max_sources: int = 5,
        before_wait: Callable[[], None] = lambda: None,
    ) -> None:
        self._retriever = retriever
        self._llm = llm
        self._top_k = top_k
        self._max_sources = max_sources
        self._before_wait = before_wait

    def answer(self, question: str, history: Sequence[Exchange] = ()) -> Answer:
        """Answer a question of a thread whose earlier exchanges are `history`, oldest first.

        Raises LLMUnavailable, and whatever the retriever's parts raise when they are down.
        """
        prepared = self.prepare(question, history)
        if prepared.prompt is None:
            return self.finish(prepared, REFUSAL_MARKER, generate_ms=0.0)
        self._before_wait()
        started_at = time.perf_counter()
        text = self._llm.generate(prepared.prompt)
        return self.finish(prepared, text, generate_ms=_since_ms(started_at))

    def stream(self, question: str, history: Sequence[Exchange] = ()) -> Generator[AnswerPart, None, None]:
        """Yield the sources, the text in pieces, and last the whole answer that `answer` would return.

        The pieces joined are the answer's text, or, where the model took back what it had begun, not its beginning:
        what counts is the whole. Closing this ends the model's call. Raises as `answer` does.
        """
        prepared = self.prepare(question, history)
        yield SourcesFound(prepared.relevant_sources)
        started_at = time.perf_counter()
        deltas = DeltaWriter(prepared.make_cleaner())
        for piece in self._generate_pieces(prepared.prompt):
            if text := deltas.feed(piece):
                yield TextWritten(text)
        generate_ms = _since_ms(started_at) if prepared.prompt else 0.0
        answer = self.finish(prepared, deltas.written, generate_ms=generate_ms)
        if text := deltas.finish(answer.text):
            yield TextWritten(text)
        yield answer

    def _generate_pieces(self, prompt: Prompt | None) -> Iterable[str]:
        if prompt is None:
            return (REFUSAL_MARKER,)
        self._before_wait()
        if isinstance(self._llm, StreamingLLMClient):
            return self._llm.stream(prompt)
        return (self._llm.generate(prompt),)

    def prepare(self, question: str, history: Sequence[Exchange] = ()) -> PreparedAnswer:
        """Do all that comes before generation: make the question self-contained, retrieve, number the sources."""
        started_at = time.perf_counter()
        standalone = question
        if history:
            self._before_wait()
            rewritten = self._llm.make_self_contained(question, history).strip()
            standalone = (rewritten or question)[:_MAX_QUESTION_CHARACTERS]
        rewriting_ms = _since_ms(started_at) if history else 0.0
        retrieval = self._retriever.retrieve(standalone, self._top_k, further_k=_FURTHER_FACTOR * self._top_k)
        sources = self._gather_sources(retrieval) if retrieval.is_relevant else ()
        return PreparedAnswer(
            standalone_question=standalone,
            prompt=Prompt(standalone, sources, tuple(history)) if sources else None,
            relevant_sources=tuple(_show(source) for source in sources),
            retrieval=retrieval,
            started_at=started_at,
            rewriting_ms=rewriting_ms,
        )

    def _gather_sources(self, retrieval: Retrieval) -> tuple[Source, ...]:
        sections = join_sections(retrieval.passages, retrieval.further)
        return group_by_document(sections, self._max_sources)

    def finish(self, prepared: PreparedAnswer, generated: str, *, generate_ms: float) -> Answer:
        """Check what the model wrote. Without a citation that resolves, it is no answer from the sources."""
        text, cited = prepared.make_cleaner()(generated)
        is_uncertain = not cited or REFUSAL_MARKER in generated
        return Answer(
            text=UNKNOWN_ANSWER if is_uncertain else text,
            is_uncertain=is_uncertain,
            relevant_sources=() if is_uncertain else prepared.relevant_sources,
            timings=Timings(
                embed_ms=prepared.retrieval.embed_ms,
                retrieve_ms=prepared.retrieval.retrieve_ms,
                generate_ms=round(prepared.rewriting_ms + generate_ms, 1),
                total_ms=_since_ms(prepared.started_at),
            ),
            standalone_question=prepared.standalone_question,
        )


def group_by_document(passages: Sequence[Passage], max_sources: int) -> tuple[Source, ...]:
    """Number the passages' documents, best first, one number each; those beyond the last number are left out."""
    by_document: dict[str, list[Passage]] = {}
    for passage in passages:
        if passage.document_id in by_document or len(by_document) < max_sources:
            by_document.setdefault(passage.document_id, []).append(passage)
    return tuple(
        Source(number, found[0].title, found[0].source_url, tuple(found))
        for number, found in enumerate(by_document.values(), start=1)
    )


def _show(source: Source) -> RelevantSource:
    return RelevantSource(source.title, source.source_url, make_snippet(source.passages[0].content))


def _since_ms(started_at: float) -> float:
    return round((time.perf_counter() - started_at) * 1000, 1)
