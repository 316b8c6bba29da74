"""Errors of the API: problem objects (RFC 9457), and the table of their kinds."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from masktune.contract.base import Open, Shape

PROBLEM_BASE = "/problems/"
"""Every `type` is this and the code, wherever a proxy mounts the service, which explains it at this path."""


class ErrorCode(StrEnum):
    """The kind of a problem, for programs."""

    BAD_REQUEST = "bad-request"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    REQUEST_TIMEOUT = "request-timeout"
    CONFLICT = "conflict"
    JOB_ENDED = "job-ended"
    JOB_NOT_RESUMABLE = "job-not-resumable"
    DATASET_IN_USE = "dataset-in-use"
    DATASET_NOT_READY = "dataset-not-ready"
    MODEL_IN_USE = "model-in-use"
    REQUEST_IN_FLIGHT = "request-in-flight"
    REPORT_NOT_READY = "report-not-ready"
    NOT_CERTIFIABLE = "not-certifiable"
    PRECONDITION_FAILED = "precondition-failed"
    PAYLOAD_TOO_LARGE = "payload-too-large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    INVALID_INPUT = "invalid-input"
    IDEMPOTENCY_KEY_REUSED = "idempotency-key-reused"
    MODEL_OF_ANOTHER_DATASET = "model-of-another-dataset"
    BAD_IMAGE = "bad-image"
    TOO_MANY_REQUESTS = "too-many-requests"
    HEAD_TOO_LARGE = "head-too-large"
    INTERNAL = "internal"
    JOB_FAILED = "job-failed"
    UNAVAILABLE = "unavailable"
    OVERLOADED = "overloaded"
    STORAGE_FULL = "storage-full"
    STORAGE_NOT_WRITABLE = "storage-not-writable"


ErrorCodeName = Annotated[ErrorCode | str, Open(ErrorCode)]


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

    model_config = ConfigDict(json_schema_extra={"required": ["type", "code", "title", "status", "detail"]})

    type: str = Field(
        "about:blank",
        description="`/problems/` and the code, wherever the service is mounted; explained at that path.",
        examples=["/problems/not-found"],
    )
    code: ErrorCodeName = Field(ErrorCode.INTERNAL, description="The kind, for programs.")
    title: str = Field("The request failed", description="The kind, in words.")
    status: int = Field(500, description="The HTTP status.", ge=400, le=599)
    detail: str = Field("", description="What happened here, and what to do about it.")
    instance: str | None = Field(None, description="The path that was requested.")
    errors: list[FieldProblem] | None = Field(None, description="Every fault of an invalid input.")

    @model_validator(mode="before")
    @classmethod
    def _code_of_its_type(cls, source: Any) -> Any:
        """Read the code of a problem that an older service wrote: the last part of its type."""
        if isinstance(source, Mapping) and "code" not in source and "type" in source:
            return {**source, "code": str(source["type"]).rpartition("/")[2]}
        return source


class ProblemKind(Shape):
    """A kind of problem that the API may answer with."""

    type: str
    code: ErrorCodeName
    title: str
    status: int
    description: str = Field(description="The kind's explanation, or its title if it needs none.")


class ProblemKinds(Shape):
    """Every kind of problem."""

    data: list[ProblemKind]


_STATUS_AND_TITLE: Mapping[ErrorCode, tuple[int, str]] = {
    ErrorCode.BAD_REQUEST: (400, "The connection does not carry a well-formed HTTP request"),
    ErrorCode.UNAUTHENTICATED: (401, "A valid key is required"),
    ErrorCode.FORBIDDEN: (403, "This key is not allowed to do that"),
    ErrorCode.NOT_FOUND: (404, "Not found"),
    ErrorCode.METHOD_NOT_ALLOWED: (405, "Method not allowed"),
    ErrorCode.REQUEST_TIMEOUT: (408, "The request arrives too slowly"),
    ErrorCode.CONFLICT: (409, "The state of the resource does not allow this"),
    ErrorCode.JOB_ENDED: (409, "The job has ended"),
    ErrorCode.JOB_NOT_RESUMABLE: (409, "Only a failed or cancelled job can be resumed"),
    ErrorCode.DATASET_IN_USE: (409, "The data set is used by a job"),
    ErrorCode.DATASET_NOT_READY: (409, "The data set cannot be used"),
    ErrorCode.MODEL_IN_USE: (409, "The model is in use"),
    ErrorCode.REQUEST_IN_FLIGHT: (409, "The first request with this Idempotency-Key is still in progress"),
    ErrorCode.REPORT_NOT_READY: (409, "There is no report yet"),
    ErrorCode.NOT_CERTIFIABLE: (409, "No threshold can be certified for this risk"),
    ErrorCode.PRECONDITION_FAILED: (412, "The resource has changed since it was read"),
    ErrorCode.PAYLOAD_TOO_LARGE: (413, "The body is larger than the limit"),
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: (415, "Unsupported media type"),
    ErrorCode.INVALID_INPUT: (422, "The request is not valid"),
    ErrorCode.IDEMPOTENCY_KEY_REUSED: (422, "This Idempotency-Key was used with a different body"),
    ErrorCode.MODEL_OF_ANOTHER_DATASET: (422, "The model and the data set do not match"),
    ErrorCode.BAD_IMAGE: (422, "The image cannot be read"),
    ErrorCode.TOO_MANY_REQUESTS: (429, "Too many requests"),
    ErrorCode.HEAD_TOO_LARGE: (431, "The head of the request is too large"),
    ErrorCode.INTERNAL: (500, "Internal error"),
    ErrorCode.JOB_FAILED: (500, "The job failed"),
    ErrorCode.UNAVAILABLE: (503, "A part of the service is unavailable"),
    ErrorCode.OVERLOADED: (503, "The service is busy"),
    ErrorCode.STORAGE_FULL: (507, "Not enough storage space"),
    ErrorCode.STORAGE_NOT_WRITABLE: (507, "The storage is not writable"),
}
_EXPLANATIONS: Mapping[ErrorCode, str] = {
    ErrorCode.JOB_FAILED: "A stage failed for a reason that the job's owner can act on. `reason` is a stable "
    "code.",
}
PROBLEM_KINDS: Mapping[ErrorCode, ProblemKind] = {
    code: ProblemKind(
        type=PROBLEM_BASE + code,
        code=code,
        title=title,
        status=status,
        description=_EXPLANATIONS.get(code, title),
    )
    for code, (status, title) in _STATUS_AND_TITLE.items()
}
