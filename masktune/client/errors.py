"""The exceptions that the client raises.

ClientError
├── ProblemError        the service refused the request: an RFC 9457 problem
├── NotSent             the arguments cannot be sent
├── TooLarge            a file is larger than the service accepts; nothing of it was sent
├── AmbiguousName       several data sets, jobs or models have the name that stands for one
├── Unreachable         no answer after the last retry
├── UnexpectedAnswer    the answer does not look like one from this service
├── JobNotSucceeded     `wait`: the job failed or was cancelled
├── DatasetInvalid      `wait`: the import found nothing to train on
└── WaitedTooLong       `wait`: the timeout expired before the work ended
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from masktune.contract.datasets import Dataset
from masktune.contract.jobs import Job


@dataclass(frozen=True)
class FieldError:
    """One fault of the input. `pointer` is a JSON pointer (RFC 6901), or `?name` for a query parameter."""

    pointer: str
    code: str
    detail: str


class ClientError(Exception):
    """The base class of all exceptions of this client."""


class ProblemError(ClientError):
    """The service refused a request. `type` is stable; `detail` says what to do about it."""

    def __init__(self, body: dict[str, Any], *, status: int) -> None:
        self.type = str(body.get("type", "about:blank"))
        self.title = str(body.get("title", "The request failed"))
        self.status = _status(body.get("status"), status)
        self.detail = str(body.get("detail") or self.title)
        self.errors = tuple(_field_errors(body.get("errors")))
        self.body = body
        super().__init__(f"{self.status} {self.title}: {self.detail}")

    @property
    def code(self) -> str:
        """The kind: `not-found`, `invalid-input` …; of an older service, the last part of its `type`."""
        return str(self.body.get("code") or self.type.rstrip("/").rpartition("/")[2])


class NotSent(ClientError):
    """The arguments cannot be sent, and nothing was: a folder without files, a key that cannot be sent in a
    header, an invalid address, a number that JSON cannot represent."""


class TooLarge(ClientError):
    """The file has `size` bytes, and the service accepts `limit`. Nothing was sent."""

    def __init__(self, name: str, size: int, limit: int) -> None:
        self.size, self.limit = size, limit
        super().__init__(
            f"{name} is {_gigabytes(size)}, and the service accepts at most {_gigabytes(limit)}; nothing was "
            "sent. Send less, ask the operator to raise MASKTUNE_MAX_UPLOAD_BYTES, or let the service read "
            "the archive from where it is, as a source"
        )


class AmbiguousName(ClientError):
    """Several data sets, jobs or models have the name that stands for one; the text lists their ids."""


class Unreachable(ClientError):
    """No answer: the service is not running, or the network is down."""


class UnexpectedAnswer(ClientError):
    """The answer does not have the shape of this service's answers."""


class JobNotSucceeded(ClientError):
    """The job ended `failed` or `cancelled`. `job.error` is the problem that says why."""

    def __init__(self, job: Job) -> None:
        self.job = job
        why = job.error and (job.error.detail or job.error.title)
        super().__init__(f"job {job.id} {job.state}" + (f": {why}" if why else ""))


class DatasetInvalid(ClientError):
    """The import ended, but the data set cannot be used. `dataset.report` says why."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        problems = dataset.report.problems if dataset.report is not None else []
        why = "; ".join(problem.detail for problem in problems) or "its report says why"
        super().__init__(f"data set {dataset.id} is {dataset.state}: {why}")


class WaitedTooLong(ClientError):
    """The timeout of `wait` expired; the work itself continues."""


def _status(in_body: object, of_http: int) -> int:
    """The body's status if it is an error status, else HTTP's: a proxy's JSON may say `"status": "error"`."""
    return in_body if type(in_body) is int and 400 <= in_body < 600 else of_http


def _field_errors(entries: object) -> list[FieldError]:
    if not isinstance(entries, list):
        return []
    return [
        FieldError(*(str(entry.get(name, "")) for name in ("pointer", "code", "detail")))
        for entry in entries
        if isinstance(entry, dict)
    ]


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
