"""What the stages of a job are called where people read them."""

from __future__ import annotations

from collections.abc import Mapping

STAGES: Mapping[str, str] = {
    "import": "checking images",
    "erm": "plain training",
    "mask": "masking",
    "finetune": "masked finetuning",
    "control": "control training",
    "retrain_head": "last-layer retraining",
    "head_control": "last-layer control",
    "repeat": "training with other seeds",
    "calibrate": "calibration",
    "evaluate": "evaluation",
    "predict": "prediction",
}
