"""Fits say how far they are, and end with the same weights as those that say nothing."""

from __future__ import annotations

import pytest
import torch

from models.mitigation.logistic import counting_steps, fit_heads
from models.run import Progress, Run, Stopped
from tests.support.seeds import shifted

pytestmark = pytest.mark.trains


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(shifted(0))
    values = torch.randn(60, 5, generator=generator)
    return values, (values[:, 0] > 0).long(), torch.rand(60, 3, generator=generator)


def test_each_step_is_counted_and_none_changes_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.run._REPORT_SECONDS", 0.0)
    reports: list[Progress] = []
    check = counting_steps(Run(on_progress=reports.append), fits=2)
    counted = [fit_heads(*inputs(), penalty=penalty, classes=2, check=check) for penalty in (1.0, 0.01)]
    plain = [fit_heads(*inputs(), penalty=penalty, classes=2) for penalty in (1.0, 0.01)]
    assert all(map(torch.equal, counted, plain))
    steps = [report.step for report in reports]
    assert steps == sorted(set(steps))
    assert all(0 < report.step < report.steps for report in reports)


def test_more_steps_than_expected_are_never_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.run._REPORT_SECONDS", 0.0)
    reports: list[Progress] = []
    check = counting_steps(Run(on_progress=reports.append), fits=10)
    for _ in range(1000):
        check()
    assert reports[0].step < reports[400].step < reports[-1].step < reports[-1].steps


def test_a_fit_that_is_counted_can_be_stopped() -> None:
    with pytest.raises(Stopped):
        fit_heads(*inputs(), penalty=1.0, classes=2, check=counting_steps(Run(should_stop=lambda: True), 1))
