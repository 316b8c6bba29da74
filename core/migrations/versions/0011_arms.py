"""Arms say which control they are; groups that somebody labelled are called so

Revision: 0011
"""

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_JSON = sa.JSON().with_variant(JSONB(), "postgresql")
_JOBS = sa.table(
    "jobs",
    sa.column("id", sa.String),
    sa.column("kind", sa.String),
    *(sa.column(name, _JSON) for name in ("params", "inputs", "done", "models", "metrics")),
)
_EVENTS = sa.table(
    "events",
    sa.column("job_id", sa.String),
    sa.column("seq", sa.Integer),
    sa.column("type", sa.String),
    sa.column("data", _JSON),
)
_MODELS = sa.table("models", sa.column("job_id", sa.String), sa.column("arm", sa.String))
_KINDS = ("erm", "finetune", "masktune", "retrain_head", "evaluate")
"""Kinds of jobs that have models and figures by arm."""
_AT_ONCE = 500


def upgrade() -> None:
    with op.batch_alter_table("models") as models:
        models.alter_column("arm", type_=sa.String(32), existing_type=sa.String(16), existing_nullable=False)
    connection = op.get_bind()
    of_heads = sa.select(_JOBS.c.id).where(_JOBS.c.kind == "retrain_head")
    control = sa.update(_MODELS).where(_MODELS.c.arm == "control")
    connection.execute(control.where(_MODELS.c.job_id.in_(of_heads)).values(arm="retrained_control"))
    connection.execute(control.values(arm="masktune_control"))
    heads = {
        (job["inputs"].get("model_ids") or {}).get("control") for job in _jobs(connection, "retrain_head")
    }
    for job in _jobs(connection, *_KINDS):
        controls = {job["models"].get("control"), _evaluated(job).get("models", {}).get("control")} - {None}
        fitted = job["kind"] == "retrain_head" or bool(controls & heads)
        words = {"control": "retrained_control" if fitted else "masktune_control", "given": "baseline"}
        _reword(connection, job, words)


def downgrade() -> None:
    raise RuntimeError(
        "there is no way back across revision 0011: restore the backup that was made before the upgrade"
    )


def _jobs(connection: sa.Connection, *kinds: str) -> Iterator[sa.RowMapping]:
    query = sa.select(_JOBS).where(_JOBS.c.kind.in_(kinds)).order_by(_JOBS.c.id).limit(_AT_ONCE)
    after = ""
    while page := connection.execute(query.where(_JOBS.c.id > after)).mappings().all():
        yield from page
        after = page[-1]["id"]


def _evaluated(job: sa.RowMapping) -> Mapping[str, Any]:
    evaluation: Mapping[str, Any] = job["done"].get("evaluate", {})
    return evaluation


def _reword(connection: sa.Connection, job: sa.RowMapping, words: Mapping[str, str]) -> None:
    """Rewrite the job and the events that hold its figures. Classes and groups may have any name: what is
    rewritten are the keys of objects by arm, and nothing below them."""

    def by_arm(objects: Mapping[str, Any]) -> dict[str, Any]:
        return {words.get(arm, arm): one for arm, one in objects.items()}

    new = {name: dict(job[name]) for name in ("params", "inputs", "done", "models", "metrics")}
    if job["kind"] == "retrain_head" and new["params"].get("groups") == "given":
        new["params"]["groups"] = "labels"
    if new["inputs"].get("model_ids"):
        new["inputs"]["model_ids"] = by_arm(new["inputs"]["model_ids"])
    new |= {"models": by_arm(new["models"]), "metrics": by_arm(new["metrics"])}
    for stage, result in new["done"].items():
        if stage == "evaluate":
            figures = {name: by_arm(result[name]) for name in ("models", "metrics") if name in result}
            new["done"][stage] = result | figures
        elif "models" in result:
            models = [model | {"arm": words.get(model["arm"], model["arm"])} for model in result["models"]]
            new["done"][stage] = result | {"models": models}
    if any(new[name] != job[name] for name in new):
        connection.execute(sa.update(_JOBS).where(_JOBS.c.id == job["id"]).values(new))
    figures_of = sa.select(_EVENTS).where(_EVENTS.c.job_id == job["id"], _EVENTS.c.type == "metrics")
    for event in connection.execute(figures_of).mappings().all():
        this = (_EVENTS.c.job_id == job["id"], _EVENTS.c.seq == event["seq"])
        connection.execute(sa.update(_EVENTS).where(*this).values(data=by_arm(event["data"])))
