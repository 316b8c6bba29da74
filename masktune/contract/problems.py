"""Errors of the API: problem objects (RFC 9457)."""

from __future__ import annotations

from pydantic import Field

from masktune.contract.base import Shape


class FieldProblem(Shape):
    """One fault of the input."""

    pointer: str = Field(
        description="JSON pointer into the body (RFC 6901), `?name` for a query parameter, "
        "`{name}` for a part of the path, `Name:` for a header."
    )
    code: str = Field(description="Stable code of the fault.")
    detail: str = Field(description="What is wrong, and what would be valid.")


class Problem(Shape):
    """An error, as `application/problem+json`."""

    type: str = Field(
        "about:blank",
        description="Address of the kind's explanation; stable. `about:blank`: the connection was refused "
        "before any route ran, and the status tells the kind.",
        examples=["/problems/not-found"],
    )
    title: str = Field("The request failed", description="The kind, in words.")
    status: int = Field(500, description="The HTTP status.", ge=400, le=599)
    detail: str = Field("", description="What happened here, and what to do about it.")
    instance: str | None = Field(None, description="The path that was requested.")
    errors: list[FieldProblem] | None = Field(None, description="Every fault of an invalid input.")


class ProblemKind(Shape):
    """A kind of problem that the API may answer with."""

    type: str
    code: str
    title: str
    status: int
    description: str
    """The kind's explanation, or its title if it needs none."""


class ProblemKinds(Shape):
    """Every kind of problem."""

    data: list[ProblemKind]
