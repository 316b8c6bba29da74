"""Which errors say that memory ran out. Does not import torch: an import job runs without it."""

from __future__ import annotations

import sys

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
