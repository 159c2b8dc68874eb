"""`python -m tests.schema.load PROJECT_ID`: reads, writes and chats through the ORM until its standard input ends.

Then it prints what it did and how long the longest of each took: {"reads": [count, longest_s], ...}.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable

import django


class Bot:
    """An agent that answers at once."""

    def answer(self, question: str, history: object) -> object:
        from query.agent import Answer, Timings

        return Answer(
            text="You do it like this.",
            is_uncertain=False,
            relevant_sources=(),
            timings=Timings(embed_ms=0, retrieve_ms=0, generate_ms=0, total_ms=0),
            standalone_question=question,
        )


def main() -> int:
    django.setup()
    from django.db.models import Q
    from django.db.models.functions import Now

    from query import composition, services
    from query.lists import ThreadList
    from query.models import Thread
    from query.selectors import threads_of
    from teams.models import Project

    composition.agent_for = lambda project_id: Bot()  # type: ignore[assignment,return-value]
    project = Project.objects.get(pk=sys.argv[1])
    newest = list(Thread.objects.filter(project=project).order_by("-created_at")[:200].values_list("pk", flat=True))
    turns = iter(range(10**9))

    def read() -> None:
        page = ThreadList(threads_of(project.pk)).read(Q(), ("-created_at", "-id"), 20)
        assert len(page) == 20

    def write() -> None:
        thread_id = newest[next(turns) % len(newest)]
        Thread.objects.filter(pk=thread_id).update(is_uncertain=True, classify_after=Now(), updated_at=Now())

    def chat() -> None:
        services.ask(project=project, question="How do I do it while tables change?")

    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    done: dict[str, list[float]] = {"reads": [0, 0.0], "writes": [0, 0.0], "chats": [0, 0.0]}
    _say("ready")
    while not ended.is_set():
        for name, action in (("reads", read), ("writes", write), ("chats", chat)):
            _take_time(action, done[name])
        time.sleep(0.005)
    _say(json.dumps(done))
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _take_time(action: Callable[[], None], done: list[float]) -> None:
    started = time.perf_counter()
    action()
    done[0] += 1
    done[1] = max(done[1], time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
