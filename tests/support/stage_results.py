"""Results of stages for tests: each with all that a stage of its kind leaves."""

from __future__ import annotations

from typing import Any

from masktune.contract.ids import new_id
from worker.results import AnyResult, result_from_json

CALIBRATION: dict[str, Any] = {
    "id": "cal_1",
    "artifact": "calibrations/cal_1",
    "n": 40,
    "n_subjects": None,
    "copies_left_out": 0,
    "same_subject_left_out": None,
    "score_name": "max_softmax",
    "scores": ["max_softmax"],
    "temperature": 1.0,
    "created_at": 0.0,
    "job": "job_1",
    "unlike_threshold": None,
}
PATTERN_JUDGE: dict[str, Any] = {
    "artifact": "pattern_judges/pat_1",
    "job": "job_1",
    "module": "block2",
    "created_at": 0.0,
}
EVALUATION: dict[str, Any] = {
    "dataset": "ds_1",
    "dataset_name": "pictures",
    "n": 40,
    "groups": "labelled",
    "smallest_group": 10,
    "accuracy": 0.9,
    "worst_group_accuracy": 0.5,
    "low": 0.2,
    "high": 0.8,
    "created_at": 1.0,
}
MODEL: dict[str, Any] = {
    "id": new_id("mdl"),
    "arm": "erm",
    "artifact": "models/mdl_1",
    "erm_id": None,
    "job_id": None,
    "classes": ["a", "b"],
    "backbone": "small_cnn",
    "image_size": 28,
}
_RESULTS: dict[str, dict[str, Any]] = {
    "import": {
        "artifact": "datasets/ds_1",
        "ready": True,
        "problems": [],
        "classes": ["a", "b"],
        "summary": {},
    },
    "erm": {"artifact": "jobs/x/erm", "model": MODEL, "epoch": 1, "weights": "0" * 64},
    "infer_groups": {"artifact": None},
    "mask": {
        "artifact": "jobs/x/mask",
        "summary": {
            "images": 40,
            "masked_share": 0.1,
            "nothing_masked": 0,
            "non_finite": 0,
            "seconds": 1.0,
            "images_per_second": 40.0,
        },
        "sigmas": None,
    },
    "calibrate": {"artifact": None, "calibrations": {}},
    "evaluate": {"artifact": "jobs/x/report", "compared": {}, "metrics": {}, "verdict": None},
}


def stage_result(stage: str, **changes: Any) -> AnyResult:
    """What this stage left within a second, apart from the `changes`."""
    return result_from_json({"stage": stage, "seconds": 1.0} | _RESULTS[stage] | changes)
