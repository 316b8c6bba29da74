"""What the learning gives up for, and tells its caller how to mend. No torch here."""

from __future__ import annotations

from typing import ClassVar


class LearningError(Exception):
    """The message says what is wrong and what to do; `reason` is the same for a program.

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
