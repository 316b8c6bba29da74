"""What the models of a job's further seeds answer: all that is kept of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from masktune.contract.vocabulary import Arm
from models.runtime.files import replacing
from models.types import Labels
from worker.context import StageContext
from worker.results import RepeatResult


class SeedPredictions(NamedTuple):
    """The predictions (N,) of one seed's models, by split and arm, for every sample of the split in stored
    order. `divided`: whether the groups that its last layer was balanced over divide any class.
    """

    seed: int
    divided: bool
    predictions: Mapping[str, Mapping[Arm, Labels]]

    def save(self, file: Path) -> None:
        arrays = {
            f"{split}/{arm}": predicted
            for split, by_arm in self.predictions.items()
            for arm, predicted in by_arm.items()
        }
        with replacing(file) as partial:
            np.savez_compressed(
                partial,
                seed=self.seed,
                divided=self.divided,
                **arrays,  # type: ignore[arg-type]  # numpy's stub takes any name for `allow_pickle`
            )

    @classmethod
    def load(cls, file: Path) -> Self:
        predictions: dict[str, dict[Arm, Labels]] = {}
        with np.load(file) as arrays:
            for name in arrays.files:
                split, _, arm = name.partition("/")
                if arm:
                    predictions.setdefault(split, {})[Arm(arm)] = arrays[name]
            return cls(int(arrays["seed"]), bool(arrays["divided"]), predictions)


def further_seeds(context: StageContext) -> tuple[SeedPredictions, ...]:
    """Those of the job, in order; none if it has a single seed."""
    repeated = context.spec.stage_result(RepeatResult)
    if repeated is None:
        return ()
    files = context.artifacts.folder(repeated.artifact).glob("*.npz")
    return tuple(sorted(map(SeedPredictions.load, files), key=lambda of_seed: of_seed.seed))
