"""The first thing a training process does: memory, threads, and kernels that repeat themselves."""

from __future__ import annotations

import ctypes
import os
import sys

_SPINS = "2000"  # 40 to 110 µs by the processor: longer than torch takes from one operation to the next
# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8


def prepare_process(threads: int | None = None) -> int:
    """Call it before anything else touches torch. Returns the number of threads that torch uses.

    `threads` None takes every core this process may run on. A resumed training must be given
    those that its checkpoint names (`Checkpoint.threads`).
    """
    threads = prepare_without_torch(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS does not repeat itself
    import torch

    torch.set_num_threads(threads)
    # Equal bits are promised on a CPU. On CUDA the fastest convolution of each shape is chosen instead.
    # `use_deterministic_algorithms` is the same, and imports torch's compiler: a second, for nothing here.
    torch.set_deterministic_debug_mode("default" if torch.cuda.is_available() else "error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # not in the stub
    torch.backends.cudnn.benchmark = True
    return torch.get_num_threads()


def prepare_without_torch(threads: int | None = None) -> int:
    """The part of `prepare_process` for a process that only decodes and counts. Returns `threads`."""
    keep_freed_memory()
    threads = threads or len(os.sched_getaffinity(0))
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    wait_briefly()
    return threads


def wait_briefly() -> None:
    """How long a thread of OpenMP spins for its next work before it sleeps; read once, by torch's import.

    Where another program wants the cores too, spinning for long makes small steps 2 to 6 times slower. To
    sleep sooner makes them slower where none does, for each operation then wakes a thread: on a virtual
    machine 500 spins instead of 2000 cost a step of SmallCNN a tenth, and 2000 cost two trainings side by
    side 4 % (5000: 16 %).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed: giving pages back and faulting them in anew costs a quarter to
    nearly half of a training's CPU time. False where the C library is another one.

    Call it while the process has one thread. A thread that allocated before has an arena of its own, which
    later threads share and for which none of this holds: a quarter of a `predict` job's rate.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return False
    settings = {_M_MMAP_THRESHOLD: 1 << 30, _M_TRIM_THRESHOLD: 2**31 - 1, _M_MMAP_MAX: 0, _M_ARENA_MAX: 1}
    done = [mallopt(option, value) for option, value in settings.items()]
    return all(done)
