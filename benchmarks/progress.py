"""What a job says of its progress: the longest silence, and how well it tells when it will end.

    python -m benchmarks.progress [--images 1300] [--threads 2] [--jobs folder groups whole]

A service starts in an empty folder and runs `mitigate` on three sets of handwritten digits with a shortcut:
`folder`, of 300 px, without groups; `groups`, the same as a zip with groups; `whole`, of 28 px, for which a
whole network is trained. Of each job: the longest time between two events whose count of work rose, and the
least and the largest (elapsed + left) / final time from 15 % of the work on; then the seconds of each of its
stages. Other work on the machine changes a job's pace, and so these figures. Ends with one JSON line; exits
with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks._common import Aim, finish, served, table, work_folder
from examples.painted_digits import write
from masktune import Client, Event
from masktune.contract.jobs.events import ProgressData, StageData
from models.run import Run

FIRST_SHARE, MOST_SILENCE, LEAST, MOST = 0.15, 5.0, 0.7, 1.4
_SIDE = 300  # pixels of a photograph


def main() -> int:
    arguments = _arguments()
    rows, stages, aims = list[dict[str, Any]](), list[dict[str, Any]](), dict[str, Aim]()
    with work_folder(None) as folder:
        sources = dict(_sources(folder, arguments.images))
        with served(folder, THREADS=str(arguments.threads), DEVICE="cpu") as url, Client(url) as client:
            for name in arguments.jobs:
                dataset = client.datasets.wait(client.datasets.upload(sources[name], name=name).id)
                job = client.jobs.wait(client.jobs.start("mitigate", dataset=dataset.id).id)
                events = list(client.jobs.events(job.id))
                row = figures(events)
                stages += [{"job": name} | stage for stage in stage_seconds(events)]
                rows.append({"job": name, "images": dataset.report and dataset.report.count} | row)
                aims |= {
                    f"{name}: longest silence, seconds": Aim(row["silence"], at_most=MOST_SILENCE),
                    f"{name}: least ratio": Aim(row["least"], at_least=LEAST),
                    f"{name}: largest ratio": Aim(row["largest"], at_most=MOST),
                }
    print(table(rows), table(stages), sep="\n\n")
    return finish("progress", Run(torch.device("cpu")), rows=rows, stages=stages, aims=aims)


def figures(events: list[Event]) -> dict[str, Any]:
    """Of one job, from its first event of progress to its last."""
    reports = [(e.at.timestamp(), e.data) for e in events if isinstance(e.data, ProgressData)]
    start = next(event.at for event in events if event.type == "stage").timestamp()
    end = events[-1].at.timestamp()
    risen_at, highest, silence, silent_in = start, 0.0, 0.0, ""
    ratios = []
    for at, progress in reports:
        if progress.fraction > highest or progress.stage_fraction == 1.0:  # also of a stage that ends
            if at - risen_at > silence:
                silence, silent_in = at - risen_at, str(progress.stage)
            risen_at, highest = at, max(highest, progress.fraction)
        if progress.fraction >= FIRST_SHARE and progress.eta_seconds is not None:
            ratios.append((at - start + progress.eta_seconds) / (end - start))
    return {
        "seconds": end - start,
        "silence": silence,
        "silent_in": silent_in,
        "least": min(ratios),
        "largest": max(ratios),
    }


def stage_seconds(events: list[Event]) -> list[dict[str, Any]]:
    """Each stage of one job and its seconds, in the order in which they ended."""
    changes = [event.data for event in events if isinstance(event.data, StageData)]
    return [
        {"stage": str(change.stage), "seconds": change.seconds}
        for change in changes
        if change.status == "finished"
    ]


# --- the images -----------------------------------------------------------------------------------


def _sources(folder: Path, images: int) -> Iterator[tuple[str, Path]]:
    digits, _ = write(folder / "digits")
    yield "whole", digits
    with (digits / "labels.csv").open() as file:
        labels = list(csv.DictReader(file))
    random.Random(0).shuffle(labels)
    grouped, plain = folder / "grouped", folder / "plain"
    (grouped / "images").mkdir(parents=True)
    for row in labels[:images]:
        image = Image.open(digits / row["path"]).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        image.save(grouped / row["path"])
        if row["split"] == "train":  # like the others: no image of a folder breaks the pattern more often
            (plain / row["label"]).mkdir(parents=True, exist_ok=True)
            image.save(plain / row["label"] / Path(row["path"]).name)
    with (grouped / "labels.csv").open("w", newline="") as file:
        out = csv.DictWriter(file, list(labels[0]))
        out.writeheader()
        out.writerows(labels[:images])
    yield "folder", plain
    yield "groups", Path(shutil.make_archive(str(folder / "groups"), "zip", grouped))


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1300, help="of 300 px")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--jobs", nargs="+", default=["folder", "groups", "whole"])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
