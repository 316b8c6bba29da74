"""The reject option: scores, the calibration table, thresholds with a promise. No torch.

An input is answered when its score is finite and at least the threshold. Coverage is the share of
inputs that are answered, selective risk the share of answers that are wrong.
"""

from models.selective.certify import best_certifiable_risk, samples_at_least, samples_needed
from models.selective.curve import CurvePoint, RiskCoverage, risk_coverage
from models.selective.policies import (
    GroupSelection,
    Planning,
    Selection,
    answer_all,
    by_group,
    certify,
    threshold_for_coverage,
    threshold_for_score,
)
from models.selective.scores import (
    SCORES,
    Scored,
    ScoreName,
    ScoreNeedsErm,
    decide,
    log_probabilities,
    score,
)
from models.selective.table import DEFAULT_CONFIDENCE, CalibrationTable, OperatingPoint, operating_point

__all__ = [
    "DEFAULT_CONFIDENCE",
    "SCORES",
    "CalibrationTable",
    "CurvePoint",
    "GroupSelection",
    "OperatingPoint",
    "Planning",
    "RiskCoverage",
    "ScoreName",
    "ScoreNeedsErm",
    "Scored",
    "Selection",
    "answer_all",
    "best_certifiable_risk",
    "by_group",
    "certify",
    "decide",
    "log_probabilities",
    "operating_point",
    "risk_coverage",
    "samples_at_least",
    "samples_needed",
    "score",
    "threshold_for_coverage",
    "threshold_for_score",
]
