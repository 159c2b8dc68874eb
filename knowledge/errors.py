"""What can go wrong while a bot's knowledge is read, embedded or stored.

KnowledgeError
├── EmbedderUnavailable     the embedder is down, slow, or answers nonsense; worth another try later
├── ModelFilesInvalid       the local model's files are missing or damaged; needs `make setup`, not another try
└── DocumentUnreadable      a document cannot be read as what it claims to be; the message is for the user
"""

from __future__ import annotations


class KnowledgeError(Exception):
    """The root of this package's errors."""


class EmbedderUnavailable(KnowledgeError):
    """The embedder could not be reached, took too long, or answered something that is no embedding.

    `retry_after_s` is the pause, in whole seconds, after which another try makes sense.
    """

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ModelFilesInvalid(KnowledgeError):
    """The files of the local embedding model are missing, damaged, or of another version."""


class DocumentUnreadable(KnowledgeError):
    """A document is not what it claims to be (binary, wrong encoding, empty). The message is shown to the user."""
