"""The pattern judges that are stored with models: which class's pattern an image shows that comes later.

The artifact `pattern_judges/{id}` holds `judge.npz` (`models.mitigation.pattern_judge.PatternJudge`). It
reads an early stage of one network, and is stored with the model whose network that is. A model goes by its
own judge, else by that of its ERM model, with which it is loaded as a pair: a retrained last layer leaves the
early stages as they were, and MaskTune's finetuning changes them. So a head that was retrained on a MaskTune
model goes by the judge of the ERM model, its partner, and not by that of the MaskTune model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from masktune.contract.ids import pattern_judge_id
from models.backbones.network import Network
from models.mitigation.pattern_judge import PatternJudge, judged_passes
from worker.context import StageContext
from worker.results import ModelSpec, PatternJudgeSpec

JUDGE = "judge.npz"


def save_judge(context: StageContext, judge: PatternJudge) -> PatternJudgeSpec:
    """Write the job's judge."""
    artifact = f"pattern_judges/{pattern_judge_id(context.spec.job_id, context.spec.resumed)}"
    with context.artifacts.writing(artifact) as folder:
        judge.save(folder / JUDGE)
    return PatternJudgeSpec(
        artifact=artifact, job=context.spec.job_id, module=judge.stage, created_at=time.time()
    )


def judged_model(context: StageContext, model: ModelSpec) -> ModelSpec | None:
    """Whose judge the model goes by: it or its ERM model; None if neither has one."""
    judged = model if model.pattern_judge is not None else context.spec.models.get(model.erm_id or "")
    return None if judged is None or judged.pattern_judge is None else judged


@contextmanager
def pattern_names(
    context: StageContext, model: ModelSpec, networks: Mapping[str, Network]
) -> Iterator[Callable[[], list[str]] | None]:
    """Of each image of a batch, the name of the class whose pattern it shows: a function to call inside the
    block, in the thread and after the forward passes of `networks`, by model id; None without a judge."""
    judged = judged_model(context, model)
    if judged is None or judged.pattern_judge is None:
        yield None
        return
    judge = PatternJudge.load(context.artifacts.file(judged.pattern_judge.artifact, JUDGE))
    with judged_passes(networks[judged.id], judge) as patterns:
        yield lambda: [judged.classes[pattern] for pattern in patterns()]
