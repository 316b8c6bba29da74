"""What a further seed's models answer, kept in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from masktune.contract.vocabulary import Arm
from worker.stages.seeds import SeedPredictions


def test_predictions_are_read_as_they_were_saved(tmp_path: Path) -> None:
    answers = {Arm.ERM: np.array([0, 1, -1]), Arm.RETRAINED_CONTROL: np.array([1, 1, 0])}
    SeedPredictions(2**63 - 2, True, {"val": answers, "test": answers}).save(tmp_path / "seed.npz")
    read = SeedPredictions.load(tmp_path / "seed.npz")
    assert (read.seed, read.divided, list(read.predictions)) == (2**63 - 2, True, ["val", "test"])
    for by_arm in read.predictions.values():
        assert {arm: predicted.tolist() for arm, predicted in by_arm.items()} == {
            arm: predicted.tolist() for arm, predicted in answers.items()
        }
