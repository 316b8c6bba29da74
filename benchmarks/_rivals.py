"""Other ways to serve the same network, as processes: `python -m benchmarks._rivals NAME MODEL PORT`.

`empty`: FastAPI with a handler that does nothing, the floor of any service in it. `naive`: FastAPI, one
forward pass a request. `litserve`: LitServe with its batching. All take an image as the body and answer
its label with a probability; none has a reject option, models by name, limits or metrics.
"""

# No postponed annotations: FastAPI and LitServe read those of nested functions and methods.

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image
from torch import Tensor

from benchmarks._machine import usable_cores
from models.backbones import Network
from models.data.decoding import square, to_unit
from models.export import load_model
from models.process import prepare_process


def pixels(data: bytes, size: int) -> Tensor:
    """An encoded image as (3, size, size) uint8."""
    return square(Image.open(io.BytesIO(data)).convert("RGB"), size)


def answers(network: Network, classes: tuple[str, ...], images: Tensor) -> list[dict[str, Any]]:
    """Label and probability of uint8 images (N, 3, S, S)."""
    with torch.inference_mode():
        shares = network(to_unit(images)).softmax(1).numpy()
    best = shares.argmax(1)
    return [{"label": classes[k], "probability": float(shares[i, k])} for i, k in enumerate(np.asarray(best))]


def empty(model: Path, port: int) -> None:
    app = FastAPI()

    @app.post("/predict")
    async def predict() -> dict[str, str]:
        return {}

    uvicorn.run(app, port=port, log_level="error", access_log=False)


def naive(model: Path, port: int) -> None:
    app = FastAPI()
    network, card = load_model(model)

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, Any]:
        image = pixels(await request.body(), card.image_size)
        return answers(network, card.classes, image[None])[0]

    uvicorn.run(app, port=port, log_level="error", access_log=False)


def litserve(model: Path, port: int) -> None:
    from benchmarks._litserve import serve  # an extra of the benchmarks

    serve(model, port)


RIVALS: dict[str, Callable[[Path, int], None]] = {"empty": empty, "naive": naive, "litserve": litserve}

if __name__ == "__main__":
    prepare_process(usable_cores())
    torch.use_deterministic_algorithms(False)
    RIVALS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
