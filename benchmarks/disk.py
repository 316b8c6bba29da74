"""The disk after 37 jobs, beside what it would be if each model had a file of its own with all its weights.

    python -m benchmarks.disk [--slots 2]

Starts `masktune serve` on a free port with a temporary folder, uploads 80 pictures of 64 px, and runs jobs
as a user does who compares seeds and ways of retraining: all on EfficientNet-Lite0, whose weights come with
the packages, with its backbone frozen, but for two that train a whole ResNet-32. Prints the bytes of each
kind of artifact. `share` is the store by what it would be with the downloads of all models in place of their
files. Ends with one JSON line; exits with 1 if the share is above .5.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from benchmarks._common import Aim, finish, served, table, work_folder
from masktune import Client
from models.run import Run, resolve_device

MOST = 0.5
SIDE, IMAGES, SEEDS, HEADS = 64, 80, 5, 20
FROZEN: dict[str, Any] = {"backbone": "tf_efficientnet_lite0", "pretrained": True, "freeze_backbone": True}
WHOLE: dict[str, Any] = {"backbone": "resnet32", "pretrained": False, "image_size": 32, "epochs": 1}
QUICK = {"penalties": [1.0], "judge_penalties": [0.1], "folds": 2, "repeats": 1}
_TIDY_SECONDS = 20
"""By then, the service has deleted what ended jobs no longer need."""


def main() -> int:
    parser = argparse.ArgumentParser(description="The disk after 37 jobs.")
    parser.add_argument("--slots", type=int, default=2, help="jobs that run at a time")
    slots = str(parser.parse_args().slots)
    with work_folder(None) as folder:
        with served(folder, THREADS="1", DEVICE="cpu", WORKER_SLOTS=slots) as url, Client(url) as client:
            _write_pictures(folder / "pictures.zip")
            dataset = client.datasets.upload(folder / "pictures.zip", name="pictures")
            models = _run_jobs(client, client.datasets.wait(dataset.id).id)
            time.sleep(_TIDY_SECONDS)
            downloads = sum(_download_bytes(url, model) for model in models)
        kinds = {kind.name: _bytes(kind) for kind in sorted((folder / "data" / "artifacts").iterdir())}
    total = sum(kinds.values())
    before = total - kinds["models"] - kinds["backbones"] + downloads
    print(table([{"artifacts": kind, "MB": size / 1e6} for kind, size in kinds.items()]))
    share, run = {"share": Aim(round(total / before, 3), at_most=MOST)}, Run(resolve_device("cpu"), 0)
    return finish("disk", run, rows=[kinds], aims=share, models=len(models), bytes=total, before=before)


def _run_jobs(client: Client, dataset: str) -> list[str]:
    """Run 37 jobs; return the ids of their models."""
    frozen = [FROZEN | {"image_size": SIDE, "epochs": 2, "seed": seed} for seed in range(SEEDS)]
    trainings = [(kind, fields) for kind in ("masktune", "erm") for fields in frozen] + [("masktune", WHOLE)]
    trainings += [("mitigate", fields | {"head": QUICK}) for fields in (*frozen, WHOLE)]
    started = [client.jobs.start(kind, dataset=dataset, **fields) for kind, fields in trainings]
    jobs = [client.jobs.wait(job.id) for job in started]
    bases = [job.models["erm"] for job in jobs]
    started = [
        client.jobs.start("retrain_head", model=bases[number % len(bases)], head=QUICK, seed=number)
        for number in range(HEADS)
    ]
    jobs += [client.jobs.wait(job.id) for job in started]
    return [model for job in jobs for model in job.models.values()]


def _download_bytes(url: str, model: str) -> int:
    with httpx2.stream("GET", f"{url}/models/{model}/download") as response:
        return int(response.headers["content-length"])


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _write_pictures(archive: Path) -> None:
    """Noise; one class is brighter, and has a red corner that few of the other have."""
    random = np.random.default_rng(0)
    with zipfile.ZipFile(archive, "w") as target:
        for number in range(IMAGES):
            bright = number % 2
            pixels = random.integers(0, 180, (SIDE, SIDE, 3)).astype(np.uint8) + np.uint8(60 * bright)
            if bright or number % 20 == 0:
                pixels[:12, :12] = 255, 0, 0
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, "PNG")
            target.writestr(f"{('dark', 'bright')[bright]}/{number}.png", stream.getvalue())


if __name__ == "__main__":
    sys.exit(main())
