"""SQL for models and their aliases.
Nothing here commits."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import InvalidInput, ModelInUse, NotFound
from core.queries import datasets, jobs, served
from core.queries.rows import NO_FILTERS, Filters, get_row, insert_into, newest_first
from core.queries.rows import add as add
from core.session import db_now
from core.tables import AliasMoveRow, AliasRow, BackboneRow, JobRow, ModelRow
from masktune.contract.deletion import Dependents
from masktune.contract.ids import is_id
from masktune.contract.vocabulary import Arm, JobKind


def get(session: Session, name: str, *, lock: bool = False) -> ModelRow:
    """The model with this id or alias, or `NotFound`."""
    model_id = name
    if not is_id(name, "mdl"):
        alias = session.get(AliasRow, name)
        if alias is None:
            raise NotFound(
                f"there is no model or alias {name!r}; GET /models?name=NAME finds the id of a name"
            )
        model_id = alias.model_id
    return get_row(session, ModelRow, model_id, "model", lock=lock)


def listing(
    session: Session,
    *,
    before: tuple[float, str] | None,
    limit: int,
    dataset_id: str | None = None,
    job_id: str | None = None,
    arm: Arm | None = None,
    filters: Filters = NO_FILTERS,
) -> list[ModelRow]:
    """Models, newest first, after the (created_at, id) of the last one seen."""
    where = {ModelRow.dataset_id: dataset_id, ModelRow.job_id: job_id, ModelRow.arm: arm}
    conditions = filters.conditions(session, ModelRow)
    return newest_first(session, ModelRow, before=before, limit=limit, where=where, conditions=conditions)


def training_job(session: Session, model: ModelRow) -> JobRow | None:
    """The job that trained the model's backbone; None if it was imported, or the model with it is gone."""
    source: ModelRow | None = model
    while source is not None and source.job_id is not None:
        job = jobs.get(session, source.job_id)
        if job.kind is not JobKind.RETRAIN_HEAD:
            return job
        source = session.get(ModelRow, job.inputs["model"])
    return None


def datasets_of(session: Session, model_ids: Iterable[str]) -> set[str]:
    """Ids of the data sets that trained these models, and those that they were made from.

    Raises `InvalidInput` if nobody can tell, because the job that trained one of them was deleted.
    """
    waiting, known, trained_on = list(model_ids), set[str](), set[str]()
    while waiting:
        row = session.get(ModelRow, waiting.pop())
        if row is None or row.id in known:
            continue
        known.add(row.id)
        if row.job_id is None and row.arm is not Arm.IMPORTED:
            raise InvalidInput.field(
                "/job",
                "training-job-deleted",
                f"the job that trained model {row.id} was deleted, so nobody can tell which images to leave "
                "out; measure a single model instead: name a model and no job",
            )
        trained_on |= {row.dataset_id} if row.dataset_id else set()
        waiting += [row.erm_id] if row.erm_id else []
        if row.job_id is not None and (job := session.get(JobRow, row.job_id)) is not None:
            waiting += jobs.models_read(job.inputs, job.params)
    return trained_on


def missing(session: Session, model_ids: Iterable[str]) -> set[str]:
    """The ids of those models that do not exist, or no longer do."""
    ids = set(model_ids)
    return ids - set(session.scalars(select(ModelRow.id).where(ModelRow.id.in_(ids))))


def keep(session: Session, model_ids: Iterable[str]) -> None:
    """Block the deletion of these models until the transaction ends, or raise `NotFound`.

    The lock (FOR KEY SHARE) blocks neither reads nor updates of their figures nor other calls of `keep`.
    """
    ids = sorted(model_ids)
    query = select(ModelRow.id).where(ModelRow.id.in_(ids)).order_by(ModelRow.id)
    existing = set(session.scalars(query.with_for_update(read=True, key_share=True)))
    for model_id in ids:
        if model_id not in existing:
            raise NotFound(f"there is no model {model_id}; see the list of models")


def delete(session: Session, model_id: str) -> ModelRow:
    """Remove the row, or `ModelInUse`; the caller removes the artifact after the commit."""
    row = get(session, model_id, lock=True)
    users = jobs.using_model(session, model_id)
    if users:
        raise ModelInUse(
            f"model {model_id} is used by {', '.join(users)}; cancel them or wait for them to end"
        )
    aliases = list(session.scalars(select(AliasRow.name).where(AliasRow.model_id == model_id)))
    if aliases:
        raise ModelInUse(f"model {model_id} has the aliases {', '.join(aliases)}; move or remove them first")
    partners = list(session.scalars(select(ModelRow.id).where(ModelRow.erm_id == model_id)))
    if partners:
        raise ModelInUse(
            f"model {model_id} is the ERM half of {', '.join(partners)}; delete those models first"
        )
    session.delete(row)
    served.forget(session, model_id)
    session.flush()
    return row


def unnamed_models(session: Session) -> list[str]:
    """Ids of the trained models that no alias names, nor needs beside the model that it names."""
    needed_ids = {id for _, model in aliases(session) for id in (model.id, model.erm_id)}
    return [
        id
        for id in session.scalars(select(ModelRow.id).where(ModelRow.arm != Arm.IMPORTED))
        if id not in needed_ids
    ]


