"""Adapters for the grad-cam package: its class for each of our methods, and a network that it accepts."""

from __future__ import annotations

import pytorch_grad_cam as library
from torch import Tensor, nn

from models.saliency import SplitNetwork

FAST = {
    "xgradcam": library.XGradCAM,
    "gradcam": library.GradCAM,
    "gradcam++": library.GradCAMPlusPlus,
    "hirescam": library.HiResCAM,
    "layercam": library.LayerCAM,
    "gradcamelementwise": library.GradCAMElementWise,
    "finercam": library.FinerCAM,
    "shapleycam": library.ShapleyCAM,
    "eigencam": library.EigenCAM,
    "eigengradcam": library.EigenGradCAM,
    "segeigencam": library.SegEigenCAM,
    "fem": library.FEM,
}
SLOW = {"scorecam": library.ScoreCAM, "ablationcam": library.AblationCAM, "fullgrad": library.FullGrad}
LIBRARY = FAST | SLOW


class Whole(nn.Module):
    """A network with one forward method and a layer to hook, as the package requires."""

    def __init__(self, network: SplitNetwork) -> None:
        super().__init__()
        self.network, self.tap = network, nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.network.head(self.tap(self.network.features(images)))
