"""What a process that trains or serves does not import, and so neither waits nor pays for."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import io
import sys
import torch
from PIL import Image
from torch import nn
from masktune.contract.hyperparameters import OptimizerConfig
from models.data.images.checks import decode_image
from models.data.images.decoding import square_array
from models.data.images.limits import ImageLimits
from models.mitigation.logistic import fit_heads
from models.training.optim import make_optimizer

def loaded(by: str) -> None:
    print(by, *sorted({"torch._dynamo", "sympy", "torchvision"} & set(sys.modules)))

png = io.BytesIO()
Image.new("RGB", (8, 8)).save(png, "PNG")
assert square_array(decode_image(png.getvalue(), ImageLimits()).image, 28).shape == (3, 28, 28)
loaded("decoding")
fit_heads(torch.randn(6, 2), torch.tensor([0, 1] * 3), torch.ones(6, 1), penalty=1.0, classes=2)
loaded("fitting")
layer = nn.Linear(2, 1)
for name in ("sgd", "adam", "adamw"):
    optimizer = make_optimizer(layer, OptimizerConfig(name))
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
loaded("training")
"""


def test_neither_torchs_compiler_nor_torchvision_is_loaded() -> None:
    """1.2 s and 80 MiB. If torch's update fails this, `models.runtime.eager_optim` is to be adapted."""
    command = [sys.executable, "-c", _SCRIPT]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    assert ended.stdout.splitlines() == ["decoding", "fitting", "training"]