def dependents(session: Session, name: str) -> Dependents:
    """What needs the data set, job or model of this id, or the model of this alias; or `NotFound`."""
    kind, predicted = name.partition("_")[0], None
    if kind == "job":
        job = jobs.get(session, name)
        id, of_models, of_jobs = job.id, ModelRow.job_id == name, jobs.reading_job(name)
        predicted = datasets.predicted_by(session, job)
    elif kind == "ds":
        id, of_models, of_jobs = (
            datasets.get(session, name).id,
            ModelRow.dataset_id == name,
            (JobRow.dataset_id == name) & (JobRow.kind != JobKind.IMPORT),
        )
    else:
        id = get(session, name).id
        of_models, of_jobs = ModelRow.erm_id == id, jobs.naming_model(id)
    models = list(session.scalars(select(ModelRow.id).where(of_models).order_by(ModelRow.id)))
    return Dependents(
        of=id,
        models=models,
        jobs=list(session.scalars(select(JobRow.id).where(of_jobs).order_by(JobRow.id))),
        datasets=[predicted.id] if predicted else [],
        aliases=[alias.name for alias, model in aliases(session) if model.id in (id, *models)],
    )


def share_backbone(session: Session, digest: str, artifact: str) -> str:
    """The key under which the weights with this digest are stored: `artifact`, unless they already are under
    another one. Nobody can release it before the transaction ends."""
    insert = insert_into(session, BackboneRow).values(digest=digest, artifact=artifact)
    # An update that changes nothing locks the row that is there, and returns it.
    insert = insert.on_conflict_do_update(index_elements=["digest"], set_={"digest": digest})
    return session.execute(insert.returning(BackboneRow.artifact)).scalar_one()


def release_backbone(session: Session, artifact: str) -> bool:
    """Remove the row of a backbone that no model names any longer; False if one does.
    The caller deletes the artifact after the commit."""
    # Locked first: of two models that are deleted at once, the second sees that the first is gone.
    row = session.get(BackboneRow, artifact, with_for_update=True)
    models = select(ModelRow.id).where(ModelRow.backbone_artifact == artifact).limit(1)
    if row is None or session.scalar(models) is not None:
        return False
    session.delete(row)
    session.flush()
    return True


def count_drifted(session: Session) -> int:
    """How many models have drift that was found and neither acknowledged nor ended by a new calibration."""
    drift, calibration = ModelRow.drift, ModelRow.calibration
    current = drift["calibration"].as_string() == calibration["id"].as_string()
    own = calibration["imported_from"].as_string().is_(None)  # as `ModelRow.own_calibration`
    query = select(func.count()).where(drift["status"].as_string() == "drifted", current, own)
    return session.execute(query.select_from(ModelRow)).scalar_one()


def count_broken_promises(session: Session) -> int:
    """How many models have a promise that was found to be broken.
    One that a new calibration or policy has ended counts until the promise that replaces it is judged."""
    query = select(func.count()).where(ModelRow.promise["status"].as_string() == "broken")
    return session.execute(query.select_from(ModelRow)).scalar_one()


def get_alias(session: Session, name: str, *, lock: bool = False) -> AliasRow:
    """The alias, or `NotFound`."""
    alias = session.get(AliasRow, name, with_for_update=lock)
    if alias is None:
        raise NotFound(f"there is no alias {name!r}; see the list of aliases")
    return alias


def aliases(session: Session) -> list[tuple[AliasRow, ModelRow]]:
    """All aliases by name, each with its model."""
    query = (
        select(AliasRow, ModelRow).join(ModelRow, AliasRow.model_id == ModelRow.id).order_by(AliasRow.name)
    )
    return [(alias, model) for alias, model in session.execute(query)]


def move_alias(session: Session, name: str, model_id: str, *, created_by: str | None = None) -> AliasRow:
    """Point the alias at the model and record the move."""
    alias = session.get(AliasRow, name, with_for_update=True)
    version = 1 + max((move.version for move in alias_moves(session, name, limit=1)), default=0)
    if alias is None:
        alias = AliasRow(name=name, model_id=model_id, version=version)
        session.add(alias)
    alias.model_id, alias.version, alias.updated_at = model_id, version, db_now()
    session.add(AliasMoveRow(name=name, version=version, model_id=model_id, created_by=created_by))
    session.flush()
    session.refresh(alias)
    return alias


def remove_alias(session: Session, name: str, *, created_by: str | None = None) -> None:
    alias = get_alias(session, name, lock=True)
    session.add(AliasMoveRow(name=name, version=alias.version + 1, model_id=None, created_by=created_by))
    session.delete(alias)
    session.flush()


def alias_moves(session: Session, name: str, *, limit: int) -> list[AliasMoveRow]:
    """The moves of an alias, newest first."""
    query = (
        select(AliasMoveRow)
        .where(AliasMoveRow.name == name)
        .order_by(AliasMoveRow.version.desc())
        .limit(limit)
    )
    return list(session.scalars(query))
