"""Error responses for the scripts of the pages."""

from __future__ import annotations

from fastapi import Response
from fastapi.responses import JSONResponse

from masktune import ClientError, ProblemError
from web.transport.errors import error_text


def refused(status: int, detail: str) -> Response:
    return JSONResponse({"detail": detail}, status_code=status)


def refusal(error: ClientError) -> Response:
    """The response for an error of the API, or for an API that did not answer (502)."""
    status = error.status if isinstance(error, ProblemError) else 502
    return refused(status, ": ".join(error_text(error)))
