"""More than one device: torch's DistributedDataParallel, one process each, started by torchrun.

Each rank takes its part of every batch and the gradients are averaged, weighted by the parts, so a
step is that of one process with the whole batch. Batch norm is the exception: as usual with DDP, each
rank normalises by the statistics of its own part, and the running ones are those of rank 0.
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

from models.run import Progress, Run

_PATIENCE = timedelta(days=7)
"""How long a rank waits: rank 0 makes masks alone, and a rank that died is torchrun's to notice."""


@contextmanager
def joined(run: Run) -> Iterator[Run]:
    """`run` as this rank's part of it, for as long as the block lasts; `run` itself outside of torchrun.

    On CUDA each rank of a host takes the card of its local rank. Only rank 0 reports progress. After an error
    the process is still of the group, and should say what it was and end by `os._exit`: to leave is to wait,
    on NCCL, for a sum that the others have begun (pytorch#141510), and they for this rank.
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
    report = run.on_progress if rank == 0 else _silent
    yield replace(run, device=device, rank=rank, world_size=world_size, on_progress=report)
    dist.destroy_process_group()  # in no `finally`: see above


def _silent(_: Progress) -> None:
    pass


def shared(network: nn.Module, run: Run) -> nn.Module:
    """`network` so that its backward averages the gradients of all ranks."""
    if run.world_size == 1:
        return network
    ids = [run.device.index] if run.device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=ids)


def share_buffers(network: nn.Module, run: Run) -> None:
    """Give every rank the buffers of rank 0, whose model is the one that is kept.

    DDP does so before a forward pass of training; after the last one each rank's batch norm differs.
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
    """Return when every rank has come here."""
    if run.world_size > 1:
        dist.barrier()
