"""The first thing a training process does: memory, threads, and kernels that repeat themselves."""

from __future__ import annotations

import ctypes
import os
import sys

# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8


def prepare_process(threads: int | None = None) -> int:
    """Call it before anything else touches torch. Returns the number of threads that torch uses.

    `threads` None takes every core this process may run on. A resumed training must be given
    those that its checkpoint names (`Checkpoint.threads`).
    """
    keep_freed_memory()
    threads = threads or len(os.sched_getaffinity(0))
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    # A thread that waits for the others sleeps instead of spinning: where another program wants the
    # cores too, small steps are 2 to 6 times faster so.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS does not repeat itself
    import torch

    torch.set_num_threads(threads)
    # Equal bits are promised on a CPU. On CUDA the fastest convolution of each shape is chosen instead.
    torch.use_deterministic_algorithms(not torch.cuda.is_available())
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # not in the stub
    torch.backends.cudnn.benchmark = True
    return torch.get_num_threads()


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed: giving pages back and faulting them in anew costs a quarter to
    nearly half of a training's CPU time. False where the C library is another one.
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
