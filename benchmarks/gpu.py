"""What `models/` does on a GPU: one command, under nine minutes.

    python -m benchmarks.gpu [--mnist ../shared/data/mnist] [--parts masks training …]
    python -m benchmarks.gpu --device cpu --quick     # tries the command itself, on any machine

Needs torch, torchvision, timm, numpy, scipy and pyarrow, and nothing of the service. Images are random except
those of Biased MNIST, and nothing is downloaded. Each part runs in a process of its own, within its budget:

masks          the masking stage over forward passes, ResNet-50 and ViT-S at 224 px (target: 0.9)
training       an epoch, and one on masked images, over bare steps, in fp32 and bf16 (0.9)
features       of 50,000 JPEG files, over the slower of forward passes and decoding (0.9)
biased_mnist   the whole job at the preset's length: accuracies, and ERM over bare steps
repeat         whether two trainings end with the same weights (with deterministic kernels: they must)
out_of_memory  a training that does not fit ends with an error that a job explains, and leaves the GPU usable
two_processes  two trainings on one GPU over one alone (0.9)

A part that fails is reported and the others go on. Ends with one JSON line; exits with 1 if a part failed or,
without --quick, a target is missed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks._common import Aim, finish, table, usable_cores
from benchmarks._gpu_behaviour import biased_mnist, out_of_memory, repeat, two_processes
from benchmarks._gpu_setup import (
    FULL,
    PRECISIONS,
    QUICK,
    SHARE,
    Outcome,
    Setup,
    bare_passes,
    bare_steps,
    first_batch,
    in_turn,
    memory_loader,
    rate,
    share,
    train,
)
from benchmarks._needs import need_device
from benchmarks.masking import timed
from benchmarks.training import write_photographs
from masktune.contract.hyperparameters import MaskingConfig, OptimizerConfig
from models.backbones.network import Network
from models.data.loading.batches import StoreLoader
from models.data.loading.loader_settings import Masking
from models.data.loading.loaders import evaluation_loader
from models.data.store import Store
from models.masking.compute import compute_mask_set
from models.masking.rule import apply_masks
from models.masking.store import MaskSet
from models.mitigation.features import compute_features
from models.mitigation.stage_features import shuffled
from models.run import Run
from models.runtime.process import prepare_process
from models.training.fit import FitConfig, FitData
from models.types import Labels
from tests.support.stage_features import compute_stage_features

# --- the parts that compare a rate with that of the bare step or forward pass ------------------


def masks(setup: Setup) -> Outcome:
    """The masking stage (maps, thresholds, mask set on disk) beside forward passes."""
    batch, loader = first_batch(setup), memory_loader(setup, setup.sizes.images)
    rows, aims = [], {}
    for name in setup.sizes.networks:
        network = setup.network(name)
        forward = partial(bare_passes, network, batch, len(loader))
        stage = partial(_compute_masks, setup, network, loader)
        seconds = in_turn(
            {
                "forward": partial(timed, forward, setup.device),
                "stage": partial(timed, stage, setup.device),
            },
            setup.sizes.rounds,
        )
        over_forward = share(seconds["forward"], seconds["stage"])
        aims[f"{name}/over_forward"] = Aim(over_forward, at_least=SHARE)
        rates = {way: rate(loader.images, times) for way, times in seconds.items()}
        rows.append({"network": name, **rates, "over_forward": over_forward})
    return Outcome(rows, aims)


def training(setup: Setup) -> Outcome:
    """An epoch of the training loop, and one on masked images, beside bare steps; augmented like photos."""
    batch, images = first_batch(setup), setup.sizes.images
    plain = memory_loader(setup, images, augmentation="crop_flip")
    rows, aims = [], dict[str, Aim]()
    for name in setup.sizes.networks:
        network = setup.network(name)
        masking = Masking(_compute_masks(setup, network, memory_loader(setup, images)), apply_masks)
        masked = memory_loader(setup, images, augmentation="crop_flip", masking=masking)
        for precision in PRECISIONS:
            plan = FitConfig(1, OptimizerConfig(), precision=precision)
            steps = partial(bare_steps, network, batch, plan, len(plain))
            seconds = in_turn(
                {
                    "step": partial(timed, steps, setup.device),
                    "loop": partial(_epoch_seconds, setup, network, plain, plan),
                    "finetune": partial(_epoch_seconds, setup, network, masked, plan),
                },
                setup.sizes.rounds,
            )
            ours = "loop", "finetune"
            shares = {f"{way}_over_step": share(seconds["step"], seconds[way]) for way in ours}
            aims |= {f"{name}/{precision}/{way}": Aim(of, at_least=SHARE) for way, of in shares.items()}
            rates = {way: rate(images, times) for way, times in seconds.items()}
            rows.append({"network": name, "precision": precision, **rates, **shares})
    return Outcome(rows, aims)


def _compute_masks(setup: Setup, network: Network, loader: StoreLoader) -> MaskSet:
    folder = setup.new_folder("masks")
    compute_mask_set(network, loader, MaskingConfig(), setup.run, folder=folder)
    return MaskSet.open(folder)


def _epoch_seconds(setup: Setup, network: Network, loader: StoreLoader, plan: FitConfig) -> float:
    """Seconds of an epoch, without its checkpoint."""
    return train(setup, network, FitData(loader), plan).history[-1].seconds


def features(setup: Setup) -> Outcome:
    """The features of JPEG files beside forward passes, and beside decoding alone; those of early stages too.

    The target is a share of the slower of the two: a host with few cores decodes less than its GPU takes.
    """
    name, images, few = setup.sizes.networks[0], setup.sizes.decoded, setup.sizes.decoded // 6
    folder = setup.new_folder("store")
    write_photographs(folder, np.arange(images, dtype=np.int64) % 2)
    store, network, batch = Store.open(folder), setup.network(name), first_batch(setup)

    def loader(numbers: Labels) -> StoreLoader:
        return evaluation_loader(store, numbers, setup.hyperparameters(name), setup.run)

    numbers = store.rows("train")
    passes = partial(bare_passes, network, batch, few // setup.sizes.batch)
    passes()  # warms up
    forward = rate(few // setup.sizes.batch * setup.sizes.batch, [timed(passes, setup.device)])
    decoding = rate(few, [timed(lambda: deque(loader(numbers[:few]).epoch(None), maxlen=0), setup.device)])
    whole = timed(lambda: compute_features(network, loader(numbers), setup.run), setup.device)
    early = timed(
        lambda: compute_stage_features(network, loader(shuffled(numbers[:few])), setup.run), setup.device
    )
    over_slower = rate(images, [whole]) / min(forward, decoding)
    row = {
        "network": name,
        "images": images,
        "forward": forward,
        "decoding": decoding,
        "features": rate(images, [whole]),
        "with_early_stages": rate(few, [early]),
        "over_slower": over_slower,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }
    return Outcome([row], {f"{name}/over_slower": Aim(over_slower, at_least=SHARE)})


# --- the command -------------------------------------------------------------------------------


class Part(NamedTuple):
    """`budget` is in seconds, the start of its process included; they sum to less than nine minutes."""

    measure: Callable[[Setup], Outcome]
    budget: int


PARTS = {
    "masks": Part(masks, 50),
    "training": Part(training, 150),
    "features": Part(features, 70),
    "biased_mnist": Part(biased_mnist, 130),
    "repeat": Part(repeat, 45),
    "out_of_memory": Part(out_of_memory, 30),
    "two_processes": Part(two_processes, 60),
}


def main() -> int:
    arguments = _arguments()
    device = need_device(arguments.device, instead="to try the command itself: --device cpu --quick")
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)  # some of torch's functions want the number
    sizes = QUICK if arguments.quick else FULL
    rows, aims, seconds, failures = [], dict[str, Aim](), dict[str, float](), dict[str, str]()
    for name in arguments.parts:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="masktune-gpu-") as folder:
            setup = Setup(Run(device), sizes, arguments.mnist, Path(folder))
            outcome = _run(PARTS[name], setup)
        seconds[name] = round(time.monotonic() - started, 1)
        print(f"\n{name}: {seconds[name]} s of {PARTS[name].budget}")
        if isinstance(outcome, str):
            failures[name] = outcome
            print(f"failed: {outcome}", flush=True)
            continue
        print(table(outcome.rows), flush=True)
        rows += [{"part": name, **row} for row in outcome.rows]
        aims |= {f"{name}/{key}": aim for key, aim in outcome.aims.items()}
    no_failure = {"failures": Aim(len(failures), at_most=0)}
    return finish(
        "gpu",
        Run(device),
        rows=rows,
        aims=no_failure if arguments.quick else aims | no_failure,
        quick=arguments.quick,
        cores=usable_cores(),
        cuda=torch.version.cuda,
        seconds=seconds,
        failures=failures,
    )


def _run(part: Part, setup: Setup) -> Outcome | str:
    """The part's outcome, or why there is none.

    Its process leads a group, which ends with it: after some errors no process can use the GPU again, and
    what a part leaves running would slow the next.
    """
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(part.measure, setup, send))
    process.start()
    send.close()
    try:
        if not receive.poll(part.budget):
            return f"it took longer than {part.budget} s"
        return receive.recv()  # type: ignore[no-any-return]  # what `_measure` sends
    except EOFError:
        process.join()
        return f"its process ended with exit code {process.exitcode}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.kill()
        process.join()


def _measure(measure: Callable[[Setup], Outcome], setup: Setup, send: Connection) -> None:
    """What the process of a part runs."""
    os.setsid()
    prepare_process(setup.sizes.threads)
    try:
        send.send(measure(setup))
    except Exception as error:  # noqa: BLE001  # reported, and the other parts go on
        traceback.print_exc()
        send.send(f"{type(error).__name__}: {error}")


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, no targets: a smoke test")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--mnist", type=Path, default=Path("../shared/data/mnist"), help="the folder of the four idx files"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
