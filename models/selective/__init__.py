"""The reject option: scores, the calibration table, certified thresholds. Does not import torch.

An input is answered if its score is finite and at least the threshold. Coverage is the share of
inputs that are answered, selective risk the share of answers that are wrong. docs/ABSTENTION.md says
what a certificate promises and what it does not.
"""

from models.selective.by_class import certify_classes
from models.selective.certify import best_certifiable_risk, samples_at_least, samples_needed
from models.selective.choice import select
from models.selective.curve import ClassTables, CurvePoint, MixPoint, RiskCoverage, reweighted, risk_coverage
from models.selective.policies import (
    ClassPromise,
    GroupSelection,
    GroupVerdict,
    Planning,
    Selection,
    answer_all,
    by_group,
    certify,
    coverage_ratio,
    threshold_for_coverage,
    threshold_for_score,
)
from models.selective.prediction_sets import PredictionSets
from models.selective.scores import (
    SCORES,
    Scored,
    ScoreNeedsErm,
    decide,
    log_probabilities,
    log_softmax,
    score,
)
from models.selective.table import (
    DEFAULT_CONFIDENCE,
    CalibrationTable,
    OperatingPoint,
    SplitTables,
    count_split,
    operating_point,
)
from models.selective.temperature import fit_temperature
from models.selective.training_neighbours import (
    LEAST_HELD_OUT,
    MOST_VECTORS,
    NEIGHBOURS,
    NEIGHBOURS_FILE,
    NeighboursError,
    TrainingNeighbours,
)
from models.selective.windows import (
    ALPHA,
    DISAGREEMENT,
    REFERENCES,
    WINDOW,
    Comparison,
    Look,
    Reference,
    Windows,
    compare,
    look_once,
    references,
)
from models.statistics import Share

__all__ = [
    "ALPHA",
    "DEFAULT_CONFIDENCE",
    "DISAGREEMENT",
    "LEAST_HELD_OUT",
    "MOST_VECTORS",
    "NEIGHBOURS",
    "NEIGHBOURS_FILE",
    "REFERENCES",
    "SCORES",
    "WINDOW",
    "CalibrationTable",
    "ClassPromise",
    "ClassTables",
    "Comparison",
    "CurvePoint",
    "GroupSelection",
    "GroupVerdict",
    "Look",
    "MixPoint",
    "NeighboursError",
    "OperatingPoint",
    "Planning",
    "PredictionSets",
    "Reference",
    "RiskCoverage",
    "ScoreNeedsErm",
    "Scored",
    "Selection",
    "Share",
    "SplitTables",
    "TrainingNeighbours",
    "Windows",
    "answer_all",
    "best_certifiable_risk",
    "by_group",
    "certify",
    "certify_classes",
    "compare",
    "count_split",
    "coverage_ratio",
    "decide",
    "fit_temperature",
    "log_probabilities",
    "log_softmax",
    "look_once",
    "operating_point",
    "references",
    "reweighted",
    "risk_coverage",
    "samples_at_least",
    "samples_needed",
    "score",
    "select",
    "threshold_for_coverage",
    "threshold_for_score",
]
