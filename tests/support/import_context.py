"""The context of an import that no supervisor has started."""

from __future__ import annotations

from core.settings import Settings
from core.storage.artifacts import Artifacts
from masktune.contract.ids import new_id
from masktune.contract.job_params import ImportParams
from masktune.contract.vocabulary import JobKind, Stage
from worker.context import StageContext
from worker.protocol import DatasetSpec, Spec
from worker.workspace import Workspace


def import_context(settings: Settings, dataset: DatasetSpec, params: ImportParams) -> StageContext:
    """What its stage is called with, in the data folder of the settings."""
    artifacts = Artifacts(settings.storage, cache=settings.data_dir / "cache")
    spec = Spec(
        job_id=new_id("job"),
        kind=JobKind.IMPORT,
        attempt=1,
        stages=(Stage.IMPORT,),
        params=params,
        dataset=dataset,
    )
    return StageContext(
        spec=spec,
        stage=Stage.IMPORT,
        settings=settings,
        artifacts=artifacts,
        workspace=Workspace.started(artifacts, spec.job_id, scratch=settings.scratch),
        device="cpu",
        threads=1,
        on_progress=print,
        should_stop=lambda: False,
        log=print,
    )
