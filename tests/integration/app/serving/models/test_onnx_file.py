"""A downloaded ONNX file says all that a stranger needs to answer as the service does (how-to/onnx.md)."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pytest
from onnx import ModelProto
from PIL import Image

from app.inference.engines import graph_store as graphs
from core.tables import ModelRow
from models.data.images.decoding import square_array
from tests.integration.app.serving.conftest import CLASSES, TEMPERATURE, World
from tests.support.docs.pages import blocks
from tests.support.graphs import exported, store
from tests.support.processes import ROOT

SIZES = [(1, 500), (500, 1), (8, 500), (37, 41), (28, 28), (333, 90), (4200, 9)]
"""Heights and widths."""


def _program(folder: Path, graph: bytes, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of the page's program, which has read this graph; its last line, the example, is left out."""
    (folder / "digits.onnx").write_bytes(graph)
    monkeypatch.chdir(folder)
    text = blocks(ROOT / "docs/how-to/onnx.md")[1].commands[0].text
    names: dict[str, Any] = {}
    exec(text.partition("\n")[2].rpartition("print(")[0], names)
    return names


def _image(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_the_pages_program_answers_as_the_service_does(
    world: World,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store(world.services.artifacts, graphs.key(world.model), exported(tmp_path_factory).read_bytes())
    address = f"/models/{world.model}/download"
    graph = world.client.get(address, params={"format": "onnx"}).content
    program = _program(tmp_path, graph, monkeypatch)
    facts, reasons = program["facts"], set()
    assert facts["masktune.temperature"] == TEMPERATURE != 1  # labels and thresholds depend on it
    assert facts["masktune.thresholds"]["max_risk=0.01&risk_confidence=0.99"] is None  # nothing certifies it
    for height, width in SIZES:
        size = facts["masktune.resize"]["size"][0]
        image = _image(height, width)
        columns = program["resized"](np.asarray(image).swapaxes(0, 1), size)
        pixels = program["resized"](np.swapaxes(columns, 0, 1), size)
        np.testing.assert_array_equal(pixels.transpose(2, 0, 1), square_array(image, size))
    odd = _image(37, 41)
    for encoded in (
        _encoded(_image(8, 500)),
        _encoded(odd.convert("RGBA")),
        _encoded(odd.quantize(16)),
        _encoded(odd.convert("L")),
        _encoded(_image(123, 77), "JPEG", exif=_rotated()),
        _encoded(_image(40, 90), "TIFF", exif=_rotated()),
    ):
        (tmp_path / "image").write_bytes(encoded)
        for policy in facts["masktune.thresholds"]:
            query = {"model": world.model, "top_k": 2, **dict(parse_qsl(policy))}
            raw = {"Content-Type": "application/octet-stream"}
            served = world.client.post("/predict", params=query, content=encoded, headers=raw)
            (expected,) = served.json()["predictions"]
            label, shares = program["answer"]("image", policy)
            assert label == expected["label"]
            probabilities = {one["label"]: one["probability"] for one in expected["candidates"]}
            assert shares == pytest.approx([probabilities[name] for name in CLASSES], abs=1e-4)
            assert shares.max() == pytest.approx(expected["score"], abs=1e-4)
            reasons.add(expected["abstain_reason"])
    assert reasons == {None, "below_threshold", "no_certified_threshold"}


def _facts(world: World, model: str) -> tuple[str, dict[str, Any]]:
    """The ETag and the metadata of a download."""
    answer = world.client.get(f"/models/{model}/download", params={"format": "onnx"})
    assert answer.headers["cache-control"] == "private, no-cache"
    entries = ModelProto.FromString(answer.content).metadata_props
    return answer.headers["etag"], {
        entry.key.removeprefix("masktune."): json.loads(entry.value) for entry in entries
    }


def test_what_the_file_says_follows_the_calibration(fresh_world: World) -> None:
    world, uncalibrated = fresh_world, fresh_world.uncalibrated()
    for model in (world.model, uncalibrated):
        store(world.services.artifacts, graphs.key(model), b"")
    etag, facts = _facts(world, world.model)
    assert facts["model"] == world.model
    assert facts["temperature"] == TEMPERATURE
    thresholds = facts["thresholds"]
    policy = {"max_risk": 0.1, "risk_confidence": 0.99}
    served = world.ask(**policy)["selection"]["threshold"]
    assert np.exp(thresholds["max_risk=0.1&risk_confidence=0.99"]) == pytest.approx(served)
    assert thresholds["coverage=0.95"] < thresholds["coverage=0.8"]
    assert facts["calibration"] == world.client.get(f"/models/{world.model}").json()["calibration"]

    with world.services.database.begin() as session:  # that of another model, as if it were calibrated anew
        other = session.get_one(ModelRow, world.control).calibration
        session.get_one(ModelRow, world.model).calibration = other
    newer, changed = _facts(world, world.model)
    assert newer != etag
    assert changed["thresholds"] != thresholds
    _, without = _facts(world, uncalibrated)
    assert (without["thresholds"], without["calibration"], without["temperature"]) == ({}, None, 1.0)
