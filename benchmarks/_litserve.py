"""Serve the network with LitServe (`pip install --group bench`) and its batching; `_rivals` starts it."""

# No postponed annotations: LitServe reads the annotation of `decode_request`.

from pathlib import Path
from typing import Annotated, Any

import litserve
import torch
from fastapi import Body
from torch import Tensor

from benchmarks._common import usable_cores
from benchmarks._rivals import answers, pixels
from models.export import load_model
from models.runtime.process import prepare_process

_BATCH = 64
"""The same maximum as masktune's."""


class Api(litserve.LitAPI):  # type: ignore[misc]  # it has no types
    def __init__(self, model: Path, **options: Any) -> None:
        super().__init__(**options)
        self.folder = model

    def setup(self, device: str) -> None:
        prepare_process(usable_cores())
        torch.use_deterministic_algorithms(False)
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


def serve(model: Path, port: int) -> None:
    """Serve until terminated. A batch waits for 2 ms, since without a wait it never exceeds one image."""
    server = litserve.LitServer(
        Api(model, max_batch_size=_BATCH, batch_timeout=0.002), accelerator="cpu", fast_queue=True
    )
    server.run(host="127.0.0.1", port=port, log_level="error", generate_client_file=False, access_log=False)
