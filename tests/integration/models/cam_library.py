"""Adapters for the grad-cam package: its class for each of our methods, and a network that it accepts."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from models.saliency import SplitNetwork

FAST = {
    "xgradcam": "XGradCAM",
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "gradcamelementwise": "GradCAMElementWise",
    "fem": "FEM",
}
LIBRARY = FAST | {"fullgrad": "FullGrad"}


def cam_class(method: str) -> Any:
    """The package's class; imported here, for it loads torchvision and matplotlib."""
    import pytorch_grad_cam

    return getattr(pytorch_grad_cam, LIBRARY[method])


class Whole(nn.Module):
    """A network with one forward method and a layer to hook, as the package requires."""

    def __init__(self, network: SplitNetwork) -> None:
        super().__init__()
        self.network, self.tap = network, nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.network.head(self.tap(self.network.features(images)))
