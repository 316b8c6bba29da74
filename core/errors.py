"""The error tree. One class states one fact; `app/operations/problems_routes.py` turns it into RFC 9457.

MasktuneError
├── NotFound                404   not-found
├── NotAllowed              405   method-not-allowed (raised by the router)
├── Unauthenticated         401   unauthenticated
├── Forbidden               403   forbidden
├── Conflict                409
│   ├── JobEnded                  job-ended
│   ├── JobNotResumable           job-not-resumable
│   ├── DatasetInUse              dataset-in-use
│   ├── DatasetNotReady           dataset-not-ready
│   ├── ModelInUse                model-in-use
│   ├── RequestInFlight           request-in-flight
│   ├── NotReported               report-not-ready
│   └── NotCertifiable            not-certifiable
├── PreconditionFailed      412   precondition-failed
├── PayloadTooLarge         413   payload-too-large
├── UnsupportedMedia        415   unsupported-media-type
├── InvalidInput            422   invalid-input
│   ├── IdempotencyMismatch       idempotency-key-reused
│   ├── WrongDataset              model-of-another-dataset
│   └── BadImage                  bad-image
├── TooManyRequests         429   too-many-requests
├── JobError                500   job-failed (a stage failed; the reason is in the job's `error`)
├── Unavailable             503   unavailable
│   └── Overloaded                overloaded
├── StorageFull             507   storage-full
└── StorageNotWritable      507   storage-not-writable
"""

from __future__ import annotations

import errno
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

PROBLEM_BASE = "/problems/"
"""The service itself serves each problem type, with its explanation, under this path; in an answer a proxy's
prefix stands before it."""
NOTHING_HERE = "there is nothing at this address; GET /openapi.json lists every route"


@dataclass(frozen=True)
class FieldError:
    """One fault of the input. `pointer` is a JSON pointer, or `?name` for a query parameter."""

    pointer: str
    code: str
    detail: str


class MasktuneError(Exception):
    """An error that the client is told about; by itself, an unexpected error of the service.

    `detail` says what to do about it and names no path of the host.
    """

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500

    def __init__(
        self,
        detail: str,
        *,
        errors: tuple[FieldError, ...] = (),
        headers: dict[str, str] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}
        self.extra = extra or {}

    def to_problem(self, instance: str | None = None, *, base: str = PROBLEM_BASE) -> dict[str, Any]:
        """The RFC 9457 problem object; its `type` is below `base`, where the service explains it."""
        return problem(
            type(self), self.detail, instance=instance, base=base, errors=self.errors, extra=self.extra
        )


def problem(
    kind: type[MasktuneError],
    detail: str,
    *,
    instance: str | None = None,
    base: str = PROBLEM_BASE,
    errors: tuple[FieldError, ...] = (),
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """An RFC 9457 problem object of this kind, for use without an exception."""
    body: dict[str, Any] = {
        "type": base + kind.code,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
    }
    if instance is not None:
        body["instance"] = instance
    if errors:
        body["errors"] = [asdict(e) for e in errors]
    return body | (extra or {})


class NotFound(MasktuneError):
    code = "not-found"
    title = "Not found"
    status = 404


class NotAllowed(MasktuneError):
    code = "method-not-allowed"
    title = "Method not allowed"
    status = 405


class Unauthenticated(MasktuneError):
    code = "unauthenticated"
    title = "A valid key is required"
    status = 401


class Forbidden(MasktuneError):
    code = "forbidden"
    title = "This key is not allowed to do that"
    status = 403


class Conflict(MasktuneError):
    code = "conflict"
    title = "The state of the resource does not allow this"
    status = 409


class JobEnded(Conflict):
    code = "job-ended"
    title = "The job has ended"


class JobNotResumable(Conflict):
    code = "job-not-resumable"
    title = "Only a failed or cancelled job can be resumed"


class DatasetInUse(Conflict):
    code = "dataset-in-use"
    title = "The data set is used by a job"


class DatasetNotReady(Conflict):
    code = "dataset-not-ready"
    title = "The data set cannot be used"


class ModelInUse(Conflict):
    code = "model-in-use"
    title = "The model is in use"


class RequestInFlight(Conflict):
    code = "request-in-flight"
    title = "The first request with this Idempotency-Key is still in progress"


class NotReported(Conflict):
    code = "report-not-ready"
    title = "There is no report yet"


class NotCertifiable(Conflict):
    code = "not-certifiable"
    title = "No threshold can be certified for this risk"


class PreconditionFailed(MasktuneError):
    code = "precondition-failed"
    title = "The resource has changed since it was read"
    status = 412


class PayloadTooLarge(MasktuneError):
    code = "payload-too-large"
    title = "The body is larger than the limit"
    status = 413


class UnsupportedMedia(MasktuneError):
    code = "unsupported-media-type"
    title = "Unsupported media type"
    status = 415


class InvalidInput(MasktuneError):
    code = "invalid-input"
    title = "The request is not valid"
    status = 422

    @classmethod
    def field(cls, pointer: str, code: str, detail: str) -> InvalidInput:
        """The common case: one field is at fault."""
        return cls(detail, errors=(FieldError(pointer, code, detail),))


class IdempotencyMismatch(InvalidInput):
    code = "idempotency-key-reused"
    title = "This Idempotency-Key was used with a different body"


class WrongDataset(InvalidInput):
    code = "model-of-another-dataset"
    title = "The model and the data set do not match"


class BadImage(InvalidInput):
    code = "bad-image"
    title = "The image cannot be read"


class TooManyRequests(MasktuneError):
    code = "too-many-requests"
    title = "Too many requests"
    status = 429


class JobError(MasktuneError):
    """A stage failed for a reason that the job's owner can act on. `reason` is a stable code."""

    code = "job-failed"
    title = "The job failed"
    status = 500

    def __init__(self, reason: str, detail: str, *, retry: bool = False) -> None:
        super().__init__(detail, extra={"reason": reason})
        self.reason = reason
        self.retry = retry


class Unavailable(MasktuneError):
    code = "unavailable"
    title = "A part of the service is unavailable"
    status = 503


class Overloaded(Unavailable):
    code = "overloaded"
    title = "The service is busy"


class StorageFull(MasktuneError):
    code = "storage-full"
    title = "Not enough storage space"
    status = 507


class StorageNotWritable(MasktuneError):
    code = "storage-not-writable"
    title = "The storage is not writable"
    status = 507


def busy(why: str, *, seconds: int) -> Overloaded:
    """A request refused because of the load of others; the client may try again after this many seconds."""
    return Overloaded(f"{why}; try again in {seconds} s", headers={"Retry-After": str(seconds)})


def shutting_down() -> Unavailable:
    """A request to a service that is shutting down."""
    return Unavailable("the service is shutting down; try again in a moment, or use another replica")


def storage_fault(error: OSError) -> type[StorageFull | StorageNotWritable] | None:
    """The problem class for a full disk, an exhausted quota or a read-only disk; None for any other error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StorageNotWritable
    return None


def all_problems() -> list[type[MasktuneError]]:
    """All kinds of problems, for the documentation that the service serves."""
    kinds: list[type[MasktuneError]] = []
    waiting: list[type[MasktuneError]] = [MasktuneError]
    while waiting:
        kind = waiting.pop(0)
        if "code" in vars(kind):  # else it is a case of its base class and documented there
            kinds.append(kind)
        waiting.extend(kind.__subclasses__())
    return kinds
