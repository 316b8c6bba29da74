"""Memory that runs out, and a bound for it. Does not import torch: an import job runs without it."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TEXTS = (
    "DefaultCPUAllocator",  # main memory
    "CUDA error: out of memory",  # a full GPU, outside torch's allocator: the context, pinned memory
    "CUBLAS_STATUS_ALLOC_FAILED",  # the same, in a library's handle or workspace
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Parts of the messages of torch's RuntimeErrors for which it has no class of its own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the device or the host has no memory left."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)


@contextmanager
def limited_memory(extra: int) -> Iterator[None]:
    """Let the whole process take `extra` bytes of address space at most, beyond those it has: MemoryError.

    For code that decodes what a stranger sent and cannot say beforehand how much it will be. Without Linux's
    `/proc` there is no bound.
    """
    pages = Path("/proc/self/statm")
    if not pages.exists():
        yield
        return
    size = int(pages.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [limit for limit in (soft, size + extra) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
