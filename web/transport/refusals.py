"""Error responses for the scripts of the pages: a sentence, and the fields that it concerns."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Response
from fastapi.responses import JSONResponse

from masktune import ClientError, FieldError, ProblemError
from web.shell import told


def say(status: int, detail: str, faults: Sequence[FieldError] = ()) -> Response:
    """A JSON response with the sentence and the faults by field name."""
    fields = {fault.pointer.strip("/").partition("/")[0]: fault.detail for fault in faults}
    return JSONResponse({"status": status, "detail": detail, "fields": fields}, status_code=status)


def refusal(error: ClientError) -> Response:
    """The response for an error of the API, or for an API that did not answer (502)."""
    title, detail = told(error)
    if isinstance(error, ProblemError) and error.errors:
        return say(error.status, "; ".join(fault.detail for fault in error.errors), error.errors)
    return say(error.status if isinstance(error, ProblemError) else 502, f"{title}: {detail}")
