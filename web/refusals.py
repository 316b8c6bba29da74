"""A refusal as the scripts of the pages read it: a sentence, and the fields that it is about."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Response
from fastapi.responses import JSONResponse

from client import ClientError, FieldError, ProblemError
from web.shell import told


def say(status: int, detail: str, faults: Sequence[FieldError] = ()) -> Response:
    """JSON with the sentence and, by the name of its field, each fault."""
    fields = {fault.pointer.strip("/").partition("/")[0]: fault.detail for fault in faults}
    return JSONResponse({"status": status, "detail": detail, "fields": fields}, status_code=status)


def refusal(error: ClientError) -> Response:
    """What the API refused, or that it did not answer."""
    title, detail = told(error)
    if isinstance(error, ProblemError) and error.errors:
        return say(error.status, "; ".join(fault.detail for fault in error.errors), error.errors)
    return say(error.status if isinstance(error, ProblemError) else 502, f"{title}: {detail}")
