"""A child's messages: those that are not written yet, in order and with progress thinned out; and their
writing to the database, each in a short, fenced transaction. Nothing here commits."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Literal

from sqlalchemy.orm import Session

from core.queries import datasets, jobs, leases, passes, registry, trash
from core.queries.leases import Lease
from core.sweep import close_imports
from core.tables import JobRow, ModelRow, PassRow
from masktune.contract.vocabulary import DatasetState, JobKind, JobState
from worker.protocol import LogLine, PassBegan, ProgressReport, Record, StageFinished, StageStarted
from worker.results import (
    AnyResult,
    CalibrateResult,
    Calibration,
    EvaluateResult,
    GroupsResult,
    HeadResult,
    ImportResult,
    ModelSpec,
    PatternJudgeSpec,
    TrainingResult,
    result_to_json,
)

PROGRESS_SECONDS = 0.5
"""Minimum seconds between two writes of mere progress.
The end of an epoch or stage is never delayed."""
_UNRECORDED = {"type", "advanced"}
"""Fields of a `ProgressReport` that are no part of a job's progress."""
_UNNAMED_SECONDS = 86_400.0
"""How long a calibration or a pattern judge that no model names is kept: running jobs may still read it."""
_LONGEST_WAIT, _DOUBLINGS = 3600.0, 30
"""The longest wait between two attempts in seconds; a cap on the doublings, so that 2**n cannot overflow."""


class PendingMessages:
    """A queue in which progress replaces the progress before it, unless that one reported an epoch."""

    def __init__(self) -> None:
        self._waiting: deque[Record] = deque()
        self._progress_at = float("-inf")

    def put(self, message: Record) -> None:
        if self._waiting and isinstance(message, ProgressReport) and _is_transient(self._waiting[-1]):
            self._waiting.pop()
        self._waiting.append(message)

    def next(self, now: float, *, everything: bool = False) -> Record | None:
        """The message to write now, or None; it stays in the queue until `written` is called."""
        if not self._waiting:
            return None
        head = self._waiting[0]
        may_wait = _is_transient(head) and len(self._waiting) == 1
        if may_wait and not everything and now < self._progress_at + PROGRESS_SECONDS:
            return None
        return head

    def clear(self) -> None:
        """Drop the waiting messages."""
        self._waiting.clear()

    def written(self, now: float) -> None:
        if isinstance(self._waiting.popleft(), ProgressReport):
            self._progress_at = now


def _is_transient(message: Record) -> bool:
    """Whether it is progress that may be replaced: it reports no epoch, neither a checkpoint nor figures."""
    return isinstance(message, ProgressReport) and not message.advanced and not message.metrics


def begin(session: Session, lease: Lease) -> JobRow:
    """Return the row of a job that was just claimed; if it retries an import, reopen the data set."""
    leases.held(session, lease, lock=True)
    job = jobs.get(session, lease.job_id)
    if job.kind is JobKind.IMPORT and job.dataset_id is not None:
        dataset = datasets.get(session, job.dataset_id)
        if dataset.state is DatasetState.INVALID:
            dataset.state, dataset.ended_at = DatasetState.IMPORTING, None
    return job


def end(
    session: Session, lease: Lease, state: JobState, *, error: Mapping[str, object] | None = None
) -> JobState:
    """End the job. If it is an import that did not finish, its data set becomes invalid."""
    ended = leases.end(session, lease, state, error=error)
    close_imports(session, lease.job_id)
    return ended


def crashed(
    session: Session,
    lease: Lease,
    error: Mapping[str, object],
    *,
    reason: str,
    max_crashes: int,
    backoff: float,
) -> JobState:
    """Requeue a job whose child crashed, with this `reason`; after `max_crashes`, fail it with `error`.

    Crashes are counted since the last finished epoch (`JobRow.crashes`). The wait doubles with each crash, up
    to an hour.
    """
    before = jobs.get(session, lease.job_id).crashes
    if before + 1 >= max_crashes:
        return end(session, lease, JobState.FAILED, error=error)
    delay = min(backoff * 2.0 ** min(before, _DOUBLINGS), max(backoff, _LONGEST_WAIT))
    state = leases.release(session, lease, reason=reason, delay=delay, crashed=True)
    close_imports(session, lease.job_id)
    return state


def record(session: Session, lease: Lease, message: Record) -> None:
    """Write one message. Raises `LeaseLost` if this worker no longer holds the job."""
    match message:
        case StageStarted():
            leases.start_stage(session, lease, message.stage)
        case ProgressReport():
            progress = {name: value for name, value in asdict(message).items() if name not in _UNRECORDED}
            leases.write_progress(session, lease, progress, advanced=message.advanced)
        case LogLine():
            leases.log(session, lease, message.message)
        case StageFinished():
            _finish_stage(session, lease, message.result, message.sizes)
        case PassBegan(opened=opened, numbers=numbers):
            row = PassRow(job_id=lease.job_id, token=lease.token, key=opened.key)
            row.spec, row.numbers, row.shards = asdict(opened), list(numbers), len(numbers)
            passes.open_pass(session, row)


