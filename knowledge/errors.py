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
├── ReindexingRunning       the project's documents are being indexed anew already
├── ReindexingNotFound      the project's documents were never indexed anew
├── VectorStoreUnavailable  the vector database is down, slow, or does not know our key; worth another try later
│   ├── LibraryMissing      the vector database does not hold the project's library (yet, or any more)
│   ├── ChunksLost          chunks that were stored are gone, of one document
│   ├── LibraryReplaced     another library took its place meanwhile: the search has to begin anew
│   └── EmbedderChanged     the project's vectors are an embedder's that the service does not have (any more)
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


class ReindexingRunning(KnowledgeError):
    """The project's documents are being indexed anew already."""


class ReindexingNotFound(KnowledgeError):
    """The project's documents were never indexed anew."""


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


class ChunksLost(VectorStoreUnavailable):
    """The vector database lacks chunks of a document that it was given; the database as such is well."""

    def __init__(self) -> None:
        super().__init__("The vector database has lost some of the document's chunks; they are stored again.")


class LibraryReplaced(VectorStoreUnavailable):
    """While a library was searched another took its place, perhaps with another embedder: begin anew."""


class EmbedderChanged(VectorStoreUnavailable):
    """A library holds the vectors of an embedder that the service does not have: with none of its own does it compare.

    The message is for operators.
    """

    def __init__(self, message: str, *, retry_after_s: int = 60) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class VectorStoreRefused(KnowledgeError):
    """The vector database does not take what it was sent."""
