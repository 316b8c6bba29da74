"""`/aliases`: names that may stand wherever a model id may."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response
from pydantic import AfterValidator
from sqlalchemy.orm import Session

from app.auth.deps import ADMIN, READER, CallerDep, CallerFirst
from app.auth.idempotency import Idempotent, fingerprint
from app.http.deps import DatabaseDep, Reading, RootPathDep, Writing
from app.http.problems import problems
from app.http.responses import NOT_MODIFIED, IfMatch, Responses, conditional, represent
from app.inference import InferenceDep
from app.registry import aliases
from core.queries import registry
from masktune.contract.models import (
    ALIAS_PATTERN,
    Aliases,
    AliasTarget,
    AliasWithHistory,
    RollbackTarget,
)

router = APIRouter(prefix="/aliases", tags=["models"], route_class=CallerFirst)

CREATED: Responses = {201: {"model": AliasWithHistory, "description": "The alias was created."}}


AliasName = Annotated[
    str,
    Path(pattern=ALIAS_PATTERN, description="Lowercase letters, digits, `.`, `_` and `-`."),
    AfterValidator(aliases.check_name),
]


@router.get(
    "",
    dependencies=[READER],
    response_model=Aliases,
    summary="List aliases by name",
    responses=NOT_MODIFIED | problems(422),
)
def list_aliases(request: Request, session: Reading) -> Response:
    return conditional(request, aliases.listing(session))


@router.get(
    "/{name}",
    dependencies=[READER],
    response_model=AliasWithHistory,
    summary="Get an alias with its history",
    responses=NOT_MODIFIED | problems(404),
)
def get_alias(request: Request, name: AliasName, session: Reading) -> Response:
    return conditional(request, aliases.show(session, name))


@router.put(
    "/{name}",
    dependencies=[ADMIN],
    response_model=AliasWithHistory,
    summary="Point an alias at a model",
    responses=CREATED | problems(404, 409, 412, 413),
)
def set_alias(
    name: AliasName,
    target: AliasTarget,
    caller: CallerDep,
    database: DatabaseDep,
    inference: InferenceDep,
    root_path: RootPathDep,
    if_match: IfMatch = None,
    if_none_match: Annotated[
        str | None, Header(alias="If-None-Match", description="`*`: only if the alias does not exist yet.")
    ] = None,
) -> Response:
    """The model is loaded before the alias moves, so that no request for the alias waits for it.
    If loading fails or takes longer than half a minute, the alias moves all the same."""
    check = partial(aliases.check, name=name, if_match=if_match, if_none_match=if_none_match)
    with database.read() as session:
        check(session, lock=False)
        pair = aliases.target(session, target.model)
    aliases.load_ahead(inference, pair)
    with database.begin() as session:
        existed = check(session)
        alias = aliases.point(session, name, target.model, caller.id)
    headers = {"Location": f"{root_path}/aliases/{name}"}
    return represent(alias, status=200 if existed else 201, headers=headers)


@router.post(
    "/{name}/rollback",
    dependencies=[ADMIN],
    response_model=AliasWithHistory,
    summary="Point an alias back at an earlier model",
    responses=problems(404, 409, 412, 413),
)
def roll_back_alias(
    name: AliasName,
    once: Idempotent,
    inference: InferenceDep,
    target: RollbackTarget | None = None,
    if_match: IfMatch = None,
) -> Response:
    """A rollback is itself a move, so a second one undoes it: send an Idempotency-Key."""
    rollback = target or RollbackTarget(version=None)

    check = partial(aliases.check, name=name, if_match=if_match, if_none_match=None)

    def load() -> None:
        with once.database.read() as session:
            check(session, lock=False)
            pair = aliases.target(session, aliases.model_before(session, name, rollback.version))
        aliases.load_ahead(inference, pair)

    def make(session: Session, _: None) -> Response:
        check(session)
        return represent(aliases.roll_back(session, name, rollback.version, once.caller))

    return once.run_planned(fingerprint(rollback), load, make)


@router.delete(
    "/{name}", dependencies=[ADMIN], status_code=204, summary="Delete an alias", responses=problems(404, 412)
)
def delete_alias(name: AliasName, caller: CallerDep, session: Writing, if_match: IfMatch = None) -> None:
    aliases.check(session, name, if_match=if_match, if_none_match=None)
    registry.remove_alias(session, name, created_by=caller.id)
