"""What every demo does in the same way: follow a job, show its report, compare policies, save pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from masktune import Client, Dataset, Job, JobNotSucceeded, Sample
from masktune.cli.commands.predict import basis, decision
from masktune.cli.output import figure, new_table
from masktune.cli.progress import follow
from masktune.cli.report import comparison, conclusions, legend
from masktune.contract.report import Report
from masktune.contract.vocabulary import Arm

COVERAGE, MAX_RISK, CONFIDENCE = 0.9, 0.05, 0.95
POLICIES: dict[str, dict[str, Any]] = {
    "no policy": {},
    f"coverage={COVERAGE:g}": {"coverage": COVERAGE},
    f"max_risk={MAX_RISK:g}": {"max_risk": MAX_RISK, "risk_confidence": CONFIDENCE},
}


@dataclass(frozen=True)
class Steps:
    """Prints to `console` and writes to the folder `output`."""

    client: Client
    console: Console
    output: Path

    def imported(self, dataset: Dataset) -> Dataset:
        """Wait for the import, and say what it made and noticed."""
        dataset = self.client.datasets.wait(dataset.id, timeout=300)
        splits = ", ".join(f"{split} {n}" for split, n in dataset.splits.items())
        self.say(
            f"Checked, image by image: {splits}.",
            "The service split val (to choose the checkpoint) and calibration (for step 5) off train.",
        )
        if dataset.report is not None and dataset.report.shortcuts is not None:
            self.say("Before anything was trained, it noticed:", dataset.report.shortcuts["sentence"])
        return dataset

    def training(self, job: Job) -> Job:
        """Follow the job to its end. Raises JobNotSucceeded."""
        started = time.monotonic()
        job = follow(self.console, self.client.jobs.watch(job.id))
        if job.state != "succeeded":
            raise JobNotSucceeded(job)
        self.say(f"Done in {time.monotonic() - started:.1f} s: {len(job.models)} models, each with an id.")
        return job

    def report(self, job: Job) -> Report:
        """Show the figures before and after, and what follows from them; save the whole page."""
        report = self.client.jobs.report(job.id)
        self.console.print(comparison(report))
        self.say(legend(report))
        for conclusion in conclusions(report):
            self.say(conclusion, style="bold")
        page = self.output / "report.html"
        page.write_text(self.client.jobs.report_html(job.id), encoding="utf-8")
        self.show("The whole report", page)
        return report

    def answers(self, job: Job, sample: Sample, arm: Arm) -> None:
        """What plain training and the model of `arm` say to a stored image, the latter under each policy."""
        table = new_table("model", "policy", "answer", "score", "what it rests on")
        for model, policy in ((Arm.ERM, "no policy"), *((arm, policy) for policy in POLICIES)):
            answer = self.client.predict.sample(
                model=job.models[model], dataset=dataset_of(job), sample=sample.id, **POLICIES[policy]
            )
            one = answer.predictions[0]
            table.add_row(model, policy, decision(one), figure(one.score), basis(answer))
        self.console.print(table)
        self.say(f"coverage={COVERAGE:g}: answer about {COVERAGE:.0%} of the images.")
        self.say(
            f"max_risk={MAX_RISK:g}: at most {MAX_RISK:.0%} of the answers are wrong,",
            f"with {CONFIDENCE:.0%} confidence.",
        )

    def saliency(self, job: Job, sample: Sample, arms: Sequence[Arm]) -> None:
        """Save where each model looks in a stored image."""
        for arm in arms:
            picture = self.output / f"looks-{arm}.png"
            picture.write_bytes(
                self.client.saliency.sample_picture(
                    model=job.models[arm], dataset=dataset_of(job), sample=sample.id
                )
            )
            self.show(f"Where {arm} looks", picture)

    def disputed(self, job: Job, samples: Sequence[Sample], arm: Arm) -> Sample:
        """The first sample to which ERM and the model of `arm` give other answers; without one, the first."""
        for sample in samples:
            answer = self.client.predict.sample(
                model=job.models[arm], dataset=dataset_of(job), sample=sample.id
            )
            if answer.predictions[0].agreement.agree is False:
                return sample
        return samples[0]

    def heading(self, text: str) -> None:
        heading(self.console, text)

    def say(self, *sentences: str, style: str | None = None) -> None:
        """Print a paragraph, at most 88 columns wide."""
        self.console.print(" ".join(sentences), style=style, width=min(self.console.width, 88))

    def show(self, what: str, file: Path) -> None:
        self.console.print(f"{what}: {file}", soft_wrap=True)


def heading(console: Console, text: str) -> None:
    console.print(f"\n{text}", style="bold cyan")


def dataset_of(job: Job) -> str:
    """The id of the data set that the job has read."""
    assert job.dataset is not None
    return job.dataset
