"""What routes of every subject depend on: the opened services, a session, an id in a path."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Annotated, Any, Protocol

from fastapi import Depends
from pydantic import AfterValidator
from sqlalchemy.orm import Session
from starlette.requests import HTTPConnection

from core.errors import NotFound
from core.notifications import JobNotifier
from core.session import Database, after_commit
from core.settings import Settings
from core.storage.artifacts import Artifacts
from core.storage.trash import discard
from core.tracing import Tracing
from masktune.contract.ids import is_id


def opened(name: str) -> Any:
    """The dependency on one of the objects that the application has opened (`app.main.Services`)."""

    async def read(connection: HTTPConnection) -> Any:
        return getattr(connection.app.state.services, name)

    return Depends(read)


SettingsDep = Annotated[Settings, opened("settings")]
ArtifactsDep = Annotated[Artifacts, opened("artifacts")]
NotifierDep = Annotated[JobNotifier, opened("notifier")]
TracingDep = Annotated[Tracing, opened("tracing")]
DatabaseDep = Annotated[Database, opened("database")]
"""For routes that open sessions themselves; `Reading` and `Writing` suit most.

What loads a path parameter opens a short read of its own. If it used the route's session, that session would
hold its connection while the route waits for a thread, and all threads may be waiting for a connection: a
deadlock of 30 s.
"""
RootPathDep = Annotated[str, opened("root_path")]
"""The prefix under which a proxy serves the API, without a trailing slash: the start of every address that an
answer names. Empty without a prefix."""


DiscardFiles = Callable[[Session, Collection[str]], None]
"""Deletes the artifacts under these keys once the session's transaction is committed, and before closes those
that are open."""


class OpenArtifacts(Protocol):
    """What holds artifacts open."""

    def forget(self, artifact: str) -> None: ...


async def _discard_files(
    database: DatabaseDep, artifacts: ArtifactsDep, stores: Annotated[OpenArtifacts, opened("stores")]
) -> DiscardFiles:
    def discard_files(session: Session, keys: Collection[str]) -> None:
        for key in keys:
            after_commit(session, partial(stores.forget, key))
        discard(session, database, artifacts, keys)

    return discard_files


DiscardDep = Annotated[DiscardFiles, Depends(_discard_files)]


def _reading(database: DatabaseDep) -> Iterator[Session]:
    with database.read() as session:
        yield session


def _writing(database: DatabaseDep) -> Iterator[Session]:
    with database.begin() as session:
        yield session


Reading = Annotated[Session, Depends(_reading, scope="function")]
Writing = Annotated[Session, Depends(_writing, scope="function")]
"""Commits after the route returns and before the response is sent; rolls back if the route raises."""


def shaped_like(prefix: str, kind: str, listed_at: str) -> AfterValidator:
    """Let only ids of this kind pass as a path parameter; anything else is a 404, without a query."""

    def check(id: str) -> str:
        if not is_id(id, prefix):
            raise NotFound(f"there is no such {kind}; GET {listed_at} lists them")
        return id

    return AfterValidator(check)
