"""Other ways to serve the same network: `python -m benchmarks._rivals NAME MODEL PORT [PROCESSES]`.

`empty`: FastAPI with a handler that does nothing, the lower bound of any FastAPI service. `naive`: FastAPI,
one forward pass per request. `litserve`: LitServe with its batching and its default number of processes. The
last two take an image as the body and respond with its label and a probability. None has a reject option,
models by name, limits or metrics.
"""

# No postponed annotations: FastAPI and LitServe read the annotations of nested functions and methods.

import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image
from torch import Tensor

from benchmarks._common import usable_cores
from models.backbones.network import Network
from models.data.images.decoding import square, to_unit
from models.export import load_model
from models.runtime.process import prepare_process

_MODEL = "RIVAL_MODEL"


def pixels(data: bytes, size: int) -> Tensor:
    """An encoded image as (3, size, size) uint8."""
    return square(Image.open(io.BytesIO(data)).convert("RGB"), size)


def answers(network: Network, classes: tuple[str, ...], images: Tensor) -> list[dict[str, Any]]:
    """Label and probability of uint8 images (N, 3, S, S)."""
    with torch.inference_mode():
        shares = network(to_unit(images)).softmax(1).numpy()
    best = shares.argmax(1)
    return [{"label": classes[k], "probability": float(shares[i, k])} for i, k in enumerate(np.asarray(best))]


def empty() -> FastAPI:
    app = FastAPI()

    @app.post("/predict")
    async def predict() -> dict[str, str]:
        return {}

    return app


def naive() -> FastAPI:
    app = FastAPI()
    _prepare()
    network, card = load_model(Path(os.environ[_MODEL]))

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, Any]:
        image = pixels(await request.body(), card.image_size)
        return answers(network, card.classes, image[None])[0]

    return app


def _prepare() -> None:
    prepare_process(usable_cores())
    torch.use_deterministic_algorithms(False)


def main(name: str, model: str, port: str, processes: str = "1") -> None:
    if name == "litserve":
        from benchmarks._litserve import serve  # an extra of the benchmarks

        _prepare()
        serve(Path(model), int(port))
        return
    os.environ[_MODEL] = model  # uvicorn's processes start afresh
    uvicorn.run(
        f"benchmarks._rivals:{name}",
        factory=True,
        port=int(port),
        workers=int(processes),
        log_level="error",
        access_log=False,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
