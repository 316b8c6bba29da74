"""Which network `masktune fix --compare-networks` goes on with: on spectrograms and on photographs.

    python -m benchmarks.networks [--plants ZIP] [--images 1000] [--threads 2]

A service imports made spectrograms (`tests.support.spectrograms`) and an archive of photographs. On each,
the command's own comparison trains the default, a frozen network, and the small one on a part of the
training images, and prints both. Ends with one JSON line, which says how far the frozen features come from
chance to no mistakes on the validation split; exits with 1 if another network is chosen than the one that
suits. An archive that is not there is named and left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks._common import Aim, finish, leave_on_sigterm, served, table, work_folder
from masktune import Client
from masktune.cli.network_comparison import choose_network
from masktune.cli.output import console
from masktune.cli.session import Session
from masktune.contract.vocabulary import Arm
from models.run import Run
from tests.support.spectrograms import write_spectrograms
from worker.report.recommendation import WEAK_SHARE

PLANTS = Path("../shared/data/stampplants.zip")


def main() -> int:
    arguments = _arguments()
    leave_on_sigterm()
    settings = {"THREADS": str(arguments.threads), "DEVICE": "cpu"}
    with work_folder(None) as folder, served(folder, **settings) as url, Client(url) as client:
        spectrograms = write_spectrograms(folder / "spectrograms.zip", images=arguments.images)
        rows = [_measure(client, spectrograms)]
        if arguments.plants.is_file():
            rows.append(_measure(client, arguments.plants))
        else:
            print(f"{arguments.plants} is not there, and left out: name it with --plants", file=sys.stderr)
    print(table(rows))
    aims = {}
    for row, small_suits in zip(rows, (True, False), strict=False):
        small = row["chosen"] == "small"
        aims[f"{row['set']}: the network that suits"] = Aim(float(small is small_suits), at_least=1.0)
        bound = {"at_most": WEAK_SHARE} if small_suits else {"at_least": WEAK_SHARE}
        aims[f"{row['set']}: frozen, from chance to no mistakes"] = Aim(row["frozen share"], **bound)
    return finish("networks", Run(torch.device("cpu")), rows=rows, aims=aims)


def _measure(client: Client, archive: Path) -> dict[str, Any]:
    """The balanced accuracies on val of the two plain trainings, their seconds, and the network chosen."""
    dataset = client.datasets.wait(client.datasets.upload(archive).id)
    chosen = choose_network(Session(client, console(), False), dataset.id, {})
    small, frozen = list(client.jobs.list(kind="erm", dataset=dataset.id))
    row: dict[str, Any] = {"set": archive.stem, "train": dataset.splits["train"]}
    for name, job in (("frozen", frozen), ("small", small)):
        metrics = client.jobs.report(job.id).metrics["val"][Arm.ERM]
        assert job.started_at is not None  # it has ended
        assert job.ended_at is not None
        row |= {name: metrics.balanced_accuracy, f"{name} s": (job.ended_at - job.started_at).total_seconds()}
    chance = 1 / len(dataset.classes)
    row["frozen share"] = (row["frozen"] - chance) / (1 - chance)
    return row | {"chosen": "small" if chosen else "frozen"}


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plants", type=Path, default=PLANTS)
    parser.add_argument("--images", type=int, default=1_000)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
