"""The error tree. One class states one fact; `app/http/problems.py` sends it as RFC 9457.

Status and title of each code are in `masktune.contract.problems`.

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

from masktune.contract.problems import PROBLEM_KINDS, ErrorCode

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

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL

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

    @property
    def status(self) -> int:
        return PROBLEM_KINDS[self.code].status

    def to_problem(self, instance: str | None = None) -> dict[str, Any]:
        """The RFC 9457 problem object."""
        return problem(self.code, self.detail, instance=instance, errors=self.errors, extra=self.extra)


def problem(
    code: ErrorCode,
    detail: str,
    *,
    instance: str | None = None,
    errors: tuple[FieldError, ...] = (),
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """An RFC 9457 problem object of this kind, for use without an exception."""
    kind = PROBLEM_KINDS[code]
    body: dict[str, Any] = {
        "type": kind.type,
        "code": code,
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
    code = ErrorCode.NOT_FOUND


class NotAllowed(MasktuneError):
    code = ErrorCode.METHOD_NOT_ALLOWED


class Unauthenticated(MasktuneError):
    code = ErrorCode.UNAUTHENTICATED


class Forbidden(MasktuneError):
    code = ErrorCode.FORBIDDEN


class Conflict(MasktuneError):
    code = ErrorCode.CONFLICT


class JobEnded(Conflict):
    code = ErrorCode.JOB_ENDED


class JobNotResumable(Conflict):
    code = ErrorCode.JOB_NOT_RESUMABLE


class DatasetInUse(Conflict):
    code = ErrorCode.DATASET_IN_USE


class DatasetNotReady(Conflict):
    code = ErrorCode.DATASET_NOT_READY


class ModelInUse(Conflict):
    code = ErrorCode.MODEL_IN_USE


class RequestInFlight(Conflict):
    code = ErrorCode.REQUEST_IN_FLIGHT


class NotReported(Conflict):
    code = ErrorCode.REPORT_NOT_READY


class NotCertifiable(Conflict):
    code = ErrorCode.NOT_CERTIFIABLE


class PreconditionFailed(MasktuneError):
    code = ErrorCode.PRECONDITION_FAILED


class PayloadTooLarge(MasktuneError):
    code = ErrorCode.PAYLOAD_TOO_LARGE


class UnsupportedMedia(MasktuneError):
    code = ErrorCode.UNSUPPORTED_MEDIA_TYPE


class InvalidInput(MasktuneError):
    code = ErrorCode.INVALID_INPUT

    @classmethod
    def field(cls, pointer: str, code: str, detail: str) -> InvalidInput:
        """The common case: one field is at fault."""
        return cls(detail, errors=(FieldError(pointer, code, detail),))


class IdempotencyMismatch(InvalidInput):
    code = ErrorCode.IDEMPOTENCY_KEY_REUSED


class WrongDataset(InvalidInput):
    code = ErrorCode.MODEL_OF_ANOTHER_DATASET


class BadImage(InvalidInput):
    code = ErrorCode.BAD_IMAGE


class TooManyRequests(MasktuneError):
    code = ErrorCode.TOO_MANY_REQUESTS


class JobError(MasktuneError):
    """A stage failed for a reason that the job's owner can act on. `reason` is a stable code."""

    code = ErrorCode.JOB_FAILED

    def __init__(self, reason: str, detail: str, *, retry: bool = False) -> None:
        super().__init__(detail, extra={"reason": reason})
        self.reason = reason
        self.retry = retry


class Unavailable(MasktuneError):
    code = ErrorCode.UNAVAILABLE


class Overloaded(Unavailable):
    code = ErrorCode.OVERLOADED


class StorageFull(MasktuneError):
    code = ErrorCode.STORAGE_FULL


class StorageNotWritable(MasktuneError):
    code = ErrorCode.STORAGE_NOT_WRITABLE


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
