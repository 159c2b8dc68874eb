"""Answers from any OpenAI-compatible endpoint, through the official SDK."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, cast

from openai.types.chat import ChatCompletionMessageParam

from knowledge.embedders.characters import replace_lone_surrogates
from knowledge.errors import EndpointUnavailable
from knowledge.openai_endpoint import OpenAIEndpoint, read_bounded
from query.agent.prompts import write_answering_messages, write_rewriting_messages
from query.agent.protocols import Exchange, Prompt
from query.errors import LLMUnavailable

MAX_ANSWER_CHARACTERS = 20_000
MAX_BODY_BYTES = 2_000_000
MAX_REWRITTEN_CHARACTERS = 1_000
# Some models think aloud before they answer.
_THOUGHTS = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)


class OpenAILLM:
    """Asks `POST {base_url}/chat/completions`; safe from several lanes at once.

    `timeout_s` bounds one call as a whole: connecting, a body that trickles in, retries and the pauses between them.
    Lost connections and 5xx are tried again up to `max_retries` times within it, other refusals and nonsense never.
    Every fault is an LLMUnavailable, whose message holds neither the key, nor a text, nor anything that the endpoint
    wrote. `api_key` may be empty for a server that wants none.
    """

    def __init__(
        self, *, base_url: str, model: str, api_key: str, timeout_s: float = 60.0, max_retries: int = 2
    ) -> None:
        self._endpoint = OpenAIEndpoint(
            base_url=base_url, api_key=api_key, timeout_s=timeout_s, max_retries=max_retries, called="model"
        )
        self._model = model

    def generate(self, prompt: Prompt) -> str:
        """Return the model's answer in Markdown. Raises LLMUnavailable."""
        return self._complete(write_answering_messages(prompt))[:MAX_ANSWER_CHARACTERS]

    def make_self_contained(self, question: str, history: Sequence[Exchange]) -> str:
        """Return the question as the model rewrites it; as it is when what comes back is no question's size."""
        rewritten = self._complete(write_rewriting_messages(question, history)).strip().strip('"').strip()
        if not rewritten or len(rewritten) > MAX_REWRITTEN_CHARACTERS + len(question):
            return question
        return rewritten

    def close(self) -> None:
        """Close connections and end the background thread; the next call opens them again."""
        self._endpoint.close()

    def _complete(self, messages: list[dict[str, str]]) -> str:
        sendable = [{**message, "content": replace_lone_surrogates(message["content"])} for message in messages]
        try:
            body = self._endpoint.call(
                lambda client: read_bounded(
                    client.chat.completions.with_streaming_response.create(
                        model=self._model,
                        messages=cast("list[ChatCompletionMessageParam]", sendable),
                        temperature=0,
                    ),
                    max_bytes=MAX_BODY_BYTES,
                )
            )
        except EndpointUnavailable as exc:
            raise LLMUnavailable(str(exc), retry_after_s=exc.retry_after_s) from None
        if len(body) > MAX_BODY_BYTES:
            raise LLMUnavailable("The model's answer is too large.")
        return _read_text(body)


def _read_text(body: bytes) -> str:
    """Return the first choice's text, trusting nothing in the body."""
    try:
        answer: Any = json.loads(body)
        text: Any = answer["choices"][0]["message"]["content"]
    # RecursionError: a body of nothing but brackets.
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str):
        raise LLMUnavailable("The model answered something that is no chat completion.")
    said = replace_lone_surrogates(_THOUGHTS.sub("", text, count=1)).replace("\0", "").strip()
    if not said:
        raise LLMUnavailable("The model answered nothing.")
    return said
