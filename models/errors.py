"""The base class of this package's errors. Does not import torch."""

from __future__ import annotations

from typing import ClassVar


class LearningError(Exception):
    """The message says what is wrong and how to fix it; `reason` is a stable code for programs.

    LearningError
    ├── BackboneError        models.backbones_errors
    ├── CheckpointError      models.checkpoints
    ├── ConfigError          models.config
    ├── Diverged             models.train
    ├── HeadError            models.heads
    ├── MaskSetError         models.mask_set
    ├── ModelError           models.export
    ├── OptimizerMismatch    models.optim
    ├── SplitTooSmall        models.readiness
    ├── StoreError           models.data.store
    └── UnknownMethod        models.saliency
    """

    reason: ClassVar[str]
