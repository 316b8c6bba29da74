"""`/dependents`, `/storage`: what needs something that may be deleted, and what fills the store."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.auth.deps import ADMIN, READER, CallerFirst
from app.http.deps import ArtifactsDep, Reading
from app.http.problems import problems
from app.http.responses import NOT_MODIFIED, conditional
from core.queries import jobs, registry
from masktune.contract.base import ModelRef
from masktune.contract.deletion import Dependents
from masktune.contract.operations import Storage

router = APIRouter(tags=["service"], route_class=CallerFirst)


@router.get(
    "/dependents",
    dependencies=[READER],
    response_model=Dependents,
    summary="List what needs a data set, a model or a job, before it is deleted",
    responses=NOT_MODIFIED | problems(404, 422),
)
def get_dependents(
    request: Request,
    session: Reading,
    of: Annotated[ModelRef, Query(description="Id of a data set, a job or a model, or an alias.")],
) -> Response:
    return conditional(request, registry.dependents(session, of))


@router.get(
    "/storage",
    dependencies=[ADMIN],
    response_model=Storage,
    summary="Get what fills the store, and what may go",
    responses=NOT_MODIFIED,
)
def get_storage(request: Request, session: Reading, artifacts: ArtifactsDep) -> Response:
    """Looks at every file of the store."""
    sizes = artifacts.sizes()  # before the first query: no transaction is open meanwhile
    kinds, owners = Counter[str](), Counter[str]()
    for (kind, id), size in sizes.items():
        kinds[kind] += size
        # A backbone is no single model's: its key only says which one stored it first.
        if kind != "backbones" and id.startswith(("ds_", "mdl_", "job_")):
            owners[id] += size
    return conditional(
        request,
        Storage(
            free=shutil.disk_usage(artifacts.root).free if artifacts.local else None,
            kinds=dict(kinds.most_common()),
            largest=dict(owners.most_common(10)),
            removable={
                "resumable_jobs": sum(sizes["jobs", id] for id in jobs.resumable(session)),
                "unnamed_models": sum(sizes["models", id] for id in registry.unnamed_models(session)),
                "caches": kinds["features"] + kinds["exports"],
            },
        ),
    )
