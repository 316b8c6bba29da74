"""Errors as RFC 9457 problems: the only module that maps exceptions to HTTP, and `GET /problems`."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.http.responses import Responses
from app.http.validation import invalid_input
from core import errors
from core.errors import NOTHING_HERE, InvalidInput, MasktuneError, NotFound
from core.storage.artifacts import ArtifactMissing, store_fault
from masktune.contract.hyperparameters.parameters import ConfigError
from masktune.contract.problems import PROBLEM_KINDS, ErrorCode, Problem, ProblemKind, ProblemKinds
from models.data.layout import StoreError

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/problems", tags=["service"])

MEDIA_TYPE = "application/problem+json"
Handler = Callable[[Request, Exception], Awaitable[Response]]
Converter = Callable[[Any], MasktuneError | None]
"""Turns an exception into what the client is told; None if it is none of its cases."""


def problems(*statuses: int) -> Responses:
    """Return the `responses` of a route that may answer with problems of these statuses."""
    return {
        status: {
            "model": Problem,
            "description": "; ".join(k.title for k in PROBLEM_KINDS.values() if k.status == status),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def respond(error: MasktuneError, request: Request) -> Response:
    """Return the response that reports this error."""
    problem = error.to_problem(request.url.path)
    return Response(
        json.dumps(problem, ensure_ascii=False).encode("utf-8", "replace"),
        status_code=error.status,
        headers=error.headers,
        media_type=MEDIA_TYPE,
    )


@router.get("", summary="List every kind of problem")
async def list_problem_kinds() -> ProblemKinds:
    return ProblemKinds(data=list(PROBLEM_KINDS.values()))


@router.get("/{code}", summary="Get what a kind of problem means", responses=problems(404))
async def get_problem_kind(code: str) -> ProblemKind:
    if code not in list(ErrorCode):
        raise NotFound("there is no such kind of problem; GET /problems lists them")
    return PROBLEM_KINDS[ErrorCode(code)]


def install(
    app: FastAPI, routers: Sequence[APIRouter], *, store_errors: Iterable[type[Exception]] = ()
) -> None:
    """Register the handlers: each turns one family of exceptions into a `MasktuneError`.

    `store_errors` are errors of the artifact store's driver that are not `OSError`.
    """
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]

    async def framework(request: Request, error: HTTPException) -> Response:
        return _framework(request, error, routes)

    converters = _CONVERTERS | dict.fromkeys(store_errors, _store_error)
    for kind, convert in converters.items():
        app.exception_handler(kind)(_responding(convert))
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(framework)
    app.exception_handler(ClientDisconnect)(_disconnected)
    app.exception_handler(Exception)(_unexpected)


def _responding(convert: Converter) -> Handler:
    async def handle(request: Request, error: Exception) -> Response:
        problem = convert(error)
        if problem is None:
            raise error
        return respond(problem, request)

    return handle


def _framework(request: Request, error: HTTPException, routes: Sequence[APIRoute]) -> Response:
    kind = _FRAMEWORK.get(error.status_code, MasktuneError)
    detail = _FRAMEWORK_DETAIL.get(kind, str(error.detail))
    headers = dict(error.headers or {})
    if kind is errors.NotAllowed:  # the router only names the methods of the first matching route
        headers["Allow"] = ", ".join(sorted(_methods(request, routes) or {"GET", "HEAD"}))
    return respond(kind(detail, headers=headers), request)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    route = request.scope["route"]
    fields = [field for field in (route.body_field, *route.dependant.query_params) if field is not None]
    kinds = [field.field_info.annotation for field in fields]
    return respond(invalid_input(error.errors(), error.body, kinds=kinds), request)


def _methods(request: Request, routes: Sequence[APIRoute]) -> set[str]:
    """Methods of all routes at this path; a literal one (`/jobs/erm`) hides a pattern (`/jobs/{job_id}`)."""
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    here = [route for route in routes if route.path_regex.match(path)]
    fewest = min((len(route.param_convertors) for route in here), default=0)
    taken = {m for route in here if len(route.param_convertors) == fewest for m in route.methods or ()}
    return taken | ({"HEAD"} if "GET" in taken else set())


def _files_missing(error: Exception) -> MasktuneError:
    """The files were deleted after their row was read, or they are lost."""
    logger.error("the files that a row names cannot be read: %s", error)
    return errors.Unavailable(
        "the files of this resource cannot be read: it was just deleted, or they are lost. Try again; if "
        "that does not help, a backup may have them",
        headers={"Retry-After": "1"},
    )


def _database_error(error: Exception) -> MasktuneError | None:
    if isinstance(error, DBAPIError) and _is_disk_full(error.orig):
        logger.error("the disk of the database is full: %s", error)
        return errors.StorageFull("the disk of the database is full; free some space, or have more added")
    if isinstance(error, DBAPIError) and not (
        isinstance(error, OperationalError) or error.connection_invalidated
    ):
        return None
    logger.error("the database does not answer: %s", error)
    return errors.Unavailable(
        "the database does not answer; try again in a moment", headers={"Retry-After": "5"}
    )


def _is_disk_full(error: BaseException | None) -> bool:
    """Of SQLite's driver and of PostgreSQL's (SQLSTATE `disk_full`)."""
    full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return full or getattr(error, "sqlstate", None) == "53100"


_STORAGE: dict[type[MasktuneError], str] = {
    errors.StorageFull: "there is not enough space left to store this; free some, or have more added",
    errors.StorageNotWritable: "the service cannot write to its storage; its log says why",
}


def storage_error(error: OSError) -> MasktuneError | None:
    """Map a full or read-only disk, an exhausted quota or a failing object store to its problem; None for any
    other error.
    """
    kind = errors.storage_fault(error)
    if kind is not None:
        logger.error("the store is full: %s", error)
        return kind(_STORAGE[kind])
    return None if store_fault(error) is None else _store_error(error)


def _store_error(error: Exception) -> MasktuneError:
    logger.error("the artifacts' store cannot be asked: %s", error)
    return errors.Unavailable(
        "the store of data sets and models does not answer; try again in a moment",
        headers={"Retry-After": "5"},
    )


_CONVERTERS: dict[type[Exception], Converter] = {
    MasktuneError: lambda error: error,
    ConfigError: lambda error: InvalidInput.field(error.pointer, "invalid-value", str(error)),
    ArtifactMissing: _files_missing,
    StoreError: _files_missing,
    DBAPIError: _database_error,
    PoolTimeout: _database_error,
    OSError: storage_error,
}


async def _disconnected(request: Request, error: ClientDisconnect) -> Response:
    """Answer with nginx's 499, which no client receives: it tells a disconnect from a failure in the log."""
    return Response(status_code=499)


async def _unexpected(request: Request, error: Exception) -> Response:
    """Answer 500. The server logs the traceback, because Starlette raises the error again afterwards."""
    number = request.scope.get("state", {}).get("request_id", "")
    return respond(
        MasktuneError(
            f"an unexpected error occurred in the service; its log says more under the id {number}"
        ),
        request,
    )


_FRAMEWORK: dict[int, type[MasktuneError]] = {
    400: InvalidInput,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: NotFound,
    405: errors.NotAllowed,
    409: errors.Conflict,
    412: errors.PreconditionFailed,
    413: errors.PayloadTooLarge,
    415: errors.UnsupportedMedia,
    422: InvalidInput,
    429: errors.TooManyRequests,
    503: errors.Unavailable,
}
_FRAMEWORK_DETAIL: dict[type[MasktuneError], str] = {
    InvalidInput: "the body cannot be read; send well-formed JSON in UTF-8",
    NotFound: NOTHING_HERE,
    errors.NotAllowed: "this address does not support the method; the Allow header lists those it supports",
}
