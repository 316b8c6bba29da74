"""What can go wrong, as a client sees it.

ClientError
├── ProblemError        the service said no: an RFC 9457 problem
├── NotSent             what was given cannot be sent
├── TooLarge            a file is larger than the service takes; nothing of it was sent
├── Unreachable         no answer came, however often it was asked for
├── UnexpectedAnswer    an answer came, and it is not one of this service
├── JobNotSucceeded     a job that was waited for failed or was cancelled
├── DatasetInvalid      an import that was waited for found nothing to train on
└── WaitedTooLong       it had not ended when the time was up
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from client.shapes import Dataset, Job


@dataclass(frozen=True)
class FieldError:
    """One fault of the input. `pointer` is a JSON pointer (RFC 6901), or `?name` for a query parameter."""

    pointer: str
    code: str
    detail: str


class ClientError(Exception):
    """The root: catch this to catch them all."""


class ProblemError(ClientError):
    """A request was not fulfilled. `type` is stable, `detail` says what to do about it."""

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
        """The last part of `type`: `not-found`, `invalid-input` …"""
        return self.type.rstrip("/").rpartition("/")[2]

    @classmethod
    def of(cls, response: httpx.Response) -> ProblemError:
        """From any answer of 400 and above, also one that a proxy made."""
        try:
            body = response.json()
        except (ValueError, RecursionError):  # no JSON, or one that is nested without end
            body = None
        if not isinstance(body, dict):
            body = {"title": response.reason_phrase or "The request failed"}
        return cls(body, status=response.status_code)


class NotSent(ClientError):
    """What was given cannot be sent, and nothing was: a folder without files, a key no header can hold, an
    address that is none, a number that JSON has no word for."""


class TooLarge(ClientError):
    """The file has `size` bytes, and the service takes `limit`. It was asked first, and nothing was sent."""

    def __init__(self, name: str, size: int, limit: int) -> None:
        self.size, self.limit = size, limit
        super().__init__(
            f"{name} has {_gigabytes(size)} and the service takes {_gigabytes(limit)} at most: nothing was "
            "sent. Send less, ask its operator to raise MASKTUNE_MAX_UPLOAD_BYTES, or let the service read "
            "the archive where it is, as a source"
        )


class Unreachable(ClientError):
    """No answer came: the service is not running, or the network between is broken."""


class UnexpectedAnswer(ClientError):
    """The answer does not have the shape of this service's answers."""


class JobNotSucceeded(ClientError):
    """The job ended `failed` or `cancelled`. `job.error` is the problem that says why."""

    def __init__(self, job: Job) -> None:
        self.job = job
        why = (job.error or {}).get("detail") or (job.error or {}).get("title")
        super().__init__(f"job {job.id} ended {job.state}" + (f": {why}" if why else ""))


class DatasetInvalid(ClientError):
    """The import ended and the data set cannot be used. `dataset.report` says why."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        problems = dataset.report.problems if dataset.report is not None else []
        why = "; ".join(problem.detail for problem in problems) or "its report says why"
        super().__init__(f"data set {dataset.id} is {dataset.state}: {why}")


class WaitedTooLong(ClientError):
    """The time that `wait` was given is up; the work itself goes on."""


def _status(found: object, of_http: int) -> int:
    """A proxy's JSON may say `"status": "error"`: what is no status of an error gives way to that of HTTP."""
    return found if type(found) is int and 400 <= found < 600 else of_http


def _field_errors(found: object) -> list[FieldError]:
    if not isinstance(found, list):
        return []
    return [
        FieldError(*(str(entry.get(name, "")) for name in ("pointer", "code", "detail")))
        for entry in found
        if isinstance(entry, dict)
    ]


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
