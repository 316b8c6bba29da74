"""Hyperparameters: one frozen object, always passed whole, from the request to the JSON beside the weights.

Names, types, bounds, defaults and descriptions stand here and nowhere else. The request of a job, OpenAPI,
the command line's help and the dashboard's form are derived from them; defaults that depend on the data set
are in `models.defaults`. Standard library only.
"""

from masktune.contract.hyperparameters.choices import (
    Augmentation,
    BiasAssignment,
    BiasKind,
    Crop,
    DatasetFormat,
    Fill,
    Gate,
    GroupSource,
    OptimizerName,
    Precision,
    ScheduleName,
    ScoreName,
    Target,
)
from masktune.contract.hyperparameters.masking import PAPER_SIGMAS, FinetuneConfig, MaskingConfig
from masktune.contract.hyperparameters.mitigation import (
    HeadConfig,
    MitigateConfig,
    RetrainConfig,
    hyperparameters_of,
)
from masktune.contract.hyperparameters.training import Hyperparameters, OptimizerConfig, ScheduleConfig

__all__ = [
    "PAPER_SIGMAS",
    "Augmentation",
    "BiasAssignment",
    "BiasKind",
    "Crop",
    "DatasetFormat",
    "Fill",
    "FinetuneConfig",
    "Gate",
    "GroupSource",
    "HeadConfig",
    "Hyperparameters",
    "MaskingConfig",
    "MitigateConfig",
    "OptimizerConfig",
    "OptimizerName",
    "Precision",
    "RetrainConfig",
    "ScheduleConfig",
    "ScheduleName",
    "ScoreName",
    "Target",
    "hyperparameters_of",
]
