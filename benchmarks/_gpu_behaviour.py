"""The parts of `benchmarks.gpu` that show what a GPU gives: accuracies, equal weights, its limits."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks._common import BIASED_MNIST_BOUNDS, Aim, preset, usable_cores
from benchmarks._gpu_setup import (
    PRECISIONS,
    SHARE,
    Outcome,
    Setup,
    bare_steps,
    first_batch,
    memory_loader,
    train,
)
from benchmarks.masking import Fixed, timed
from masktune.contract.hyperparameters import OptimizerConfig, Precision
from models.data.importing.builtin import BuiltinOptions, make_builtin
from models.data.layout import DatasetInfo
from models.data.loading.loaders import train_loader
from models.data.store import Store
from models.inputs import erm_config, new_network
from models.masktune import MaskTuneResult, masktune
from models.runtime.bounded import is_out_of_memory
from models.runtime.process import prepare_process
from models.training.fit import FitConfig, FitData
from tests.support.arrays import Arrays, write_arrays

_TOO_MANY = {"cuda": 1 << 10, "cpu": 1 << 40}
"""Images of a batch that exceeds `_ALLOWED_MIB`, and the main memory of any machine."""
_ALLOWED_MIB = 1536
"""Of the GPU's memory, what the training may take that is to run out of it."""


def biased_mnist(setup: Setup) -> Outcome:
    """All arms at the preset's length, tested where the square is on the wrong class; epochs beside steps."""
    if not setup.mnist.is_dir():
        raise FileNotFoundError(f"there is no folder {setup.mnist}: give that of MNIST with --mnist")
    biased = make_builtin("biased-mnist", BuiltinOptions(root=setup.mnist, assignment="order"))
    assert biased.splits is not None
    assert biased.groups is not None
    some = slice(None, None, setup.sizes.mnist_stride)
    arrays = Arrays(biased.images[some], biased.labels[some], biased.splits[some], biased.groups[some])
    folder = setup.new_folder("store")
    write_arrays(folder, arrays, DatasetInfo("Biased MNIST", "builtin", biased.classes, biased.group_names))
    store, config = Store.open(folder), replace(preset("biased_mnist"), epochs=setup.sizes.mnist_epochs)
    network = new_network(store, config).to(setup.device)
    loader = train_loader(store, config, setup.run)
    steps = partial(bare_steps, network, next(loader.epoch(None)), erm_config(config), len(loader))
    steps()  # warms up
    bare = timed(steps, setup.device)
    network = new_network(store, config)
    jobs: list[MaskTuneResult] = []
    job = partial(masktune, network, store, config, setup.run, folder=setup.new_folder("job"))
    whole = timed(lambda: jobs.append(job()), setup.device)
    rows, aims = [], {}
    for arm, job_arm in jobs[0].arms.items():
        seconds = sum(epoch.seconds for epoch in job_arm.fit.history)
        epochs = len(job_arm.fit.history)
        accuracies = {split: of.accuracy for split, of in job_arm.metrics.items()}
        row = {"arm": arm, **accuracies, "epochs": epochs, "seconds": seconds, "job_seconds": whole}
        rows.append(row | {"over_step": epochs * bare / seconds})
        aims[f"{arm}/test"] = Aim(accuracies["test"], **BIASED_MNIST_BOUNDS[arm])
    return Outcome(rows, aims)


def repeat(setup: Setup) -> Outcome:
    """Whether two trainings end with the same weights: with the fastest kernels, as in a job, and with
    deterministic ones, which shows that nothing else differs.
    """
    name = setup.sizes.networks[0]
    rows, aims = [], {}
    for precision in PRECISIONS:
        for kernels in ("fastest", "deterministic"):
            torch.backends.cudnn.benchmark = kernels == "fastest"
            torch.set_deterministic_debug_mode("default" if kernels == "fastest" else "warn")
            with warnings.catch_warnings(record=True) as messages:
                warnings.simplefilter("always")
                first, second = (_weights(setup, name, precision) for _ in range(2))
            operations = {str(w.message).split()[0] for w in messages if "deterministic" in str(w.message)}
            difference = max(float((first[key] - second[key]).abs().max()) for key in first)
            rows.append(
                {
                    "network": name,
                    "precision": precision,
                    "kernels": kernels,
                    "equal": difference == 0,
                    "largest_difference": difference,
                    "only_nondeterministic": " ".join(sorted(operations)),
                }
            )
            if kernels == "deterministic":
                aims[f"{precision}/largest_difference"] = Aim(difference, at_most=0)
    return Outcome(rows, aims)


