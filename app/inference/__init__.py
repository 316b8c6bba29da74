"""Inference: a loaded pair → one batched forward pass. The only part of the front that uses torch.

Importing this package does not import torch; the first prediction, or `check_forward`, does.
"""

from typing import Annotated

from app.http.deps import opened
from app.inference.engines.choice import check_forward
from app.inference.scheduling.admission import Admission
from app.inference.serving import SLOW_IMAGES, SLOW_METHODS, ForwardResult, Inference
from app.inference.types import Calibration, Engine, Explain, Pair, Scores, StoredNetwork, Upload

__all__ = [
    "SLOW_IMAGES",
    "SLOW_METHODS",
    "Admission",
    "Calibration",
    "Engine",
    "Explain",
    "ForwardResult",
    "Inference",
    "InferenceDep",
    "Pair",
    "Scores",
    "StoredNetwork",
    "Upload",
    "check_forward",
]

InferenceDep = Annotated[Inference, opened("inference")]
