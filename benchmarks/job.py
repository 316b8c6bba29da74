"""The service's overhead: a whole `masktune` job beside its stages called directly, on Biased MNIST.

    python -m benchmarks.job --mnist DIR [--epochs 3] [--runs 5] [--threads 2] [--device cpu|cuda]

Starts `masktune serve` on a free port with a temporary folder, imports `builtin:biased-mnist` once, then
alternates between two sides several times: a job with the preset biased_mnist, from its creation to its end
by the service's time stamps; and the functions of `models/` in this process, with the job's own
hyperparameters, on its packed store. The bare side counts ERM, masks, finetune, control and one forward pass
of each model over each split it is judged on; everything else a job does (child process, checkpoints into
the artifacts, tables, bootstrap, gallery, events) is the overhead. Figures are medians over the runs. Ends
with one JSON line; exits with 1 if the job takes more than 1.15 times the sum of the stages.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from benchmarks._common import Aim, finish, served, table, work_folder
from benchmarks._needs import need_device, need_path
from core.settings import Settings
from core.storage.artifacts import Artifacts
from masktune import Client, Job
from masktune.contract.hyperparameters import Hyperparameters
from models.backbones.network import Network
from models.data.loading.loaders import evaluation_loader
from models.data.store import Store
from models.evaluation.metrics import predict_logits
from models.inputs import new_network
from models.masking.compute import load_or_compute_masks
from models.masktune import continue_as_control, finetune_on_masks, fit_erm
from models.run import Run
from models.runtime.process import prepare_process
from models.training.checkpoints import CheckpointFolder

MOST = 1.15
SPLITS = ("calibration", "val", "test")
T = TypeVar("T")


def main() -> int:
    arguments = _arguments()
    need_path(arguments.mnist, "--mnist")
    prepare_process(arguments.threads)
    run = Run(need_device(arguments.device))
    bare: list[dict[str, float]] = []
    served: list[dict[str, float]] = []
    with work_folder(None) as folder, _service(folder, arguments) as client:
        dataset = client.datasets.from_source("builtin:biased-mnist")
        client.datasets.wait(dataset.id)
        store = Store.open(_artifacts(folder).folder(f"datasets/{dataset.id}"))
        fields = {"preset": "biased_mnist", "epochs": arguments.epochs}
        for index in range(arguments.runs):
            job = client.jobs.wait(client.jobs.start("masktune", dataset=dataset.id, **fields).id)
            served.append(_served(client, job))
            config = Hyperparameters.from_json(job.params.model_dump(mode="json"))
            bare.append(_stages(store, config, run, folder / f"bare-{index}"))
            print(f"run {index + 1}: {bare[-1]} {served[-1]}", file=sys.stderr, flush=True)
    ratios = [s["whole"] / b["whole"] for s, b in zip(served, bare, strict=True)]
    rows = [
        {"stage": stage, "bare": _median(bare, stage), "job": _median(served, stage)}
        for stage in ("erm", "mask", "finetune", "control", "judge", "whole")
    ]
    print(table(rows))
    aims = {"job_over_stages": Aim(statistics.median(ratios), at_most=MOST)}
    return finish("job", run, rows=rows, aims=aims, runs=arguments.runs, epochs=arguments.epochs)


def _stages(store: Store, config: Hyperparameters, run: Run, folder: Path) -> dict[str, float]:
    """Seconds of each stage in this process, and their sum."""
    seconds = dict.fromkeys(("erm", "mask", "finetune", "control", "judge"), 0.0)

    def timed(stage: str, work: Callable[[], T]) -> T:
        started = time.perf_counter()
        result = work()
        seconds[stage] += time.perf_counter() - started
        return result

    def judge(network: Network) -> None:
        for split in SPLITS:
            if len(rows := store.rows(split)):
                predict_logits(network, evaluation_loader(store, rows, config, run), run)

    network = new_network(store, config)
    timed("erm", lambda: fit_erm(network, store, config, run, folder=folder / "erm"))
    timed("judge", lambda: judge(network))
    start = CheckpointFolder(folder / "erm").last()
    masks = timed("mask", lambda: load_or_compute_masks(network, store, config, run, folder=folder / "masks"))
    tuned, control = folder / "tuned", folder / "control"
    timed(
        "finetune",
        lambda: finetune_on_masks(network, store, config, run, folder=tuned, start=start, masks=masks),
    )
    timed("judge", lambda: judge(network))
    timed("control", lambda: continue_as_control(network, store, config, run, folder=control, start=start))
    timed("judge", lambda: judge(network))
    return seconds | {"whole": sum(seconds.values())}


def _served(client: Client, job: Job) -> dict[str, float]:
    """Seconds of each stage as the job reports them, and of the whole job by the service's clock."""
    assert job.created_at is not None
    assert job.ended_at is not None
    cost = client.jobs.report(job.id).cost
    seconds = {entry.stage.value: entry.seconds or 0.0 for entry in cost}
    judge = seconds.get("calibrate", 0.0) + seconds.get("evaluate", 0.0)
    whole = (job.ended_at - job.created_at).total_seconds()
    return {name: seconds.get(name, 0.0) for name in ("erm", "mask", "finetune", "control")} | {
        "judge": judge,
        "whole": whole,
    }


def _median(runs: list[dict[str, float]], stage: str) -> float:
    return statistics.median(seconds[stage] for seconds in runs)


def _artifacts(folder: Path) -> Artifacts:
    settings = Settings(data_dir=folder / "data")
    return Artifacts(settings.storage, cache=settings.scratch / "cache")


@contextmanager
def _service(folder: Path, arguments: argparse.Namespace) -> Iterator[Client]:
    """The embedded default on a free port."""
    mnist, threads = str(arguments.mnist.resolve()), str(arguments.threads)
    settings = {"TORCHVISION_ROOT": mnist, "DEVICE": arguments.device, "THREADS": threads}
    with served(folder, **settings) as url, Client(url) as client:
        yield client


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", type=Path, required=True, help="the folder of the four idx files")
    parser.add_argument("--epochs", type=int, default=3, help="of ERM")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda, of both sides")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
