"""Errors of the API: a title and a sentence for the visitor, and the responses for the scripts of pages."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from masktune import ClientError, ProblemError, UnexpectedAnswer, Unreachable
from masktune.contract.report.text.names import capitalised
from web.transport.connection import connections


def accepts_html(browser_request: Request) -> bool:
    """Whether the request is a browser's page navigation, not from a script or an image."""
    return "text/html" in browser_request.headers.get("accept", "")


def error_text(error: ClientError) -> tuple[str, str]:
    """(title, detail) of an error; the detail says what the visitor can do about it."""
    match error:
        case Unreachable():
            return (
                "The service is not responding",
                f"Nothing answers at {connections().url}. The service may be starting or may have stopped; "
                "“masktune serve” starts it. Running jobs resume from their last checkpoint.",
            )
        case ProblemError(status=404):
            return "Not found", capitalised(error.detail)
        case ProblemError(status=403):
            return "You may not do that", capitalised(error.detail)
        case ProblemError():
            faults = "; ".join(f"{fault.pointer.strip('/?')}: {fault.detail}" for fault in error.errors)
            return error.title, faults or capitalised(error.detail)
        case UnexpectedAnswer():
            return "The service sent an answer that this dashboard does not understand", str(error)[:400]
        case _:
            return "That did not work", str(error)


def refused(status: int, detail: str) -> Response:
    """The response for a script of a page."""
    return JSONResponse({"detail": detail}, status_code=status)


def refusal(error: ClientError) -> Response:
    """The response for an error of the API, or for an API that did not answer (502)."""
    status = error.status if isinstance(error, ProblemError) else 502
    return refused(status, ": ".join(error_text(error)))
