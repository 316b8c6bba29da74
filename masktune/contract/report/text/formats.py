"""How figures are printed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from masktune.contract.report.accuracy import Difference
from masktune.contract.report.base import Proportion

_HUNDRED = 100
"""Images: of fewer, a count says more than a share."""


def percent(share: float | None, digits: int = 1) -> str:
    """A share, "76.2 %" with a non-breaking space; a dash if there is none."""
    return "–" if share is None else f"{100 * share:.{digits}f}\u00a0%"


def whole_percent(share: float) -> str:
    """A share with no more decimals than it needs."""
    return f"{100 * share:g}\u00a0%"


def out_of_100(*shares: float) -> tuple[str, ...]:
    """Shares as counts out of 100, which is all: whole, unless only a decimal tells one from the first."""
    whole, decimal = (tuple(_count(share, digits) for share in shares) for digits in (0, 1))
    return decimal if whole[0] in whole[1:] and decimal[0] not in decimal[1:] else whole


def _count(share: float, digits: int) -> str:
    all_right = share > 1 - 1e-9  # a weighted mean of ones may miss one by a rounding
    return f"{100 if all_right else min(100 * share, 100 - 10**-digits):.{digits}f}"


def right_counts(first: Proportion, *others: Proportion) -> list[str]:
    """How many answers are right: “95 of 100”, and of the others “90”; where one has fewer than 100 images,
    “3 of 4” and “2”, or “2 of 5”."""
    if min(one.n for one in (first, *others)) >= _HUNDRED:
        of_first, *of_others = out_of_100(*(one.accuracy for one in (first, *others)))
        return [f"{of_first} of 100", *of_others]
    counts = (f"{one.correct:,}" + ("" if one.n == first.n else f" of {one.n:,}") for one in others)
    return [f"{first.correct:,} of {first.n:,}", *counts]


def more_of_100(difference: float) -> str:
    """A difference of shares as counts out of 100, to be followed by what is counted: "12 more of 100"."""
    count, _ = out_of_100(abs(difference), 0.0)
    return f"{count} {'more' if difference >= 0 else 'fewer'} of 100"


def points(difference: float) -> str:
    """A difference of shares as signed percentage points."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def points_interval(low: float, high: float) -> str:
    """The interval of a difference of shares in percentage points."""
    return f"{points(low)} to {points(high)}"


def points_apart(difference: float) -> str:
    """How far one share is from another, to be followed by the other: "76.2 points above"."""
    if abs(difference) < 0.0005:
        return "level with"
    return f"{100 * abs(difference):.1f} points {'above' if difference > 0 else 'below'}"


def percent_interval(low: float | None, high: float | None) -> str:
    """The interval of a share in percent, without the sign; empty if there is none."""
    return "" if low is None or high is None else f"{100 * low:.1f} – {100 * high:.1f}"


def confidence_level(confidence: float) -> str:
    """The confidence of an interval, "97.5 %"."""
    return f"{100 * confidence:.4g}\u00a0%"


def difference_interval(difference: Difference) -> str:
    """The interval in points, with its confidence: "95 % interval +1.0 to +9.3"."""
    ends = points_interval(difference.low, difference.high)
    return f"{confidence_level(difference.confidence)} interval {ends}"


def effect(size: float) -> str:
    """An effect between 0 and 1, or below 0."""
    return f"{size:.2f}".replace("-", "−")


def first_names(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def sample_count(n: int, n_subjects: int | None, noun: str = "sample", word: str = "subject") -> str:
    """A number of samples and, where there are any, of their subjects, by the owner's `word` for one: "1,200
    images of 100 patients"."""
    subjects = "" if n_subjects is None else f" of {n_subjects:,} {word}{'' if n_subjects == 1 else 's'}"
    return f"{n:,} {noun}{'' if n == 1 else 's'}{subjects}"


def calibration_samples(n: int, n_subjects: int | None) -> str:
    """How many samples of a calibration split count, and how many are the only one of their subject."""
    subjects = "" if n_subjects is None else f" ({n_subjects:,} subjects, one image of each)"
    return f"{n:,} calibration samples{subjects}"


def duration(seconds: float | None) -> str:
    """Format a duration, e.g. "45 s", "3 min 20 s", "2 h 5 min"."""
    if seconds is None:
        return "–"
    if 0 < seconds < 1:
        return "under 1 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"


def moment(at: datetime) -> str:
    """A time with its zone, e.g. "3 Nov 2026, 10:15 UTC"."""
    return f"{at.day} {at:%b %Y, %H:%M %Z}"


def byte_size(count: float | None) -> str:
    """A number of bytes, e.g. "35 MB", "1.4 GB"; a dash if there is none."""
    if count is None:
        return "–"
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f}\u00a0{unit}"
        count /= 1000
    return f"{count:.1f}\u00a0GB"