def _weights(setup: Setup, name: str, precision: Precision) -> Mapping[str, Tensor]:
    """The floating-point weights of a new network after an epoch of four batches."""
    network = setup.network(name)
    loader = memory_loader(setup, 4 * setup.sizes.batch, augmentation="crop_flip")
    train(setup, network, FitData(loader), FitConfig(1, OptimizerConfig(), precision=precision))
    return {name: t.cpu() for name, t in network.state_dict().items() if t.is_floating_point()}


def out_of_memory(setup: Setup) -> Outcome:
    """A training that needs more memory than there is: an error that a job explains, then one that fits."""
    network, plan = setup.network(setup.sizes.networks[0]), FitConfig(1, OptimizerConfig(), precision="fp32")
    if setup.device.type == "cuda":
        total = torch.cuda.get_device_properties(setup.device).total_memory
        torch.cuda.set_per_process_memory_fraction((_ALLOWED_MIB << 20) / total, setup.device)
    image = first_batch(setup).images[:1]
    too_many = Fixed(image.expand(_TOO_MANY[setup.device.type], -1, -1, -1), 1)
    error = _error_of(lambda: train(setup, network, FitData(too_many), plan))
    is_explained = error is not None and is_out_of_memory(error)
    train(setup, network, FitData(Fixed(image.expand(2, -1, -1, -1), 1)), plan)
    row = {
        "error": type(error).__name__,
        "message": str(error).partition("\n")[0][:160],
        "explained": is_explained,
        "then_trains": True,
    }
    return Outcome([row], {"explained": Aim(float(is_explained), at_least=1)})


def _error_of(work: Callable[[], object]) -> RuntimeError | None:
    """The error that `work` raises, without its traceback, whose frames would hold the tensors."""
    try:
        work()
    except RuntimeError as error:
        return error.with_traceback(None)
    return None


class Training(NamedTuple):
    """What one of several processes measured; `digest` is of the weights that it ended with."""

    images_per_second: float
    digest: str


def two_processes(setup: Setup) -> Outcome:
    """Two trainings at once, each in a process of its own, beside one alone."""
    alone, both = (_side_by_side(setup, count) for count in (1, 2))
    rows = [
        {
            "processes": len(trainings),
            "images_per_second": sum(training.images_per_second for training in trainings),
            "different_weights": len({training.digest for training in trainings}),
        }
        for trainings in (alone, both)
    ]
    together = rows[1]["images_per_second"] / rows[0]["images_per_second"]
    return Outcome(rows, {"both_over_one": Aim(together, at_least=SHARE)})


def _side_by_side(setup: Setup, count: int) -> list[Training]:
    context = multiprocessing.get_context("spawn")
    barrier, threads = context.Barrier(count), setup.sizes.threads or usable_cores() // count or 1
    with ProcessPoolExecutor(count, context, _start, (barrier, threads)) as pool:
        return list(pool.map(_train_at_once, [setup] * count))


_barriers: list[Barrier] = []


def _start(barrier: Barrier, threads: int) -> None:
    """Prepare a process of the pool; a barrier reaches it in no other way."""
    prepare_process(threads)
    _barriers.append(barrier)


def _train_at_once(setup: Setup) -> Training:
    """Train once to warm up, then as many epochs as there are rounds when all processes are ready."""
    network, images = setup.network(setup.sizes.networks[0]), setup.sizes.images
    plan = FitConfig(1, OptimizerConfig(), precision="bf16")
    data = FitData(memory_loader(setup, images, augmentation="crop_flip"))
    train(setup, network, data, plan)
    _barriers[0].wait()
    fitted = train(setup, network, data, replace(plan, epochs=setup.sizes.rounds))
    seconds = sum(epoch.seconds for epoch in fitted.history)
    return Training(images * len(fitted.history) / seconds, fitted.digest)
