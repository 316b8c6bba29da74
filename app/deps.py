"""What routes ask for: the services, a session, a caller with a scope, a resource that exists.

router = APIRouter(prefix="/jobs", route_class=CallerFirst)
@router.get("/{job_id}", dependencies=[READER])         # 401, 403 and 429, before anything is read or asked
def get(row: LoadedJob) -> ...                          # 404
def change(session: Writing) -> ...                     # committed before the answer leaves
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from anyio import CapacityLimiter
from fastapi import Depends, Path, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from sqlalchemy.orm import Session
from starlette.requests import HTTPConnection

from app.inference import Inference
from app.locations import location
from app.services.auth import Caller, Keyring
from app.services.events import Followers
from app.services.health import Probes
from app.services.metrics import Metrics
from app.services.rates import Rates
from app.services.sharing import Shared
from app.services.stores import Stores
from app.services.tally import Tally
from core.artifacts import Artifacts
from core.errors import NotFound
from core.ids import is_id
from core.queries import datasets, jobs, registry
from core.queue import Doorbell
from core.session import Database
from core.settings import Settings
from core.tables import DatasetRow, JobRow, ModelRow
from core.tracing import Tracing
from core.vocabulary import Scope

if TYPE_CHECKING:
    from app.services.predict import Plan


@dataclass(frozen=True)
class Services:
    """What the process holds for its whole life; lies on `app.state.services`."""

    settings: Settings
    database: Database
    artifacts: Artifacts
    doorbell: Doorbell
    stores: Stores
    inference: Inference
    forward: Callable[[], None]
    """Raises unless a real forward pass works; a success is believed for a while."""
    keyring: Keyring
    rates: Rates
    planners: CapacityLimiter
    """Threads that only predictions use for their reads: slow requests of other kinds cannot take them."""
    plans: Shared[Plan]
    """What predictions read, shared by those who ask the same at the same time."""
    followers: Followers
    metrics: Metrics
    tally: Tally
    tracing: Tracing
    closing: ExitStack
    """Closed when the application ends: `closing.callback(engine.close)` for what starts later."""
    probes: Probes = field(default_factory=Probes)
    """The checks of /readyz that run now."""

    def location(self, path: str) -> str:
        """The path as a client sees it, behind the prefix of a proxy."""
        return location(self.settings.root_path, path)


async def _services(connection: HTTPConnection) -> Services:
    services: Services = connection.app.state.services
    return services


Serving = Annotated[Services, Depends(_services)]


# --- sessions -----------------------------------------------------------------------------


def _reading(services: Serving) -> Iterator[Session]:
    with services.database.read() as session:
        yield session


def _writing(services: Serving) -> Iterator[Session]:
    with services.database.begin() as session:
        yield session


Reading = Annotated[Session, Depends(_reading, scope="function")]
Writing = Annotated[Session, Depends(_writing, scope="function")]
"""Committed when the route returns and before its answer leaves; rolled back when it raises."""


# --- callers ------------------------------------------------------------------------------

_bearer = HTTPBearer(auto_error=False, description="The key, in the `Authorization` header.")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The key, in a header of its own.")


async def identify(
    connection: HTTPConnection,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> Caller:
    """Who calls, as `CallerFirst` found it; the other two are for the document."""
    caller: Caller = connection.state.caller
    return caller


class _Needs:
    """A dependency: the caller, whom `CallerFirst` has asked for this scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, caller: Annotated[Caller, Depends(identify)]) -> Caller:
        return caller

    async def ask(self, connection: HTTPConnection, services: Services) -> Caller:
        """The caller, if the key has the scope and has not used up its rate."""
        key = _key(connection) if services.keyring.closed else None
        caller = connection.state.caller = await services.keyring.identify(key)
        caller.need(self.scope)
        connection.state.headers = await services.rates.count(caller, self.scope)
        return caller


class CallerFirst(APIRoute):
    """Knows who calls before it reads anything of the body, which FastAPI does before all dependencies."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        needed = [one.call for one in self.dependant.dependencies if isinstance(one.call, _Needs)]

        async def known(request: Request) -> Response:
            for needs in needed:
                await needs.ask(request, request.app.state.services)
            return await handle(request)

        return known


_predictor = _Needs(Scope.PREDICT)
predictor = _predictor.ask
"""What `Predictor` gives, without FastAPI's solver: for the route that must be fast."""


def _key(connection: HTTPConnection) -> str | None:
    scheme, secret = get_authorization_scheme_param(connection.headers.get("authorization"))
    if scheme.lower() == "bearer" and secret:
        return secret
    return connection.headers.get("x-api-key")


Predictor = Annotated[Caller, Depends(_predictor)]
"""A parameter of the routes that look everything up by themselves. Such routes, and those below, are
`CallerFirst`: another has no caller to give, and fails."""
READER = Depends(_Needs(Scope.READ))
TRAINER = Depends(_Needs(Scope.TRAIN))
ADMIN = Depends(_Needs(Scope.ADMIN))
"""Among a route's `dependencies`, and not its parameters: those are solved first. A stranger learns of no id
then, takes no connection, and what does not exist counts toward a key's rate."""


# --- load it or 404 -----------------------------------------------------------------------

DatasetId = Annotated[str, Path(description="Id of a data set.", examples=["ds_06d4k3w8s0q6v7yx3n5m9a1b2c"])]
KeyId = Annotated[str, Path(description="Id of a key.", examples=["key_06d4k3w8s0q6v7yx3n5m9a1b2c"])]
JobId = Annotated[str, Path(description="Id of a job.", examples=["job_06d4k3w8s0q6v7yx3n5m9a1b2c"])]
ModelName = Annotated[str, Path(description="Id of a model, or an alias.", max_length=100)]


def dataset_id(dataset_id: DatasetId) -> str:
    """The id as the path has it, if it has the shape of one; what has not cannot exist."""
    if not is_id(dataset_id, "ds"):
        raise NotFound("there is no such data set; GET /datasets lists what there is")
    return dataset_id


def job_id(job_id: JobId) -> str:
    """The id as the path has it, if it has the shape of one; what has not cannot exist."""
    if not is_id(job_id, "job"):
        raise NotFound("there is no such job; GET /jobs lists what there is")
    return job_id


def key_id(key_id: KeyId) -> str:
    """The id as the path has it, if it has the shape of one; what has not cannot exist."""
    if not is_id(key_id, "key"):
        raise NotFound("there is no such key; GET /keys lists what there is")
    return key_id


KeyKey = Annotated[str, Depends(key_id)]
DatasetKey = Annotated[str, Depends(dataset_id)]
JobKey = Annotated[str, Depends(job_id)]


# A read of its own for each. A session of the route's, begun here, would hold its connection while the route
# waits for a thread, and the threads may all wait for a connection: nobody went on for 30 s.


def _dataset(dataset_id: DatasetKey, services: Serving) -> DatasetRow:
    with services.database.read() as session:
        return datasets.get(session, dataset_id)


def _job(job_id: JobKey, services: Serving) -> JobRow:
    with services.database.read() as session:
        return jobs.get(session, job_id)


def _model(model: ModelName, services: Serving) -> ModelRow:
    if "\0" in model:  # PostgreSQL takes none in a text
        raise NotFound("there is no such model; GET /models lists what there is")
    with services.database.read() as session:
        return registry.get(session, model)


LoadedDataset = Annotated[DatasetRow, Depends(_dataset)]
LoadedJob = Annotated[JobRow, Depends(_job)]
LoadedModel = Annotated[ModelRow, Depends(_model)]
"""The path parameter is called `model`: an id or an alias."""
