"""What a job is made of: each stage reads artifacts, writes one, and returns what it has to tell."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from core.vocabulary import Stage
from worker.stages.context import Result, StageContext

StageFunction = Callable[[StageContext], Result]


def stage_function(stage: Stage) -> StageFunction:
    """The function of a stage, out of the module that both are named after.

    Imported now, for an import has no use for the others, nor for torch, which takes a second to load.
    """
    name = "import_" if stage is Stage.IMPORT else stage.value
    function: StageFunction = getattr(import_module(f"{__name__}.{name}"), name)
    return function
