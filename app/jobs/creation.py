"""Creates jobs as they are planned, or answers with the plan and what it costs."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.orm import Session
from starlette.responses import Response

from app.auth.idempotency import fingerprint
from app.http.responses import represent
from app.inference.backbones import network_size
from app.jobs.estimate import estimate_job, measured_rates
from app.jobs.plans import PLANNERS, Plan
from app.jobs.service import JobCreation, describe
from app.jobs.workload import workload
from core.queries import datasets, jobs, registry
from core.tables import DatasetRow
from masktune.contract.job_params import params_to_json
from masktune.contract.job_requests import JobRequest
from masktune.contract.jobs import JobEstimate, JobInputs, JobPlan
from masktune.contract.vocabulary import DatasetState, JobKind

AddDataset = Callable[[Session], DatasetRow]
"""Adds a data set, which is being imported, within a transaction."""


def start(
    creation: JobCreation,
    kind: JobKind,
    request: JobRequest,
    *,
    dry_run: bool,
    add_dataset: AddDataset | None = None,
) -> Response:
    """Plan the job and queue it; answer 202 with the whole resource. A dry run ends with the plan: 200.

    `add_dataset` adds the data set of a job that is planned without one.
    """
    if dry_run:
        with creation.once.database.read() as session:
            return represent(_describe(session, kind, PLANNERS[kind](session, request)))

    def plan() -> Plan:
        with creation.once.database.read() as session:
            return PLANNERS[kind](session, request)

    def make(session: Session, planned: Plan) -> Response:
        if add_dataset is not None:
            dataset = add_dataset(session)
        else:  # lock and check again: data set or models may have been deleted while the plan was made
            dataset = datasets.get_predictable(session, str(planned.dataset_id), lock=True)
        for dataset_id in planned.trained_on:
            datasets.keep(session, dataset_id)
        params, inputs = params_to_json(planned.params), planned.inputs_as_json()
        jobs.keep_inputs(session, inputs, params)
        registry.keep(session, jobs.models_read(inputs, params))
        row = creation.add(
            session,
            kind,
            dataset.id,
            params=params,
            inputs=inputs,
            request=request.model_dump(mode="json", exclude_unset=True),
            name=request.name,
            user_metadata=request.metadata,
            priority=request.priority,
        )
        datasets.wait_for_import(row, dataset)
        job = describe(session, row, creation.root_path, creation.queue)
        return represent(job, status=202, headers={"Location": job.links["self"]})

    return creation.once.run_planned(fingerprint(kind, request), plan, make)


def _describe(session: Session, kind: JobKind, plan: Plan) -> JobPlan:
    """Describe the plan, with its cost. Raises `InvalidInput` if the network cannot be built."""
    return JobPlan(
        kind=kind,
        dataset=plan.dataset_id,
        params=params_to_json(plan.params),
        inputs=JobInputs(model=plan.model, mask_set=plan.mask_set, review=plan.review),
        models=list(plan.arms),
        estimate=_estimate(session, kind, plan),
    )


def _estimate(session: Session, kind: JobKind, plan: Plan) -> JobEstimate | None:
    """What the job costs; None while the images are not imported."""
    dataset = None if plan.dataset_id is None else datasets.get(session, plan.dataset_id)
    if dataset is None or dataset.state is not DatasetState.READY:
        return None
    planned = workload(session, kind, dataset, params_to_json(plan.params), plan.inputs_as_json())
    assert planned is not None  # its model has just been read
    classes = dataset.classes if dataset.labelled else registry.get(session, str(plan.model)).classes
    size = network_size(planned.backbone, classes=len(classes), image_size=planned.image_size)
    return estimate_job(planned, measured_rates(session, planned), size)
