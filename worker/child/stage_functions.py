"""Which function is a stage: that of the stage's name, in the module of the same name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from masktune.contract.vocabulary import Stage
from worker.results import AnyResult
from worker.stages.context import StageContext

StageFunction = Callable[[StageContext], AnyResult]


def stage_function(stage: Stage) -> StageFunction:
    """Return the function of a stage.

    Its module is imported on demand: an import job needs none of the others, nor torch, which takes a second.
    """
    name = "import_" if stage is Stage.IMPORT else stage.value
    package = "worker.report" if stage is Stage.EVALUATE else "worker.stages"
    function: StageFunction = getattr(import_module(f"{package}.{name}"), name)
    return function
