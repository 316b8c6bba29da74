"""Process-wide setup for training, before anything else: memory, threads, deterministic kernels."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

_SPINS = "2000"  # 40 to 110 µs, depending on the CPU: longer than torch takes between two operations
# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8


def prepare_process(threads: int | None = None) -> int:
    """Call this before anything else touches torch.
    Returns the number of threads that torch uses.

    `threads` None takes every core this process may run on. A resumed training must be given
    the number recorded in its checkpoint (`Checkpoint.threads`).
    """
    threads = prepare_without_torch(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS is not deterministic
    import torch

    torch.set_num_threads(threads)
    # Identical bits are promised on a CPU. On CUDA, the fastest convolution for each shape is chosen instead.
    # `use_deterministic_algorithms` does the same, but first imports torch's compiler, which takes a second.
    torch.set_deterministic_debug_mode("default" if torch.cuda.is_available() else "error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # not in the stub
    torch.backends.cudnn.benchmark = True
    return torch.get_num_threads()


def prepare_without_torch(threads: int | None = None) -> int:
    """The part of `prepare_process` for a process that does not use torch. Returns the number of threads."""
    keep_freed_memory()
    threads = threads or len(os.sched_getaffinity(0))
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    limit_spinning()
    return threads


def limit_spinning() -> None:
    """Set how long an idle OpenMP thread spins before it sleeps; read once, when torch is imported.

    If another program competes for the cores, long spinning makes small steps 2 to 6 times slower. If none
    does, sleeping sooner makes them slower, because each operation has to wake a thread. On a virtual
    machine, 500 spins instead of 2000 made a step of SmallCNN a tenth slower, and 2000 spins slowed two
    concurrent trainings by 4 % (5000: by 16 %).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory: returning pages and faulting them in again costs a quarter to nearly
    half of a training's CPU time. Does nothing if the C library is not glibc.

    Call this while the process has one thread. A thread that allocated earlier has its own arena, which later
    threads share and which ignores these settings; that costs a quarter of a `predict` job's throughput.
    """
    if not sys.platform.startswith("linux"):
        return
    settings = {_M_MMAP_THRESHOLD: 1 << 30, _M_TRIM_THRESHOLD: 2**31 - 1, _M_MMAP_MAX: 0, _M_ARENA_MAX: 1}
    with suppress(AttributeError):  # musl
        for option, number in settings.items():
            ctypes.CDLL(None).mallopt(option, number)
