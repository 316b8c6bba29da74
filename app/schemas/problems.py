"""RFC 9457 problem objects as the API documents them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class FieldProblem(BaseModel):
    """One fault of the input."""

    pointer: str = Field(
        description="JSON pointer into the body (RFC 6901), `?name` for a query parameter, "
        "`{name}` for a part of the path, `Name:` for a header."
    )
    code: str = Field(description="Stable name of the fault.")
    detail: str = Field(description="What is wrong, and what would be right.")


class Problem(BaseModel):
    """An error, as `application/problem+json`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(
        description="Address of the kind's explanation; stable.", examples=["/problems/not-found"]
    )
    title: str = Field(description="The kind, in words.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    detail: str = Field(description="What happened here, and what to do about it.")
    instance: str | None = Field(None, description="The path that was asked for.")
    errors: list[FieldProblem] | None = Field(None, description="Every fault of an invalid input.")


class ProblemKind(BaseModel):
    """A kind of problem that the API may answer with."""

    type: str
    code: str
    title: str
    status: int
    description: str
    """Where the kind needs more words than its title."""


class ProblemKinds(BaseModel):
    """Every kind of problem."""

    data: list[ProblemKind]
