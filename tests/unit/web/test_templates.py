"""Parts of pages, drawn from what the API says."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from client import Drift
from web import words
from web.shell import rendered


def drawn(template: str, **values: Any) -> str:
    """The template with links that lead nowhere, its spaces made one."""
    return re.sub(r"\s+", " ", rendered(template, here=lambda path: path, **values))


# --- drift --------------------------------------------------------------------------------------------


def drift(status: str) -> Drift:
    return Drift.model_validate(
        {
            "model": "mdl_1",
            "calibration": "cal_1",
            "days": 7,
            "served": {"inputs": 900, "answered": 800, "abstained": {}, "coverage": 8 / 9},
            "alpha": 0.01,
            "status": status,
            "certificate_trusted": status != "drifted",
            "statement": "What is served …",
        }
    )


@pytest.mark.parametrize(
    ("status", "tone", "badge"),
    [
        ("drifted", "bad", "certificates may not be trusted"),
        ("no_sign_of_drift", "good", "certificates may be trusted"),
        ("too_few", "unsure", "certificates may be trusted"),
    ],
)
def test_a_model_that_drifted_is_shown_as_such(status: str, tone: str, badge: str) -> None:
    page = drawn("drift", drift=drift(status))
    assert f'<div class="callout {tone}">' in page
    assert f'<span class="badge {tone}">{badge}</span>' in page


def test_every_word_of_the_api_has_its_tone() -> None:
    assert set(get_args(Drift.model_fields["status"].annotation)) <= words.TONES.keys()
