"""Aliases: names that point to models. Moves take a lock and are recorded, so they can be rolled back."""

from __future__ import annotations

import logging
from concurrent.futures import CancelledError

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.http.caller_ids import public_id
from app.http.responses import etag_of, matches, require_match
from app.inference import Inference, Pair
from app.registry.service import drift_state, pair_of
from core.errors import Conflict, InvalidInput, MasktuneError, PreconditionFailed
from core.queries import registry
from core.tables import AliasRow, ModelRow
from masktune.contract.models import Alias, Aliases, AliasMove, AliasWithHistory

logger = logging.getLogger(__name__)

LOAD_SECONDS = 30.0
"""How long a move waits for its model. Our client, like an Idempotency-Key, waits 60 s for a response."""

HISTORY = 100
"""Limit of the moves shown with an alias, newest first."""


def listing(session: Session) -> Aliases:
    return Aliases(data=[_describe(row, model) for row, model in registry.aliases(session)])


def show(session: Session, name: str) -> AliasWithHistory:
    """Return the alias with its moves, or raise `NotFound`."""
    return _with_history(session, registry.get_alias(session, name))


def check_name(name: str) -> str:
    """Return the name, or raise `InvalidInput` if it could be taken for an id."""
    if name.startswith(("ds_", "job_", "mdl_", "cal_")):
        raise InvalidInput.field("{name}", "like-an-id", f"{name!r} looks like an id; choose another name")
    return name


def check(
    session: Session, name: str, *, if_match: str | None, if_none_match: str | None, lock: bool = True
) -> bool:
    """Lock the alias, check the client's preconditions (RFC 9110, 13.2), and return whether it exists.

    Raises `PreconditionFailed`.
    """
    row = session.get(AliasRow, name, with_for_update=lock)
    if row is None:
        if if_match is not None:
            raise PreconditionFailed(f"there is no alias {name!r} yet; leave out If-Match to create it")
        return False
    alias = _with_history(session, row)
    changed = f"alias {name!r} has changed and points to {row.model_id}; read it again and retry"
    require_match(if_match, lambda: alias, changed)
    if matches(if_none_match, etag_of(alias.model_dump_json().encode())):
        raise PreconditionFailed(f"alias {name!r} already exists and points to {row.model_id}")
    return True


def target(session: Session, model: str) -> Pair:
    """Return the pair to load before an alias points at this model, or raise `NotFound`."""
    return pair_of(session, registry.get(session, model))


def load_ahead(inference: Inference, pair: Pair) -> None:
    """Load the pair that an alias is about to point at, so that no request has to wait for it.

    Graphs that it lacks are then exported in the background, for its next load.

    Call it outside a transaction. It loads into this process only. The alias moves even if the load fails or
    takes too long: otherwise it could not be moved back from a broken model. Requests report the error.
    """
    try:
        inference.cache.begin(pair).result(LOAD_SECONDS)
    except MasktuneError as error:
        logger.warning("model %s was not loaded before an alias moves to it: %s", pair.model.id, error.detail)
    except (TimeoutError, CancelledError):
        logger.warning("model %s was not loaded before an alias moves to it in time", pair.model.id)
    except Exception:  # any error of a store or a library
        logger.exception("model %s was not loaded before an alias moves to it", pair.model.id)
    inference.export(pair)


def point(session: Session, name: str, model: str, caller: str) -> AliasWithHistory:
    """Point the alias at a model (an id or another alias).
    Nothing is recorded if it already points there.

    `caller`: id of who moves it.
    """
    target = registry.get(session, model)
    row = session.get(AliasRow, name, with_for_update=True)
    if row is None or row.model_id != target.id:
        try:
            with session.begin_nested():
                row = registry.move_alias(session, name, target.id, created_by=caller)
        except IntegrityError as error:  # another request just created the alias or deleted the model
            raise Conflict(
                f"alias {name!r} or its model has just changed; read them and try again"
            ) from error
    return _with_history(session, row)


def roll_back(session: Session, name: str, version: int | None, caller: str) -> AliasWithHistory:
    """Go back to the model of a version, or to the previous model.

    A rollback is itself a move: after two rollbacks the alias points where it did before.
    """
    return point(session, name, model_before(session, name, version, lock=True), caller)


def model_before(session: Session, name: str, version: int | None, *, lock: bool = False) -> str:
    """Return the id of the model that `roll_back` would point to; raises the same errors."""
    row = registry.get_alias(session, name, lock=lock)
    moves = registry.alias_moves(session, name, limit=HISTORY)
    if version is None:
        model_id = next((m.model_id for m in moves if m.model_id not in (None, row.model_id)), None)
        if model_id is None:
            raise Conflict(f"alias {name!r} has only pointed to one model: there is nothing to go back to")
    else:
        model_id = next((m.model_id for m in moves if m.version == version), None)
        if model_id is None:
            raise InvalidInput.field(
                "/version", "unknown-version", f"alias {name!r} has no version {version} with a model"
            )
    return model_id


def _with_history(session: Session, row: AliasRow) -> AliasWithHistory:
    moves = registry.alias_moves(session, row.name, limit=HISTORY)
    return AliasWithHistory(
        **dict(_describe(row, session.get_one(ModelRow, row.model_id))),
        history=[
            AliasMove(version=m.version, model=m.model_id, created_by=public_id(m.created_by), at=m.at)
            for m in moves
        ],
    )


def _describe(row: AliasRow, model: ModelRow) -> Alias:
    return Alias(
        name=row.name,
        model=row.model_id,
        version=row.version,
        updated_at=row.updated_at,
        drift=drift_state(model),
    )
