"""Dependencies of the routes: the services, a session, a caller with a scope, a resource that exists.

router = APIRouter(prefix="/jobs", route_class=CallerFirst)
@router.get("/{job_id}", dependencies=[READER])         # 401, 403 or 429, before anything is read or queried
def get(row: LoadedJob) -> ...                          # 404
def change(session: Writing) -> ...                     # committed before the response is sent
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Path, Request, Response
from fastapi.routing import APIRoute
from fastapi.security.utils import get_authorization_scheme_param
from pydantic import AfterValidator
from sqlalchemy.orm import Session
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Send
from starlette.types import Scope as ConnectionScope

from app.auth import audit
from app.auth.keyring import Caller, Keyring
from app.auth.people import People
from app.auth.rate_limits import Rates
from app.datasets.stores import Stores
from app.inference import Inference
from app.jobs.event_feed import EventFeed
from app.operations.health import Probes
from app.operations.metrics import Metrics
from app.operations.openapi_routes import NEEDS_KEY
from app.selective.usage import UsageBuffer
from core.errors import NotFound
from core.notifications import JobNotifier
from core.queries import datasets, jobs, registry
from core.session import Database
from core.settings import Settings
from core.storage.artifacts import Artifacts
from core.storage.trash import discard
from core.tables import DatasetRow, JobRow, ModelRow
from core.tracing import Tracing
from masktune.contract.ids import is_id
from masktune.contract.vocabulary import Scope


def opened(name: str) -> Any:
    """The dependency on one of the objects that the application has opened (`app.services.Services`)."""

    async def read(connection: HTTPConnection) -> Any:
        return getattr(connection.app.state.services, name)

    return Depends(read)


SettingsDep = Annotated[Settings, opened("settings")]
ArtifactsDep = Annotated[Artifacts, opened("artifacts")]
NotifierDep = Annotated[JobNotifier, opened("notifier")]
StoresDep = Annotated[Stores, opened("stores")]
InferenceDep = Annotated[Inference, opened("inference")]
KeyringDep = Annotated[Keyring, opened("keyring")]
UsageDep = Annotated[UsageBuffer, opened("usage")]
TracingDep = Annotated[Tracing, opened("tracing")]
ProbesDep = Annotated[Probes, opened("probes")]
EventFeedDep = Annotated[EventFeed, opened("event_feed")]
MetricsDep = Annotated[Metrics, opened("metrics")]
DatabaseDep = Annotated[Database, opened("database")]
"""For routes that open sessions themselves; `Reading` and `Writing` suit most."""
RootPathDep = Annotated[str, opened("root_path")]
"""The prefix under which a proxy serves the API, without a trailing slash: the start of every address that an
answer names. Empty without a prefix."""


DiscardFiles = Callable[[Session, Collection[str]], None]
"""Deletes the artifacts under these keys once the session's transaction is committed."""


async def _discard_files(database: DatabaseDep, artifacts: ArtifactsDep) -> DiscardFiles:
    return lambda session, keys: discard(session, database, artifacts, keys)


DiscardDep = Annotated[DiscardFiles, Depends(_discard_files)]


# --- sessions -----------------------------------------------------------------------------


def _reading(database: DatabaseDep) -> Iterator[Session]:
    with database.read() as session:
        yield session


def _writing(database: DatabaseDep) -> Iterator[Session]:
    with database.begin() as session:
        yield session


Reading = Annotated[Session, Depends(_reading, scope="function")]
Writing = Annotated[Session, Depends(_writing, scope="function")]
"""Commits after the route returns and before the response is sent; rolls back if the route raises."""


# --- callers ------------------------------------------------------------------------------


class RequiredScope:
    """What a route requires of its caller. As a dependency it does nothing: `CallerFirst` has checked it.

    `also` is a second scope that the caller must have. The rate limit of `scope` is charged. Without a scope,
    every caller that is known is accepted, at any rate.
    """

    def __init__(self, scope: Scope | None = None, *, also: Scope | None = None) -> None:
        self.scope = scope
        self.scopes = [each for each in (scope, also) if each is not None]

    async def __call__(self) -> None:
        pass


