"""Ids: a prefix that names the kind, a time that sorts, and 80 bits of chance (the layout of ULID)."""

from __future__ import annotations

import hashlib
import re
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, in lower case
_PATTERN = re.compile(r"(ds|job|mdl|cal|key)_[0-9a-hjkmnp-tv-z]{26}")


def new_id(prefix: str) -> str:
    """`prefix_` and 26 characters: 48 bits of milliseconds, 80 random bits. Later ids sort later."""
    number = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    return f"{prefix}_{''.join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))}"


def calibration_id(job_id: str, model_id: str, resumed: int = 0) -> str:
    """Of the model's calibration by the job, which was resumed so many times.

    The same at every attempt: a stage that is run twice writes the same artifact.
    """
    text = f"{job_id}/{model_id}" + (f"/{resumed}" if resumed else "")
    return f"cal_{hashlib.sha256(text.encode()).hexdigest()[:26]}"


def is_id(text: str, prefix: str) -> bool:
    """Whether the text has the shape of an id of this kind; says nothing of its existence."""
    return text.startswith(prefix + "_") and _PATTERN.fullmatch(text) is not None
