"""Dependencies of the routes on their caller: a scope, checked before anything is read or queried.

router = APIRouter(prefix="/jobs", route_class=CallerFirst)
@router.get("/{job_id}", dependencies=[READER])         # 401, 403 or 429, before anything is read or queried
def get(row: LoadedJob) -> ...                          # 404
def change(session: Writing) -> ...                     # committed before the response is sent
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Path, Request, Response
from fastapi.routing import APIRoute
from fastapi.security.utils import get_authorization_scheme_param
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Send
from starlette.types import Scope as ConnectionScope

from app.auth import audit
from app.auth.keyring import Caller, Keyring
from app.auth.people import People
from app.auth.rate_limits import Rates
from app.http.deps import opened, shaped_like
from app.http.responses import NEEDS_KEY
from masktune.contract.vocabulary import Scope

KeyringDep = Annotated[Keyring, opened("keyring")]


class RequiredScope:
    """What a route requires of its caller.
    As a dependency it does nothing: `CallerFirst` has checked it.

    `also` is a second scope that the caller must have. The rate limit of `scope` is charged. Without a scope,
    every caller that is known is accepted, at any rate.
    """

    def __init__(self, scope: Scope | None = None, *, also: Scope | None = None) -> None:
        self.scope = scope
        self.scopes = [each for each in (scope, also) if each is not None]

    async def __call__(self) -> None:
        pass


class CallerFirst(APIRoute):
    """Route that authenticates before the body is read; FastAPI reads the body before any dependency.
    What changes something is recorded in the audit log."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = self.get_answer_handler()
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

    def get_answer_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request whose caller is known: FastAPI's handler."""
        return super().get_route_handler()

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
    identity = connection.scope["state"].get("identity")  # the note of `app.server.proxies`
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
REVIEWER = Depends(RequiredScope(Scope.REVIEW))
REVIEWING_TRAINER = Depends(RequiredScope(Scope.TRAIN, also=Scope.REVIEW))
"""For a data set that is made of images of a review queue."""
ADMIN = Depends(RequiredScope(Scope.ADMIN))
"""For a route's `dependencies`, which are solved before its parameters: a caller without a key then cannot
probe ids or take a database connection, and a request that ends in 404 counts toward the key's rate. The
routes must be `CallerFirst`: any other route class sets no caller, and the request fails."""

KeyKey = Annotated[
    str,
    Path(description="Id of a key.", examples=["key_06d4k3w8s0q6v7yx3n5m9a1b2c"]),
    shaped_like("key", "key", "/keys"),
]
