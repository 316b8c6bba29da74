"""A simulated GPU: CPU memory that behaves like a GPU's.

Tensors that are created on `cuda` or moved to it have marked storage. As on a GPU, mixing marked and unmarked
tensors in an operation raises, moving copies, and numpy cannot access the data. Operations that make the host
wait for the device are recorded in `Pretended.waits`. Not simulated: the rounding of CUDA's kernels, speed,
streams, and the amount of memory.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)

_aten = torch.ops.aten
# Operations whose result, or its shape, must be known to the host.
_WAITING = {
    _aten._local_scalar_dense,
    _aten.nonzero,
    _aten.masked_select,
    _aten.equal,
    _aten._unique2,
    _aten.bincount,
}
_INDEXING = {_aten.index, _aten.index_put, _aten.index_put_, _aten._unsafe_index, _aten._index_put_impl_}
_COPYING = {_aten.copy_, _aten._to_copy}
_CHECKED_ON_CPU = {torch.nn.functional.one_hot, torch._C._nn.one_hot}  # check their classes on the CPU only
_FROM_HOST = {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor}


STAGED = 1 << 16
"""Most bytes of pageable memory that are copied without waiting (CUDA, "API synchronization behavior")."""


class Wait(NamedTuple):
    """One wait of the host for the device: the thread's name, `file:line`, and the operation that waited."""

    thread: str
    place: str
    what: str


class Pretended:
    """Records the waits of the host in `waits`, oldest first."""

    def __init__(self) -> None:
        self.waits: list[Wait] = []

    def wait(self, what: object) -> None:
        frame = sys._getframe()
        while not _is_ours(frame.f_code.co_filename):
            assert frame.f_back is not None, "a test is ours"
            frame = frame.f_back
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        self.waits.append(Wait(threading.current_thread().name, place, str(what)))


def _is_ours(filename: str) -> bool:
    return filename != __file__ and "/site-packages/" not in filename


def marked(tensor: Tensor) -> bool:
    return getattr(tensor.untyped_storage(), "pretends", False)


def _mark(found: Any) -> Any:
    for tensor in _tensors(found):
        tensor.untyped_storage().pretends = True  # type: ignore[attr-defined]  # views share the mark
    return found


