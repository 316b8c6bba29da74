"""Each pass or training of a stage has an equal share of its progress."""

from __future__ import annotations

from fractions import Fraction

from models.run import Progress, Run
from worker.networks.features import Passes


def test_a_training_has_the_share_of_a_pass_and_its_epochs_divide_it() -> None:
    reports: list[Progress] = []
    passes = Passes(Run(on_progress=reports.append), 2)
    for report in (Progress(0, 1, 1, 4, 0.0), Progress(1, 3, 2, 4, 0.0)):
        with passes.next() as run:
            run.on_progress(report)
            run.on_progress(Progress(report.epochs, report.epochs, 0, 4, 0.0))
    shares = [Fraction(report.step, report.steps) for report in reports]
    assert shares == [Fraction(1, 8), Fraction(1, 2), Fraction(3, 4), Fraction(1)]
