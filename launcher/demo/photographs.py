"""Digits over photographs: the background is the shortcut, which masking does not hide."""

from __future__ import annotations

from itertools import islice

from launcher.demo.steps import Steps
from masktune import Dataset
from masktune.contract.report.text.names import arm_after
from masktune.contract.vocabulary import Arm

SOURCE = "builtin:digits-on-photos"


def run(steps: Steps) -> None:
    """Import, train, compare, predict."""
    steps.heading("2. The data, with a trap in it")
    dataset = _import(steps)

    steps.heading("3. The job: plain training, and two ways past the shortcut")
    steps.say(
        "A network that knows photographs describes each image once; plain training fits its last layer.",
        "Then, without being told of the backgrounds, it infers which images lack the pattern of their",
        "class, and refits the last layer so that these count as much as the others. MaskTune, asked for",
        "here, masks what the model looks at and trains the last layer further. Each has a control.",
    )
    job = steps.training(
        steps.client.jobs.start("mitigate", dataset=dataset.id, masktune=True, groups="early_stages")
    )

    steps.heading("4. What changed")
    report = steps.report(job)
    arm = arm_after(report)

    group = "loop · flower"
    samples = steps.client.datasets.samples(dataset.id, split="test", label="loop")
    elsewhere = [sample for sample in islice(samples, 80) if sample.group == group]
    sample = steps.disputed(job, elsewhere, arm)
    steps.heading("5. Predictions, with the right to say “I don't know”")
    steps.say(f"Test image {sample.id}, the first on which the models disagree: {sample.group}.")
    steps.answers(job, sample, arm)
    steps.say(
        "Both hold for images like those of the calibration split, where few loops stand over the flower.",
        "No certificate says anything about images of a kind that is rare there.",
    )
    steps.saliency(job, sample, (Arm.ERM, Arm.MASKTUNE, Arm.RETRAINED))


def _import(steps: Steps) -> Dataset:
    steps.say(
        "Real handwritten digits, drawn over crops of two photographs. The task: does the digit have a",
        "closed loop (0, 6, 8, 9) or not (1, 2, 3, 5, 7)?",
        "The trap: in training, 95 % of the loops stand over the temple, and 95 % of the others over the",
        "flower. The background is easier to see than the loop. In test, each class stands over either",
        "equally often: a model that learned the background fails on half of the images.",
    )
    return steps.imported(steps.client.datasets.from_source(SOURCE, name="digits on photographs"))
