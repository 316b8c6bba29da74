"""The stages of a job: each reads artifacts, writes one artifact, and returns its result."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from masktune.contract.vocabulary import Stage
from worker.stages.context import Result, StageContext

StageFunction = Callable[[StageContext], Result]


def stage_function(stage: Stage) -> StageFunction:
    """The function of a stage, from the module of the same name.

    The module is imported on demand: an import job needs none of the others, nor torch, which takes a second.
    """
    name = "import_" if stage is Stage.IMPORT else stage.value
    function: StageFunction = getattr(import_module(f"{__name__}.{name}"), name)
    return function
