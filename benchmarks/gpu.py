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
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks._common import Aim, finish, table
from benchmarks._gpu_behaviour import biased_mnist, out_of_memory, repeat, two_processes
from benchmarks._gpu_setup import FULL, QUICK, Outcome, Setup
from benchmarks._gpu_speed import features, masks, training
from benchmarks._machine import usable_cores
from models.run import Run, resolve_device
from models.runtime.process import prepare_process


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
    device = resolve_device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("PyTorch sees no GPU here; to try the command itself: --device cpu --quick", file=sys.stderr)
        return 2
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