def _finish_stage(session: Session, lease: Lease, stage_result: AnyResult, sizes: Mapping[str, int]) -> None:
    if isinstance(stage_result, TrainingResult | HeadResult):
        stage_result = replace(stage_result, model=_with_shared_backbone(session, stage_result.model))
    if isinstance(stage_result, ImportResult) and not stage_result.ready:
        # An import without a usable data set does not finish its stage, so that `resume` retries it.
        leases.held(session, lease, lock=True)
        job = jobs.get(session, lease.job_id)
    else:
        job = leases.finish_stage(
            session,
            lease,
            stage_result.stage,
            result_to_json(stage_result),
            occupies=sum(size for key, size in sizes.items() if key.startswith(f"jobs/{lease.job_id}/")),
        )
    match stage_result:
        case ImportResult():
            _imported(session, job, stage_result, occupies=sum(sizes.values()))
        case TrainingResult() | HeadResult():
            _trained(session, lease, job, stage_result.model, sizes)
        case CalibrateResult():
            _store_with_models(session, job, "calibration", stage_result.calibrations)
        case GroupsResult():
            _store_with_models(session, job, "pattern_judge", stage_result.judges)
        case EvaluateResult():
            _evaluated(session, lease, job, stage_result)


# --- what a finished stage changes beyond the job's own row ---------------------------------------


def _imported(session: Session, job: JobRow, stage_result: ImportResult, *, occupies: int) -> None:
    assert job.dataset_id is not None
    datasets.finish(
        session,
        job.dataset_id,
        artifact=stage_result.artifact,
        classes=list(stage_result.classes),
        summary=stage_result.summary,
        ready=stage_result.ready,
    )
    dataset = datasets.get(session, job.dataset_id)
    dataset.occupies, upload = occupies, dataset.source.get("upload")
    if stage_result.ready and upload is not None:  # the store has its images; its headers may name patients
        trash.put(session, [upload])


def _with_shared_backbone(session: Session, model: ModelSpec) -> ModelSpec:
    """The model with the backbone that is stored already, if the job's own copy is not the first."""
    if model.backbone_artifact is None or model.backbone_digest is None:
        return model
    artifact = registry.share_backbone(session, model.backbone_digest, model.backbone_artifact)
    if artifact != model.backbone_artifact:
        # The job goes on to read its copy: it is deleted when the job ends (`core.queries.states.enter`).
        trash.put(session, [model.backbone_artifact], after=365 * _UNNAMED_SECONDS)
    return replace(model, backbone_artifact=artifact)


def _trained(session: Session, lease: Lease, job: JobRow, model: ModelSpec, sizes: Mapping[str, int]) -> None:
    if session.get(ModelRow, model.id) is None:
        registry.add(
            session,
            ModelRow(
                id=model.id,
                dataset_id=job.dataset_id,
                job_id=job.id,
                arm=model.arm,
                backbone=model.backbone,
                classes=list(model.classes),
                image_size=model.image_size,
                artifact=model.artifact,
                backbone_artifact=model.backbone_artifact,
                erm_id=model.erm_id,
                occupies=sizes.get(model.artifact),
                created_by=job.created_by,
            ),
        )
    leases.set_models(session, lease, {model.arm: model.id})


def _store_with_models(
    session: Session,
    job: JobRow,
    column: Literal["calibration", "pattern_judge"],
    by_model: Mapping[str, Calibration | PatternJudgeSpec],
) -> None:
    # Lock in the same order everywhere, as in `_evaluated`.
    for model_id, new in sorted(by_model.items()):
        model = _lock(session, model_id)
        old = None if model is None else getattr(model, column)
        # The same again: the answer to the COMMIT was lost.
        first = old is None or old["artifact"] == new.artifact
        if model is None or not (first or _belongs_to(model, job)):
            trash.put(session, [new.artifact], after=_UNNAMED_SECONDS)
            continue
        if old is not None:
            trash.put(session, [old["artifact"]], after=_UNNAMED_SECONDS)
        trash.remove(session, [new.artifact])
        setattr(model, column, asdict(new))
    session.flush()


def _evaluated(session: Session, lease: Lease, job: JobRow, stage_result: EvaluateResult) -> None:
    # Lock in the same order everywhere, so that two jobs that evaluate the same models cannot deadlock.
    for arm in sorted(stage_result.metrics, key=stage_result.compared.__getitem__):
        model = _lock(session, stage_result.compared[arm])
        if model is not None and _belongs_to(model, job):  # splits that were not evaluated keep their figures
            model.metrics = model.metrics | stage_result.metrics[arm]
        if model is not None and arm in stage_result.evaluations:
            of_job = asdict(stage_result.evaluations[arm]) | {"job": job.id}
            model.evaluations = model.evaluations | {job.id: of_job}
    session.flush()
    leases.set_metrics(session, lease, {str(arm): splits for arm, splits in stage_result.metrics.items()})


def _lock(session: Session, model_id: str) -> ModelRow | None:
    """The model, locked for a read-modify-write (FOR NO KEY UPDATE): other writers wait, `keep` does not."""
    return session.get(ModelRow, model_id, with_for_update={"key_share": True})


def _belongs_to(model: ModelRow, job: JobRow) -> bool:
    """Whether the model belongs to the job's data set; figures on another one must not replace its own."""
    return model.dataset_id in (job.dataset_id, None)
