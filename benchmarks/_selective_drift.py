"""False alarms of drift where nothing changes but the images of a subject come on several days.

A process counts one image of a subject for a calibration. Beside it stand one a day, and every image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.selective.usage import CountedSubjects
from models.selective import CalibrationTable, Windows, references
from models.statistics import Share
from models.types import Floats

ALLOWED = 0.01
RUNS = 60
_CALIBRATION, _SUBJECTS, _LOOK = 500, 400, 50
_A_DAY = 4  # subjects that come for the first time
_DAYS = (2, 5)
_CORRELATIONS = (0.5, 1.0)
"""Of the scores of a subject's images, one on each of its days."""


def rows(runs: int, seed: int) -> list[dict[str, Any]]:
    """One row for each number of days and correlation: the share of runs in which drift is noticed."""
    rng = np.random.default_rng(seed)
    figures = []
    for days in _DAYS:
        for correlation in _CORRELATIONS:
            alarms: dict[str, list[bool]] = {"once": [], "once a day": [], "every image": []}
            for run in range(runs):
                calibration = rng.standard_normal(_CALIBRATION)
                subjects, scores = _served(days, correlation, rng)
                first = CountedSubjects()
                once = np.array([first.is_first(str(run), str(subject)) for subject in subjects])
                # Each of the day's two images shows the same: the second counts where every image does.
                daily = np.tile([True, False], len(scores) // 2)
                for name, counted in {"once": once, "once a day": daily, "every image": daily | True}.items():
                    alarms[name].append(_notices(calibration, scores[counted]))
            row = {"days": days, "correlation": correlation}
            figures.append(row | {name: float(np.mean(each)) for name, each in alarms.items()})
    return figures


def _served(days: int, correlation: float, rng: np.random.Generator) -> tuple[NDArray[np.int64], Floats]:
    """Subjects and scores of images in order: each comes on so many days in a row, with two alike images."""
    subjects = np.repeat(np.arange(_SUBJECTS), days)
    day = subjects // _A_DAY + np.tile(np.arange(days), _SUBJECTS)
    visits = subjects[np.argsort(day, kind="stable")]
    own, of_visit = rng.standard_normal(_SUBJECTS)[visits], rng.standard_normal(len(visits))
    scores = math.sqrt(correlation) * own + math.sqrt(1 - correlation) * of_visit
    return np.repeat(visits, 2), np.repeat(scores, 2)


def _notices(calibration: Floats, scores: Floats) -> bool:
    """Whether any look at these counted scores finds drift."""
    levels = references(CalibrationTable.build(calibration, np.ones(len(calibration), bool)))
    expected = {str(level.coverage): level.answered for level in levels}
    windows = Windows()
    for first in range(0, len(scores), _LOOK):
        part = scores[first : first + _LOOK]
        above = {
            str(level.coverage): Share(int((part >= level.threshold).sum()), len(part)) for level in levels
        }
        if any(look.drifted for look in windows.look(above, expected)):
            return True
    return False


def targets(figures: Sequence[dict[str, Any]], runs: int) -> dict[str, dict[str, Any]]:
    """Drift is falsely noticed in at most one run of a hundred, within three standard errors."""
    allowed = ALLOWED + 3 * math.sqrt(ALLOWED * (1 - ALLOWED) / runs)
    worst = max(figure["once"] for figure in figures)
    return {
        "drift/false alarms with returning subjects": {
            "value": worst,
            "at_most": allowed,
            "ok": worst <= allowed,
        }
    }
