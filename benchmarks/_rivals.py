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
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import litserve
import numpy as np
import torch
import uvicorn
from fastapi import Body, FastAPI, Request
from PIL import Image
from torch import Tensor

from benchmarks._common import usable_cores
from models.backbones.network import Network
from models.data.images.decoding import square, to_unit
from models.export import load_model
from models.runtime.process import prepare_process

_MODEL = "RIVAL_MODEL"
_MOST_IN_BATCH = 64
"""The same as masktune's."""


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


class Api(litserve.LitAPI):  # type: ignore[misc]  # it has no types
    """The network, for LitServe."""

    def __init__(self, model: Path, **options: Any) -> None:
        super().__init__(**options)
        self.folder = model

    def setup(self, device: str) -> None:
        _prepare()
        self.network, self.card = load_model(self.folder)

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/*")]) -> Tensor:
        return pixels(request, self.card.image_size)

    def batch(self, inputs: list[Tensor]) -> Tensor:
        return torch.stack(inputs)

    def predict(self, x: Tensor) -> list[dict[str, Any]]:
        return answers(self.network, self.card.classes, x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


def serve_litserve(model: Path, port: int) -> None:
    """Serve until terminated. A batch waits for 2 ms, since without a wait it never exceeds one image."""
    _prepare()
    server = litserve.LitServer(
        Api(model, max_batch_size=_MOST_IN_BATCH, batch_timeout=0.002), accelerator="cpu", fast_queue=True
    )
    server.run(host="127.0.0.1", port=port, log_level="error", generate_client_file=False, access_log=False)


def _prepare() -> None:
    prepare_process(usable_cores())
    torch.use_deterministic_algorithms(False)


def main(name: str, model: str, port: str, processes: str = "1") -> None:
    if name == "litserve":
        # Of the module by its name, which LitServe's processes import; they cannot import `__main__`.
        import_module("benchmarks._rivals").serve_litserve(Path(model), int(port))
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
