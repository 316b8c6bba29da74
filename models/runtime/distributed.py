"""Training on several devices: torch's DistributedDataParallel, one process per device, started by torchrun.

Each rank takes its part of every batch, and gradients are averaged, weighted by the size of the parts,
so a step equals that of one process with the whole batch. Batch norm is the exception: as usual with
DDP, each rank normalises by the statistics of its own part, and the running statistics are rank 0's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models.run import Run, ignore_progress

_PATIENCE = timedelta(days=7)
"""How long a rank waits for the others: rank 0 computes masks alone, and torchrun notices a dead rank."""


@contextmanager
def process_group(run: Run) -> Iterator[Run]:
    """Join the process group for the block and yield this rank's `run`; outside torchrun, `run` itself.

    On CUDA, each rank of a host uses the GPU of its local rank. Only rank 0 reports progress. After an error
    the process is still in the group; it should report the error and end with `os._exit`. Leaving an NCCL
    group waits for a sum that the other ranks have begun, while they wait for this one (pytorch#141510).
    """
    if "RANK" not in os.environ:
        yield run
        return
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    device = run.device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    report = run.on_progress if rank == 0 else ignore_progress
    yield replace(run, device=device, rank=rank, world_size=world_size, on_progress=report)
    dist.destroy_process_group()  # not in a `finally`: see above


def wrap_ddp(network: nn.Module, run: Run) -> nn.Module:
    """`network`, wrapped so that its backward pass averages gradients over all ranks."""
    if run.world_size == 1:
        return network
    ids = [run.device.index] if run.device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=ids)


def share_buffers(network: nn.Module, run: Run) -> None:
    """Copy the buffers of rank 0, whose model is kept, to every rank.

    DDP does so before each forward pass in training; after the last one, batch norm differs between ranks.
    """
    if run.world_size > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)


def total(values: Tensor, run: Run) -> Tensor:
    """The sum over all ranks."""
    if run.world_size > 1:
        dist.all_reduce(values)
    return values


def wait_for_all(run: Run) -> None:
    """Return once every rank has called this."""
    if run.world_size > 1:
        dist.barrier()