def _tensors(values: Any) -> Iterator[Tensor]:
    """Those among arguments or results, which torch's pytrees would find in three times the time."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # untyped in torch
    """Intercepts every operation, including autograd's: checks its inputs' devices and marks its results."""

    def __init__(self, pretended: Pretended) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the same
        self._pretended = pretended
        self.within: Any = None  # the current torch function, if it has a marked argument

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = list(_tensors((args, kwargs)))
        there = [tensor for tensor in given if marked(tensor)]
        if not there:
            found = func(*args, **kwargs)
            return _mark(found) if self.within and not given else found
        packet = func.overloadpacket
        if packet in _COPYING:
            if len(there) < len(given) and not (kwargs.get("non_blocking") or args[2:3] == (True,)):
                self._pretended.wait(func)
            return func(*args, **kwargs) if packet is _aten.copy_ else _mark(func(*args, **kwargs))
        self._check(func, given)
        if self.within not in _CHECKED_ON_CPU and (
            packet in _WAITING or (packet in _INDEXING and _waits(args[1]))
        ):
            self._pretended.wait(func)
        return _mark(func(*args, **kwargs))

    def _check(self, func: Any, given: list[Tensor]) -> None:
        elsewhere = [tensor for tensor in given if tensor.ndim and not marked(tensor)]
        if func.overloadpacket in _INDEXING and marked(
            given[0]
        ):  # CUDA accepts CPU indices, but waits for them
            elsewhere = [tensor for tensor in elsewhere if tensor.dtype is not torch.int64]
        if elsewhere:
            raise RuntimeError(f"Expected all tensors to be on the same device: {func} of cuda:0 and cpu")


def _waits(indices: Iterable[Tensor | None]) -> bool:
    return any(i is not None and (i.dtype in (torch.bool, torch.uint8) or not marked(i)) for i in indices)


class _Functions(TorchFunctionMode):
    """Intercepts torch's Python functions, which name devices."""

    def __init__(self, pretended: Pretended, operations: _Operations) -> None:
        super().__init__()
        self._pretended, self._operations = pretended, operations

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.device:
            return func(*args, **kwargs)
        first = args[0] if args and isinstance(args[0], Tensor) else None
        there = first is not None and marked(first)
        if func in _PROPERTIES and there:
            return _PROPERTIES[func]
        if func in (Tensor.numpy, Tensor.__array__) and there:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if func is Tensor.tolist and there:
            self._pretended.wait(func)
        if func is Tensor.pin_memory and first is not None:
            pinned = first.clone()
            pinned.untyped_storage().pinned = True  # type: ignore[attr-defined]  # like `pretends`
            return pinned
        if func is torch._C._nn._parse_to:  # the arguments of Module.to
            return (_device(args, kwargs), *func(*_without(args), **_without(kwargs))[1:])
        if first is not None and func in (Tensor.to, Tensor.cpu, Tensor.cuda):
            return self._move(func, first, args[1:], kwargs)
        wanted = _device(args, kwargs)
        inside = wanted != CPU and any(map(marked, _tensors((args, kwargs))))
        before, self._operations.within = self._operations.within, func if inside else None
        try:
            found = func(*_without(args), **_without(kwargs))
        finally:
            self._operations.within = before
        if func is Tensor.__deepcopy__ and there:
            return _mark(found)
        if (wanted or (there and func is Tensor.new_tensor and CUDA)) != CUDA:
            return found
        if func in _FROM_HOST:
            self._pretended.wait(func)
        return _mark(found)

    def _move(self, func: Any, tensor: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        if func is Tensor.to:
            target = _device(args, kwargs) or (CUDA if marked(tensor) else CPU)
            if args and isinstance(args[0], Tensor):
                target = CUDA if marked(args[0]) else CPU
        else:
            target = CUDA if func is Tensor.cuda else CPU
        if (target == CUDA) == marked(tensor):
            return tensor if func is not Tensor.to else tensor.to(*_without(args), **_without(kwargs))
        waits = marked(tensor) or not (kwargs.get("non_blocking") or True in args)
        if waits or (tensor.nbytes > STAGED and not getattr(tensor.untyped_storage(), "pinned", False)):
            self._pretended.wait(func)
        with torch.utils._python_dispatch._disable_current_modes():
            own = tensor.to(*_without(args), **_without(kwargs)) if func is Tensor.to else tensor
            own = own.clone() if own.data_ptr() == tensor.data_ptr() else own
        return _mark(own) if target == CUDA else own


_PROPERTIES: dict[Any, Any] = {
    vars(torch._C.TensorBase)["device"].__get__: CUDA,
    vars(torch._C.TensorBase)["is_cuda"].__get__: True,
    vars(torch._C.TensorBase)["is_cpu"].__get__: False,
}


def _device(args: Any, kwargs: Mapping[str, Any]) -> torch.device | None:
    """The requested device, if any; cuda:0 for any GPU."""
    for value in (*args, kwargs.get("device")):
        if isinstance(value, torch.device) or (
            isinstance(value, str) and value.split(":")[0] in ("cpu", "cuda")
        ):
            device = torch.device(value)
            return CUDA if device.type == "cuda" else device
    return None


def _without(values: Any) -> Any:
    """The arguments with all devices replaced by the CPU."""
    if isinstance(values, torch.device):
        return CPU
    if isinstance(values, str):
        return "cpu" if values.split(":")[0] == "cuda" else values
    if type(values) in (tuple, list):
        return type(values)(map(_without, values))
    return {name: _without(value) for name, value in values.items()} if type(values) is dict else values


class _Autocast(torch.autocast):
    """The CPU's autocast in place of the GPU's."""

    def __init__(self, device_type: str, dtype: torch.dtype | None = None, enabled: bool = True) -> None:
        super().__init__("cpu", dtype=dtype, enabled=enabled)


@contextmanager
def _pretending(pretended: Pretended) -> Iterator[None]:
    operations = _Operations(pretended)
    with operations, _Functions(pretended, operations):
        yield


@contextmanager
def pretended_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretended]:
    """Within the block, `cuda` is available in this thread and in those that it starts."""
    pretended = Pretended()
    run = threading.Thread.run

    def pretending(thread: threading.Thread) -> None:
        with _pretending(pretended):
            run(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "run", pretending)
        patch.setattr(torch, "autocast", _Autocast)
        patch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
        patch.setattr(torch.cuda, "get_rng_state", lambda device: torch.get_rng_state())
        patch.setattr(torch.cuda, "set_rng_state", lambda state, device: None)
        with _pretending(pretended):
            yield pretended
