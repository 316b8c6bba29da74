"""What a job is made of: each stage reads artifacts, writes one, and returns what it has to tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from core.vocabulary import Stage
from worker.stages.calibrate import calibrate
from worker.stages.context import Result, StageContext
from worker.stages.control import control
from worker.stages.erm import erm
from worker.stages.evaluate import evaluate
from worker.stages.finetune import finetune
from worker.stages.import_ import import_
from worker.stages.mask import mask
from worker.stages.predict import predict
from worker.stages.retrain_head import retrain_head

StageFunction = Callable[[StageContext], Result]

STAGE_FUNCTIONS: Mapping[Stage, StageFunction] = {
    Stage.IMPORT: import_,
    Stage.ERM: erm,
    Stage.MASK: mask,
    Stage.FINETUNE: finetune,
    Stage.CONTROL: control,
    Stage.RETRAIN_HEAD: retrain_head,
    Stage.CALIBRATE: calibrate,
    Stage.EVALUATE: evaluate,
    Stage.PREDICT: predict,
}
