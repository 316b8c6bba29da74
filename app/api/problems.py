"""Errors as RFC 9457 problems: the one place that maps exceptions to HTTP, and `GET /problems`."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import cast

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.api.answers import Responses
from app.deps import Services, Serving
from app.locations import Locate
from app.schemas.problems import Problem, ProblemKind, ProblemKinds
from app.services.faults import invalid_input
from core import errors
from core.artifacts import ArtifactMissing
from core.errors import PROBLEM_BASE, InvalidInput, MasktuneError, NotFound, all_problems
from models.config import ConfigError

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/problems", tags=["service"])

MEDIA_TYPE = "application/problem+json"
Handler = Callable[[Request, Exception], Awaitable[Response]]


def problems(*statuses: int) -> Responses:
    """The `responses` of a route that may answer with problems of these statuses."""
    return {
        status: {
            "model": Problem,
            "description": "; ".join(kind.title for kind in all_problems() if kind.status == status),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def respond(error: MasktuneError, request: Request) -> Response:
    """The answer that tells this error."""
    services: Services = request.app.state.services
    told = error.to_problem(request.url.path, base=services.location(PROBLEM_BASE))
    return Response(
        json.dumps(told, ensure_ascii=False).encode("utf-8", "replace"),
        status_code=error.status,
        headers=error.headers,
        media_type=MEDIA_TYPE,
    )


@router.get("", summary="Every kind of problem")
async def list_kinds(services: Serving) -> ProblemKinds:
    return ProblemKinds(data=[_describe(kind, services.location) for kind in all_problems()])


@router.get("/{code}", summary="What a problem means", responses=problems(404))
async def get_kind(code: str, services: Serving) -> ProblemKind:
    for kind in all_problems():
        if kind.code == code:
            return _describe(kind, services.location)
    raise NotFound("there is no such kind of problem; GET /problems lists them")


def install(
    app: FastAPI, routers: Sequence[APIRouter], *, store_errors: Iterable[type[Exception]] = ()
) -> None:
    """Register the handlers: each turns one family of exceptions into a `MasktuneError`.

    `store_errors` are those of the artifacts' driver that are no `OSError`.
    """
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]

    async def framework(request: Request, error: HTTPException) -> Response:
        return _framework(request, error, routes)

    app.exception_handler(MasktuneError)(_ours)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(ConfigError)(_config)
    app.exception_handler(HTTPException)(framework)
    app.exception_handler(ArtifactMissing)(_missing)
    app.exception_handler(DBAPIError)(_database)
    app.exception_handler(PoolTimeout)(_database)
    app.exception_handler(OSError)(_system)
    for kind in store_errors:
        app.exception_handler(kind)(_store)
    app.exception_handler(ClientDisconnect)(_gone)
    app.exception_handler(Exception)(_unexpected)


def answerer(app: FastAPI) -> Callable[[Request, Exception], Awaitable[Response | None]]:
    """The handlers that are installed, for what runs before FastAPI's own routes do."""

    async def answer(request: Request, error: Exception) -> Response | None:
        for kind in type(error).__mro__:
            if kind is not Exception and kind in app.exception_handlers:
                return await cast(Handler, app.exception_handlers[kind])(request, error)
        return None  # the server's own middleware answers what nobody foresaw

    return answer


async def _ours(request: Request, error: MasktuneError) -> Response:
    return respond(error, request)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    return respond(invalid_input(error.errors(), error.body), request)


async def _config(request: Request, error: ConfigError) -> Response:
    return respond(InvalidInput.field(error.pointer, "invalid-value", str(error)), request)


def _framework(request: Request, error: HTTPException, routes: Sequence[APIRoute]) -> Response:
    kind = _FRAMEWORK.get(error.status_code, MasktuneError)
    detail = _FRAMEWORK_DETAIL.get(kind, str(error.detail))
    headers = dict(error.headers or {})
    if kind is errors.NotAllowed:  # the router names the methods of the first route alone
        headers["Allow"] = ", ".join(sorted(_methods(request, routes) or {"GET", "HEAD"}))
    return respond(kind(detail, headers=headers), request)


def _methods(request: Request, routes: Sequence[APIRoute]) -> set[str]:
    """Of every route at this address; a literal path (`/jobs/erm`) hides a pattern (`/jobs/{job_id}`)."""
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    here = [route for route in routes if route.path_regex.match(path)]
    fewest = min((len(route.param_convertors) for route in here), default=0)
    taken = {m for route in here if len(route.param_convertors) == fewest for m in route.methods or ()}
    return taken | ({"HEAD"} if "GET" in taken else set())


async def _missing(request: Request, error: ArtifactMissing) -> Response:
    logger.error("an artifact that a row names is not in the store: %s", error)
    return respond(errors.Unavailable("the stored files of this are not there; tell the operator"), request)


async def _database(request: Request, error: Exception) -> Response:
    if isinstance(error, DBAPIError) and not (
        isinstance(error, OperationalError) or error.connection_invalidated
    ):
        raise error
    logger.error("the database does not answer: %s", error)
    return respond(
        errors.Unavailable("the database does not answer; try again shortly", headers={"Retry-After": "5"}),
        request,
    )


async def _system(request: Request, error: OSError) -> Response:
    full = storage_error(error)
    if full is None:
        raise error
    logger.error("the store is full: %s", error)
    return respond(full, request)


async def _store(request: Request, error: Exception) -> Response:
    logger.error("the artifacts' store cannot be asked: %s", error)
    away = errors.Unavailable(
        "the store of data sets and models does not answer; ask again in a moment",
        headers={"Retry-After": "5"},
    )
    return respond(away, request)


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    """Nobody hears it; the log tells it from a failure of ours by the status that nginx uses."""
    return Response(status_code=499)


async def _unexpected(request: Request, error: Exception) -> Response:
    """The server logs the traceback: Starlette raises the error again behind this answer."""
    number = request.scope.get("state", {}).get("request_id", "")
    answer = respond(
        MasktuneError(f"the service failed in a way nobody foresaw; tell the operator the number {number}"),
        request,
    )
    answer.headers["X-Request-ID"] = number
    return answer


_STORAGE: dict[type[MasktuneError], str] = {
    errors.StorageFull: "there is no space left to store this; free some, or tell the operator",
    errors.StorageNotWritable: "the service may not write its storage; tell the operator",
}


def storage_error(error: OSError) -> MasktuneError | None:
    """The problem that a full or read-only disk or an exhausted quota is, or None for any other fault."""
    kind = errors.storage_fault(error)
    return None if kind is None else kind(_STORAGE[kind])


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
    NotFound: "there is nothing at this address; GET /openapi.json lists what there is",
    errors.NotAllowed: "this address does not take that method; the Allow header says which it takes",
}


def _describe(kind: type[MasktuneError], locate: Locate) -> ProblemKind:
    words = inspect.cleandoc(kind.__doc__ or "") if kind.__doc__ else kind.title
    return ProblemKind(
        type=locate(PROBLEM_BASE + kind.code),
        code=kind.code,
        title=kind.title,
        status=kind.status,
        description=words,
    )
