"""What can go wrong while a bot's knowledge is read, embedded or stored.

KnowledgeError
├── EndpointUnavailable     an OpenAI-compatible endpoint is down, slow, or refuses; told on as its client's own error
│   └── EndpointRefused     it does not take this request; another one it may
├── EmbedderUnavailable     the embedder is down, slow, or answers nonsense; worth another try later
│   └── EmbedderRefused     it does not take these texts; others it may
├── ModelFilesInvalid       the local model's files are missing or damaged; needs `make setup`, not another try
├── DocumentUnreadable      a document cannot be read as what it claims to be; the message is for the user
├── FileKindUnsupported     a file is of a kind that is not read, or not of the kind that it claims; for the user
├── DocumentTooLarge        a document is larger than this service takes; the message is for the user
├── DocumentNotFound        no such document in the project, or it was deleted
├── VectorStoreUnavailable  the vector database is down, slow, or does not know our key; worth another try later
│   ├── LibraryMissing      the vector database does not hold the project's library (yet, or any more)
│   └── EmbedderChanged     the project's vectors are another embedder's, and do not compare with this one's
└── VectorStoreRefused      the vector database does not take what we sent: a fault of ours, which no retry mends
"""

from __future__ import annotations


class KnowledgeError(Exception):
    """The root of this package's errors."""


class EndpointUnavailable(KnowledgeError):
    """An OpenAI-compatible endpoint could not be reached, took too long, or refused the request.

    `retry_after_s` is the pause, in whole seconds, after which another try makes sense.
    """

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EndpointRefused(EndpointUnavailable):
    """An OpenAI-compatible endpoint does not take what it was sent: too long, say, or against its rules."""


class EmbedderUnavailable(KnowledgeError):
    """The embedder could not be reached, took too long, or answered something that is no embedding.

    `retry_after_s` is the pause, in whole seconds, after which another try makes sense.
    """

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EmbedderRefused(EmbedderUnavailable):
    """The embedder does not take one of these texts."""


class ModelFilesInvalid(KnowledgeError):
    """The files of the local embedding model are missing, damaged, or of another version."""


class DocumentUnreadable(KnowledgeError):
    """A document is not what it claims to be (binary, wrong encoding, empty). The message is shown to the user.

    `attr` is the field of the request that is at fault, where there is a request.
    """

    def __init__(self, message: str, *, attr: str = "content") -> None:
        super().__init__(message)
        self.attr = attr


class FileKindUnsupported(KnowledgeError):
    """A file is of a kind that this service does not read, or says two things of its kind. For the user."""


class DocumentTooLarge(KnowledgeError):
    """A document is larger than this service takes. The message is shown to the user."""


class DocumentNotFound(KnowledgeError):
    """The project has no such document, or no longer."""


class VectorStoreUnavailable(KnowledgeError):
    """The vector database could not be reached, took too long, or does not accept our key.

    `retry_after_s` is the pause, in whole seconds, after which another try makes sense.
    """

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LibraryMissing(VectorStoreUnavailable):
    """The vector database holds no library for the project: nothing was indexed yet, or its data is lost."""

    def __init__(self, message: str, *, retry_after_s: int = 60) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class EmbedderChanged(VectorStoreUnavailable):
    """The project's library holds another embedder's vectors: it can neither be searched nor added to with this one."""

    def __init__(self, message: str, *, retry_after_s: int = 60) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class VectorStoreRefused(KnowledgeError):
    """The vector database does not take what it was sent."""
