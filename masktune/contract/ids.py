"""Ids: a prefix for the kind, then a sortable time and 80 random bits (the layout of ULID)."""

from __future__ import annotations

import hashlib
import re
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, in lower case
_PATTERN = re.compile(r"(ds|job|mdl|cal|key|whk|msg|rev)_[0-9a-hjkmnp-tv-z]{26}")


def new_id(prefix: str) -> str:
    """`prefix_` and 26 characters: 48 bits of milliseconds, then 80 random bits. Later ids sort later."""
    number = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    return f"{prefix}_{''.join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))}"


def calibration_id(job_id: str, model_id: str, resumed: int = 0) -> str:
    """The id of the model's calibration by the job, after the job was resumed `resumed` times.

    It is the same at every attempt, so a stage that runs twice writes the same artifact.
    """
    return _same_id("cal", f"{job_id}/{model_id}", resumed)


def pattern_judge_id(job_id: str, resumed: int = 0) -> str:
    """The id of the judge of patterns that the job fits, at most one; the same at every attempt too."""
    return _same_id("pat", job_id, resumed)


def _same_id(prefix: str, text: str, resumed: int) -> str:
    text += f"/{resumed}" if resumed else ""
    return f"{prefix}_{hashlib.sha256(text.encode()).hexdigest()[:26]}"


def is_id(text: str, prefix: str) -> bool:
    """Whether the text has the form of an id of this kind; whether such an id exists is not checked."""
    return text.startswith(prefix + "_") and _PATTERN.fullmatch(text) is not None
