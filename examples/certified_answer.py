"""From a folder of images to an answer with a certificate, in one program. It needs a running service:

    masktune serve
    python examples/painted_digits.py squares
    python examples/certified_answer.py --folder squares

It uploads a data set with a shortcut in it (painted_digits.py makes it), trains past the shortcut, reads
from the report whether that helped, asks for predictions of which at most 5 % may be wrong, and draws
where the model looks. Of packages it needs `masktune` alone. MASKTUNE_URL and MASKTUNE_KEY name another
service and its key.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from masktune import Answer, Client, Job, Report
from masktune.contract.report.text import drift_warning, verdict

MAX_RISK, CONFIDENCE = 0.05, 0.95


def main() -> None:
    asked = _arguments()
    with Client(asked.url) as client:
        dataset = client.datasets.wait(
            client.datasets.upload(asked.folder / "digits", name="painted digits").id
        )
        print(f"data set {dataset.id}: {', '.join(f'{n} {split}' for split, n in dataset.splits.items())}")

        job = train(client, dataset.id)
        print_verdict(client.jobs.report(job.id))

        model = job.models["masktune"]
        assert model is not None
        images = sorted((asked.folder / "new").glob("*.png"))
        answer = certified(client, model, images)
        tell(answer, images)

        picture = asked.folder / "looks.png"
        picture.write_bytes(client.saliency.image_picture(model, images[0]))
        print(f"where the model looks in {images[0].name}: {picture}")


def train(client: Client, dataset: str) -> Job:
    """Start the job, print each stage as it begins, and return the job once it has succeeded."""
    job = client.jobs.start(
        "masktune",
        dataset=dataset,
        backbone="small_cnn",
        epochs=8,
        batch_size=32,
        optimizer={"learning_rate": 0.01, "momentum": 0.9},
        finetune={"epochs": 3},  # the paper's one epoch is some thirty steps on so few images
    )
    stage = None
    for seen in client.jobs.watch(job.id):
        if seen.stage != stage:
            stage = seen.stage
            print(f"job {job.id}: {stage or seen.state}")
    return client.jobs.wait(job.id)


def print_verdict(report: Report) -> None:
    """Print whether it helped: how often both models are right on the same test images."""
    decision = verdict(report)
    print(f"the report: {decision.title}. {decision.sentence}")


def certified(client: Client, model: str, images: list[Path]) -> Answer:
    """Predictions of which at most `MAX_RISK` may be wrong; by default a request takes 64 images."""
    answers = [
        client.predict.images(model, images[at : at + 64], max_risk=MAX_RISK, risk_confidence=CONFIDENCE)
        for at in range(0, len(images), 64)
    ]
    first = answers[0]
    return first.model_copy(update={"predictions": [one for answer in answers for one in answer.predictions]})


def tell(answer: Answer, images: list[Path]) -> None:
    """Print what was certified, and how many answers are wrong: file names begin with the true class."""
    selection = answer.selection
    if warning := drift_warning(selection.drift):
        print(warning)
    if selection.status != "certified" or selection.calibration is None:
        print(
            f"{selection.status}: no threshold keeps {MAX_RISK:.0%} at {CONFIDENCE:.0%}; nothing is answered"
        )
        return
    pairs = zip(answer.predictions, images, strict=True)
    answered = [(one.label, path.name.partition("_")[0]) for one, path in pairs if one.decision == "answer"]
    wrong = sum(label != truth for label, truth in answered)
    print(
        f"certified on {selection.calibration.n} calibration images: above a score of "
        f"{selection.threshold:.3f} at most {MAX_RISK:.0%} of the answers are wrong, at {CONFIDENCE:.0%}"
    )
    print(f"{len(answered)} of {len(images)} new images are answered, {wrong} of the answers are wrong")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="where the service is")
    parser.add_argument("--folder", type=Path, default=Path("squares"), help="where the images are")
    return parser.parse_args()


if __name__ == "__main__":
    main()