class CallerFirst(APIRoute):
    """Route that authenticates before the body is read; FastAPI reads the body before any dependency. What
    changes something is recorded in the audit log."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        required = [one.call for one in self.dependant.dependencies if isinstance(one.call, RequiredScope)]
        if required:
            self.openapi_extra = (self.openapi_extra or {}) | NEEDS_KEY

        async def authenticated(request: Request) -> Response:
            rates: Rates = request.app.state.services.rates
            for dependency in required:
                caller = await _identify(request)
                for scope in dependency.scopes:
                    caller.need(scope)
                request.state.caller = caller
                if dependency.scope is not None:
                    request.state.headers = await rates.count(caller, dependency.scope)
            return await handle(request)

        return authenticated

    async def handle(self, scope: ConnectionScope, receive: Receive, send: Send) -> None:
        """Answer; what a caller has changed is recorded after its commit, before the response is sent."""

        async def recording(message: Message) -> None:
            if message["type"] == "http.response.start":
                await audit.record(scope["app"].state.services.database, self.name, scope, message)
            await send(message)

        await super().handle(scope, receive, send if self.methods == {"GET"} else recording)


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]
"""The caller, in routes whose `dependencies` name the scope: whoever asks for it here requires none."""


async def _identify(connection: HTTPConnection) -> Caller:
    """Return the bearer of the request's key or, if it has none, the person that the proxy in front names.

    A key is what the sender chose to act by, so that one which is not valid is refused.
    """
    services = connection.app.state.services
    people: People = services.people
    keyring: Keyring = services.keyring
    key = _key(connection) if keyring.closed else None
    identity = connection.scope["state"].get("identity")  # the note of `ProxyIdentity`
    if key is None and identity is not None:
        return people.identify(identity)
    return await keyring.identify(key)


async def _authorize(connection: HTTPConnection) -> Callable[[], Awaitable[Caller]]:
    return partial(_identify, connection)


AuthorizeDep = Annotated[Callable[[], Awaitable[Caller]], Depends(_authorize)]
"""Identifies the caller again, for a response that takes long; raises once the key is revoked."""


def _key(connection: HTTPConnection) -> str | None:
    scheme, secret = get_authorization_scheme_param(connection.headers.get("authorization"))
    if scheme.lower() == "bearer" and secret:
        return secret
    return connection.headers.get("x-api-key")


ANY_CALLER = Depends(RequiredScope())
READER = Depends(RequiredScope(Scope.READ))
PREDICTOR = Depends(RequiredScope(Scope.PREDICT))
SAMPLE_PREDICTOR = Depends(RequiredScope(Scope.PREDICT, also=Scope.READ))
"""For a stored sample, whose pixels the answer may show."""
TRAINER = Depends(RequiredScope(Scope.TRAIN))
EDITOR = Depends(RequiredScope(Scope.TRAIN, also=Scope.READ))
"""For an edit, which is answered with all that there is of the resource, also when it changes nothing."""
ADMIN = Depends(RequiredScope(Scope.ADMIN))
"""For a route's `dependencies`, which are solved before its parameters: a caller without a key then cannot
probe ids or take a database connection, and a request that ends in 404 counts toward the key's rate. The
routes must be `CallerFirst`: any other route class sets no caller, and the request fails."""


# --- load it or 404 -----------------------------------------------------------------------


def _shaped_like(prefix: str, kind: str, listed_at: str) -> AfterValidator:
    """Let only such ids pass; anything else is a 404, without a query."""

    def check(id: str) -> str:
        if not is_id(id, prefix):
            raise NotFound(f"there is no such {kind}; GET {listed_at} lists them")
        return id

    return AfterValidator(check)


DatasetKey = Annotated[
    str,
    Path(description="Id of a data set.", examples=["ds_06d4k3w8s0q6v7yx3n5m9a1b2c"]),
    _shaped_like("ds", "data set", "/datasets"),
]
JobKey = Annotated[
    str,
    Path(description="Id of a job.", examples=["job_06d4k3w8s0q6v7yx3n5m9a1b2c"]),
    _shaped_like("job", "job", "/jobs"),
]
KeyKey = Annotated[
    str,
    Path(description="Id of a key.", examples=["key_06d4k3w8s0q6v7yx3n5m9a1b2c"]),
    _shaped_like("key", "key", "/keys"),
]
ModelName = Annotated[str, Path(description="Id or alias of a model.", max_length=100)]


# Each loader opens its own short read. If it used the route's session, that session would hold its connection
# while the route waits for a thread, and all threads may be waiting for a connection: a deadlock of 30 s.


def _dataset(dataset_id: DatasetKey, database: DatabaseDep) -> DatasetRow:
    with database.read() as session:
        return datasets.get(session, dataset_id)


def _job(job_id: JobKey, database: DatabaseDep) -> JobRow:
    with database.read() as session:
        return jobs.get(session, job_id)


def _model(model: ModelName, database: DatabaseDep) -> ModelRow:
    if "\0" in model:  # PostgreSQL rejects NUL in text
        raise NotFound("there is no such model; GET /models lists them")
    with database.read() as session:
        return registry.get(session, model)


LoadedDataset = Annotated[DatasetRow, Depends(_dataset)]
LoadedJob = Annotated[JobRow, Depends(_job)]
LoadedModel = Annotated[ModelRow, Depends(_model)]
"""Reads the path parameter `model`: an id or an alias."""
