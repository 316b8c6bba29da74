"""The torch engine: a pair of networks on one device, run in one call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.inference.types import Explain, Pair, Scores, StoredNetwork
from core.errors import NotFound, Unavailable
from core.storage.artifacts import ArtifactMissing, Artifacts
from models.backbones.build import build_network
from models.backbones.errors import BackboneError
from models.backbones.network import Network
from models.data.grey import GreyWindow
from models.data.images.decoding import to_unit
from models.export import ModelCard, ModelError, load_model
from models.mitigation.features import inputs_of, linear_layer
from models.run import resolve_device
from models.saliency import saliency, saliency_of_activation

_RETRY_SECONDS = 5


class TorchEngine:
    """Implements `Engine`. Weights are float32 in channels-last memory format."""

    name = "torch"

    def __init__(
        self,
        network: Network,
        erm: Network | None,
        device: torch.device,
        grey_window: GreyWindow | None = None,
    ) -> None:
        if erm is not None and _interface(erm) != _interface(network):
            raise ValueError("the two networks of a pair must have the same classes and image size")
        self._network = _settled(network, device)
        self._erm = None if erm is None else _settled(erm, device)
        self.device = device
        self.image_size = network.spec.image_size
        self.grey_window = grey_window

    @property
    def nbytes(self) -> int:
        return sum(
            tensor.nbytes
            for network in (self._network, self._erm)
            if network is not None
            for tensor in network.state_dict().values()
        )

    def run(self, images: NDArray[np.uint8], explain: Explain | None, *, features: bool = False) -> Scores:
        if features:
            with inputs_of(linear_layer(self._network)) as received:
                scores = self.run(images, explain)
            return scores._replace(features=_array(received.inputs[0]))
        with _memory():
            batch = to_unit(torch.from_numpy(images).to(self.device))  # (N, 3, S, S)
            with torch.inference_mode():  # queues both networks on the GPU before waiting for results
                erm = None if self._erm is None else self._erm(batch)
                if explain is None:
                    return _scores(self._network(batch), erm)
            # Outside inference mode: a head that is not a linear layer is differentiated.
            target = self._targets(explain, len(images))
            saliencies = saliency(self._network, batch, method=explain.method, target=target)
            maps, targets = _array(saliencies.maps), _integers(saliencies.targets)
            return _scores(saliencies.logits, erm)._replace(maps=maps, targets=targets)

    def alone(self) -> TorchEngine:
        """Return an engine of the served model without its ERM model."""
        return TorchEngine(self._network, None, self.device, self.grey_window)

    def explain(
        self, activation: NDArray[np.float32], logits: NDArray[np.float32], explain: Explain
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Compute maps (N, h, w) and targets (N,) from another engine's outputs of the same network.

        `activation` is (N, C, h, w), `logits` (N, K). Raises `ValueError` for `fullgrad`.
        """
        with _memory():
            target = self._targets(explain, len(logits))
            if not isinstance(target, Tensor):
                target = torch.from_numpy(logits).argmax(1).to(self.device)
            features = torch.from_numpy(activation).to(self.device)
            saliencies = saliency_of_activation(self._network, features, method=explain.method, target=target)
            return _array(saliencies.maps), _integers(saliencies.targets)

    def _targets(self, explain: Explain, images: int) -> Literal["predicted"] | Tensor:
        if explain.target is None:
            return "predicted"
        return torch.full((images,), explain.target, device=self.device)


def load(pair: Pair, artifacts: Artifacts, *, device: str, threads: int) -> TorchEngine:
    """Read a pair from its artifacts.
    Raises `NotFound` if a file is gone, `Unavailable` if one is damaged.

    Also disables TF32 for the whole process. By default, a GPU rounds the products of convolutions to TF32,
    by 1e-3. Evaluation and calibration do not round either
    (`models.data.loading.batched_eval.evaluating`); training does.
    """
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False
    try:
        with _memory():
            where = _device(device)
            network, card = _load(pair.model, artifacts, where)
            erm = None if pair.erm is None else _load(pair.erm, artifacts, where)[0]
            return TorchEngine(network, erm, where, card.grey_window)
    except ArtifactMissing as error:
        raise NotFound(f"the files of model {pair.model.id} are gone: it was deleted") from error
    except (BackboneError, ModelError) as error:
        raise Unavailable(f"the files of model {pair.model.id} cannot be used: {error}") from error


def _load(network: StoredNetwork, artifacts: Artifacts, device: torch.device) -> tuple[Network, ModelCard]:
    backbone = None if network.backbone_artifact is None else artifacts.folder(network.backbone_artifact)
    return load_model(artifacts.folder(network.artifact), device, backbone=backbone)


def probe(device: str) -> None:
    """Run a forward pass of a small network on the serving device; raise unless its scores are finite.

    After some errors (an illegal address, a GPU off the bus) the GPU never works again in this process.
    """
    with _memory():
        engine = TorchEngine(build_network("small_cnn", classes=2, image_size=28), None, _device(device))
        scores = engine.run(np.full((1, 3, 28, 28), 127, np.uint8), None)
    if scores.logits.shape != (1, 2) or not np.isfinite(scores.logits).all():
        raise Unavailable("a forward pass of a small network did not give finite scores")


def _device(name: str) -> torch.device:
    """Resolve the device. Raises `Unavailable` if there is no such GPU."""
    device = resolve_device(name)
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # torch without CUDA, no driver, or no such index
        if (device.index or 0) < torch.cuda.device_count():
            raise
        raise Unavailable(
            f"MASKTUNE_DEVICE is {name}, but PyTorch sees no such card; the operator can set it to auto"
        ) from error
    return device


@contextmanager
def _memory() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise Unavailable(
            f"the GPU has no memory left for this; try again in {_RETRY_SECONDS} s, or with fewer images",
            headers={"Retry-After": str(_RETRY_SECONDS)},
        ) from error


def _settled(network: Network, device: torch.device) -> Network:
    network = network.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]  # torch's stub knows no memory_format alone
    return network.requires_grad_(False)


def _interface(network: Network) -> tuple[int, int]:
    return network.spec.classes, network.spec.image_size


def _scores(logits: Tensor, erm_logits: Tensor | None) -> Scores:
    return Scores(_array(logits), None if erm_logits is None else _array(erm_logits))


def _integers(tensor: Tensor) -> NDArray[np.int64]:
    return tensor.cpu().numpy().astype(np.int64)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().cpu().numpy()
