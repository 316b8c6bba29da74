"""Digits with a square: a shortcut that MaskTune removes."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from launcher.demo.digits_zip import CLASSES, SHARE, write_zip
from launcher.demo.steps import Steps
from masktune import Dataset
from masktune.cli.progress import transfer_bar
from masktune.contract.report import Report
from masktune.contract.report.text import percent
from masktune.contract.report.text.names import ARM_NAMES, in_order
from masktune.contract.vocabulary import Arm

FIELDS: dict[str, Any] = {
    "backbone": "small_cnn",
    "epochs": 15,
    "batch_size": 32,
    "optimizer": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9},
    # With so few images, the paper's one epoch is only 34 steps, and its result depends on chance. Test
    # accuracy, each seed on one and on two threads: 0.84 to 0.98 after two epochs (8 seeds), 0.92 to 0.98
    # after three (10 seeds). The control also gets three.
    "finetune": {"epochs": 3},
}


def run(steps: Steps, *, scratch: Path) -> None:
    """Upload, train, compare, predict; the zip to upload is written to the folder `scratch`."""
    steps.heading("2. The data, with a trap in it")
    dataset = _upload(steps, scratch / "digits.zip")

    steps.heading("3. The job: plain training, then MaskTune")
    steps.say(
        "Train as usual. Find what the model looks at. Mask exactly that, and train three more epochs,",
        "so that it has to look elsewhere. A control gets the same three epochs without masks.",
    )
    job = steps.training(steps.client.jobs.start("masktune", dataset=dataset.id, **FIELDS))

    steps.heading("4. What changed")
    steps.say(*_measured(steps.report(job)))

    samples = islice(steps.client.datasets.samples(dataset.id, split="test", label=CLASSES[1]), 40)
    sample = steps.disputed(job, list(samples), Arm.MASKTUNE)
    steps.heading("5. Predictions, with the right to say “I don't know”")
    steps.say(f"Test image {sample.id}, the first on which the models disagree: {sample.group}.")
    steps.answers(job, sample, Arm.MASKTUNE)
    steps.say(
        "Both hold for images like those of the calibration split. This one is not like them: the square",
        "has changed sides. No certificate says anything about shifted data.",
    )
    steps.saliency(job, sample, (Arm.ERM, Arm.MASKTUNE))


def _upload(steps: Steps, archive: Path) -> Dataset:
    """Make the zip, upload it, and wait for the import."""
    counts = write_zip(archive)
    steps.say(
        f"{counts.train + counts.test:,} real handwritten digits. The task: is it 0-4 or 5-9?",
        f"The trap: in training, a red square sits in the corner of {SHARE:.0%} of the 0-4",
        f"and of {1 - SHARE:.0%} of the 5-9. It is easier to see than the digit.",
        f"In the {counts.test} test images it is the other way round: on every 5-9, on no 0-4.",
        "A model that learned the square fails there.",
    )
    with transfer_bar(steps.console, "uploading digits.zip") as on_sent:
        dataset = steps.client.datasets.upload(archive, name="digits with a square", on_sent=on_sent)
    return steps.imported(dataset)


def _measured(report: Report) -> list[str]:
    """Sentences about the measured accuracies, whatever these turn out to be."""

    by_arm = report.metrics.get("test", {})
    rates = ", ".join(f"{ARM_NAMES[arm]} {percent(by_arm[arm].accuracy)}" for arm in in_order(by_arm))
    lines = [f"Accuracy with the square on the wrong class: {rates}."] if rates else []
    if Arm.ERM in by_arm and by_arm[Arm.ERM].accuracy < 0.5:
        lines.append("Plain training does worse than guessing there: it learned the square.")
    return lines
