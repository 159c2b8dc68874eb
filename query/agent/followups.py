"""Follow-up questions without a model: whether a question leans on the conversation, and what it then means.

The rule is small and errs on the side of adding the topic: a word too many in a search costs little, a question about
"it" alone finds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from query.agent.protocols import Exchange
from query.agent.words import content_words

# Who writes this much has said what it is about.
_MAX_FOLLOW_UP_CHARACTERS = 500
_MAX_TOPIC_WORDS = 12
_MAX_TOPIC_CHARACTERS = 200

_PERSONAL = r"it|they|them"
_POSSESSIVE = r"its|their"
# "that" points back before a preposition, an adverb, a conjunction or the end, or right after an auxiliary or a
# question word or a conjunction ("when that is exceeded"); elsewhere it opens a clause ("a task that fails").
_AFTER_POINTER = (
    r"(?=\s*(?:[?.!,;:]|$)|\s+(?:on|off|up|down|out|in|for|with|without|from|to|at|by|of|as|into|when|while|if|after|before"
    r"|and|or|but|because|be|work|works|happen|happens|mean|means|help|too|again|instead|automatically|also|then|now)\b)"
)
_ASKERS = ("is", "does", "did", "was", "can", "will", "would", "should", "about")
_CONJUNCTIONS = ("when", "if", "once", "while", "after", "before", "until", "because", "why", "how", "where")
_AFTER_ASKING = "(?:" + "|".join(rf"(?<=\b{word} )" for word in (*_ASKERS, *_CONJUNCTIONS)) + ")"
_POINTER = re.compile(
    rf"\b(?:(?P<possessive>{_POSSESSIVE})|{_PERSONAL}"
    rf"|(?:that|this|those|these){_AFTER_POINTER}"
    rf"|{_AFTER_ASKING}(?:that|this|those|these)\b(?!\s+\w+ing\b))\b",
    re.IGNORECASE,
)
_POINTING_NOUN = re.compile(
    r"\b(?:(?:this|these)\s+\w+|(?:of|for|with|in|to|from|about)\s+(?:that|those)\s+\w+|the\s+(?:same|former|latter|first|second|other))\b",
    re.IGNORECASE,
)
# "Is it possible to ...", "does it make sense to ...": here "it" means nothing that came before.
_EMPTY_IT = re.compile(
    r"\b(?:is|was|would|will)\s+it\s+(?:possible|necessary|safe|okay|ok|better|worth|true|required|recommended|allowed|advisable|best)\b"
    r"|\bdoes\s+it\s+(?:make|take|matter)\b|\bit\s+(?:is|was)\s+possible\b",
    re.IGNORECASE,
)
# "If a task fails, how do I retry it?": what "it" means stands in the question itself.
_OWN_ANTECEDENT = re.compile(
    rf"^\s*(?:if|when|whenever|after|before|once|while|suppose)\b.+,.+\b(?:{_PERSONAL}|{_POSSESSIVE})\b"
    rf"|\b(?:a|an|my|each|every)\s+\w+(?:\s+\w+){{0,6}}?,?\s+(?:and|but|then|before|after|when|if)\b.+\b(?:{_PERSONAL}|{_POSSESSIVE})\b",
    re.IGNORECASE | re.DOTALL,
)
_CONTINUATION = re.compile(r"^\s*(?:and|but|or|so|then|also|what about|how about|what if|same)\b", re.IGNORECASE)
_QUESTION_WORDS = (
    "what|which|who|where|when|why|how|is|are|was|were|do|does|did|can|could|should|will|would|must|may|has|have"
)
_ASKING = re.compile(rf"^\s*(?:{_QUESTION_WORDS}|explain|describe|list|show|tell|define)\b", re.IGNORECASE)
_GREETINGS = "and|but|so|then|also|ok|okay|please|hi|hello|thanks|well"
_ASKING_WORDS = "am|i|we|you|one|there|it|the difference between|tell me|explain|describe|show me|many|much|often|long"
_GENERIC_VERBS = (
    "about|if|to|my|our|way|need|set up|set|use|using|configure|make|get|create|define|enable|change|add|run|start"
    "|write|find|see|know|monitor|handle|the best"
)
_LEADING_WORDS = re.compile(
    rf"^(?:(?:{_GREETINGS})\b[\s,]*)*(?:(?:{_QUESTION_WORDS}|{_ASKING_WORDS}|{_GENERIC_VERBS})\b[\s,]*)+", re.IGNORECASE
)
_TRAILING_WORDS = re.compile(
    r"[\s,]*\b(?:do|does|work|mean|means|for|with|in|of|to|by|and|or|the|a|an|is|are)\s*$", re.IGNORECASE
)
_ADDED_TOPIC = re.compile(r"\(([^()]{1,300})\)\s*$")


def make_self_contained(question: str, history: Sequence[Exchange]) -> str:
    """Return `question` as it is when it stands on its own, else with the topic of the conversation put into it."""
    if len(question) > _MAX_FOLLOW_UP_CHARACTERS or not leans_on_history(question):
        return question
    topic = next((found for exchange in reversed(history) if (found := find_topic(exchange.question))), "")
    if not topic:
        return question
    pointer = _POINTER.search(question)
    if pointer is None or _POINTING_NOUN.search(question):
        return f"{question.strip()} ({topic})"
    replacement = f"{topic}'s" if pointer["possessive"] else topic
    return f"{question[: pointer.start()]}{replacement}{question[pointer.end() :]}"


def leans_on_history(question: str) -> bool:
    """Whether the question can only be understood together with what was said before it."""
    words = content_words(question)
    if _CONTINUATION.match(question) or not words:
        return True
    if len(words) <= 2 and not _ASKING.match(question):
        return True
    stripped = _EMPTY_IT.sub(" ", question)
    if _OWN_ANTECEDENT.search(stripped):
        return False
    return bool(_POINTER.search(stripped) or _POINTING_NOUN.search(stripped))


def find_topic(question: str) -> str:
    """Return what a question was about, in its own words: the question without the words of asking around it.

    An empty string when it was about nothing ("Thanks!"), or leaned itself on something that is not there.
    """
    question = question[:_MAX_FOLLOW_UP_CHARACTERS]
    if not content_words(question):
        return ""
    added = _ADDED_TOPIC.search(question)
    if added:
        return added[1].strip()
    first_sentence = re.split(r"[?!\n]", question.strip(), maxsplit=1)[0].strip()
    topic = _LEADING_WORDS.sub("", first_sentence).strip(" ?.!,;:\"'")
    words = topic.split()[:_MAX_TOPIC_WORDS]
    topic = _TRAILING_WORDS.sub("", " ".join(words)[:_MAX_TOPIC_CHARACTERS]).strip()
    return topic if content_words(topic) else " ".join(content_words(question)[:_MAX_TOPIC_WORDS])
