"""How errors are told: RFC 9457."""

from pydantic import BaseModel


class ProblemField(BaseModel):
    """One thing wrong with a request."""

    code: str
    detail: str
    attr: str


class Problem(BaseModel):
    """application/problem+json."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemField] | None = None
