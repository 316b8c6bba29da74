"""The base class of this package's errors. Does not import torch."""

from __future__ import annotations

from typing import ClassVar


class LearningError(Exception):
    """The message says what is wrong and how to fix it; `reason` is a stable code for programs.

    LearningError
    ├── BackboneError        models.backbones.errors
    ├── CheckpointError      models.training.checkpoints
    ├── Diverged             models.training.fit
    ├── HeadError            models.mitigation.features
    ├── MaskSetError         models.masking.store
    ├── ModelError           models.export
    ├── OptimizerMismatch    models.training.optim
    ├── SplitTooSmall        models.data.loading.loaders
    ├── StoreError           models.data.store
    └── UnknownMethod        models.saliency
    """

    reason: ClassVar[str]
