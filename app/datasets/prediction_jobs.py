"""`POST /jobs/predict`: a job on a data set, or on a source that becomes one."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from app.auth.deps import CallerFirst
from app.datasets import service as datasets
from app.http.deps import SettingsDep
from app.jobs.routes import STARTING, DryRun
from app.jobs.service import CreationDep, start
from masktune.contract.job_requests import PredictRequest
from masktune.contract.jobs import PredictJob
from masktune.contract.vocabulary import JobKind

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=CallerFirst)


@router.post(
    "/predict",
    response_model=PredictJob,
    summary="Write predictions for every sample of a split, or of a source, to a file",
    **STARTING,
)
def start_predict(
    body: PredictRequest, creation: CreationDep, settings: SettingsDep, dry_run: DryRun = False
) -> Response:
    add_dataset = None
    if body.source is not None:
        add_dataset = datasets.from_images(creation, body.source, body.name, settings.sources)
    return start(creation, JobKind.PREDICT, body, dry_run=dry_run, add_dataset=add_dataset)
