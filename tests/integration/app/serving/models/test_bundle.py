"""A model leaves as a bundle, and answers alike where there is no service."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.numpy_helper import to_array
from PIL import Image

from app.inference.engines import graph_store as graphs
from core.queries import registry
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm
from models.selective import NEIGHBOURS_FILE, TrainingNeighbours
from tests.integration.app.serving.conftest import CLASSES, SAMPLES, World, picture
from tests.integration.app.serving.reject_option.test_unlike import add_model
from tests.support.docs.pages import blocks
from tests.support.graphs import downloaded, store
from tests.support.processes import ROOT

Members = dict[str, bytes]

MEMBERS = {
    "card.md",
    "card.json",
    "model.onnx",
    "model.safetensors",
    "erm.safetensors",
    "SHA256SUMS",
}
IMAGES = 48
MARGIN = 1e-6
"""Nearer to the threshold, sums of another order may decide. 1e-4 is promised, but random networks
are about as sure of one image as of another."""
POLICY: dict[str, Any] = {"score": "product", "max_risk": 0.05}
"""A score that needs both networks, and a risk that the calibration certifies."""
_WITHOUT_TORCH = """
import sys

class OnlyRuntime:
    def find_spec(self, name, path=None, target=None):
        if name in {"app", "core", "masktune", "models", "onnx", "safetensors", "timm", "torch"}:
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, OnlyRuntime())
"""


def _download(world: World, model: str | None = None, **query: Any) -> Any:
    address = f"/models/{model or world.model}/download"
    return world.client.get(address, params={"format": "bundle"} | query)


def _members(bundle: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(bundle)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def _summed(members: Members) -> Members:
    """The members, with the sums of what they are now."""
    rest = {name: content for name, content in members.items() if name != "SHA256SUMS"}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in rest.items())
    return rest | {"SHA256SUMS": sums.encode()}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return downloaded(tmp_path_factory).read_bytes()


@pytest.fixture(scope="module")
def model(world: World, graph: bytes) -> str:
    return _telling_model(world, graph)[0]


@pytest.fixture(scope="module")
def members(world: World, model: str) -> Members:
    answer = _download(world, model, **POLICY)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="{model}.zip"'
    unchanged = {"If-None-Match": answer.headers["etag"]}
    query = {"format": "bundle"} | POLICY
    again = world.client.get(f"/models/{model}/download", params=query, headers=unchanged)
    assert again.status_code == 304
    return _members(answer.content)


def _odd_images(folder: Path) -> list[Path]:
    """Images of odd sizes, bright and dark: a network of random weights is not equally sure of all."""
    generator, paths = np.random.default_rng(0), []
    for number in range(IMAGES):
        height, width = generator.integers(8, 160, 2)
        pixels = generator.integers(0, 256, (height, width, 3)) // generator.integers(1, 9)
        pixels[:, : width // 2] //= 1 + number % 4
        paths.append(folder / f"{number:03}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
    return paths


def _served(world: World, model: str, paths: list[Path], policy: dict[str, Any]) -> list[dict[str, Any]]:
    files = [("file", (path.name, path.read_bytes())) for path in paths]
    answer = world.client.post("/predict", params={"model": model} | policy, files=files)
    assert answer.status_code == 200, answer.text
    predictions: list[dict[str, Any]] = answer.json()["predictions"]
    return predictions


def _decided_elsewhere(bundle: Members, folder: Path, paths: list[Path]) -> list[list[str]]:
    """Run the program of the documentation, without torch and the service, on these images."""
    (folder / "bundle").mkdir()
    (folder / "bundle" / "model.onnx").write_bytes(bundle["model.onnx"])
    program = blocks(ROOT / "docs/how-to/bundle.md")[1].commands[0].text
    text = program.partition("\n")[2].rpartition("\n")[0]
    (folder / "answer.py").write_text(_WITHOUT_TORCH + text)
    command = [sys.executable, "answer.py", *map(str, paths)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert not done.stderr
    return [line.split(" ") for line in done.stdout.splitlines()]  # decision, label or reason, score


def _telling_model(world: World, graph: bytes) -> tuple[str, Any]:
    """A model with ERM and this graph that can tell; which samples are unlike its training images."""
    model, unlike = add_model(world)
    _change(world, model, arm=Arm.MASKTUNE, erm_id=world.erm, job_id=world.job, dataset_id=world.dataset)
    store(world.services.artifacts, graphs.key(model, "product", tells_unlike=True), graph)
    return model, unlike


def _change(world: World, model: str, *, calibration: dict[str, Any] | None = None, **fields: Any) -> None:
    """Change the row, and its calibration, which gets another id."""
    with world.services.database.begin() as session:
        row = registry.get(session, model)
        assert row.calibration is not None
        row.calibration = row.calibration | {"id": new_id("cal")} | (calibration or {})
        for name, field in fields.items():
            setattr(row, name, field)


def _call_furthest_unlike(world: World, model: str, distances: list[float]) -> float:
    """Call the furthest fifth of these unlike the training images; the threshold."""
    file = world.services.artifacts.folder(f"calibrations/{model}") / NEIGHBOURS_FILE
    threshold = float(np.quantile(distances, 0.8))
    replace(TrainingNeighbours.load(file), threshold=threshold).save(file)
    _change(world, model, calibration={"unlike_threshold": threshold})
    return threshold


@pytest.mark.slow
def test_decisions_elsewhere_equal_the_services(world: World, graph: bytes, tmp_path: Path) -> None:
    paths, (model, _) = _odd_images(tmp_path), _telling_model(world, graph)
    everything = _served(world, model, paths, {"score": "product"})
    distances = [one["unlike_training"]["distance"] for one in everything]
    unlike_threshold = _call_furthest_unlike(world, model, distances)
    policy = {"score": "product", "min_score": float(np.median([one["score"] for one in everything]))}
    bundle = _members(_download(world, model, **policy).content)
    served, elsewhere = _served(world, model, paths, policy), _decided_elsewhere(bundle, tmp_path, paths)
    assert len(elsewhere) == len(served) == IMAGES
    decisions, reasons = Counter[str](), Counter[str]()
    for one, (decision, answer, printed) in zip(served, elsewhere, strict=True):
        assert float(printed) == pytest.approx(one["score"], abs=1e-4)  # printed with four digits
        distance = one["unlike_training"]["distance"]
        clear = abs(one["score"] - policy["min_score"]) > MARGIN and abs(distance - unlike_threshold) > 1e-4
        if clear:
            assert (decision, answer) == (one["decision"], one["label"] or one["abstain_reason"])
            decisions[decision] += 1
            reasons[answer] += decision == "abstain"
    assert min(decisions["answer"], decisions["abstain"]) > IMAGES // 4
    assert min(reasons["below_threshold"], reasons["unlike_training"]) > IMAGES // 8


def test_of_an_uncalibrated_model_the_bundle_has_the_temperature_1(world: World) -> None:
    model = world.uncalibrated()
    store(world.services.artifacts, graphs.key(model, "max_softmax"), b"")
    members = _members(_download(world, model, min_score=0.7).content)
    assert members.keys() == MEMBERS - {"erm.safetensors"}
    graph = onnx.load_from_string(members["model.onnx"]).graph
    values = {one.name: to_array(one) for one in graph.initializer}
    assert values["temperature"] == 1
    assert np.exp(values["thresholds"]) == pytest.approx([0.7, 0.7])


def test_the_bundle_says_what_it_is_and_what_it_promises(world: World, model: str, members: Members) -> None:
    assert members.keys() == MEMBERS
    assert _summed(members) == members
    card, text = json.loads(members["card.json"]), members["card.md"].decode()
    assert (card["model"]["id"], card["erm"]["id"]) == (model, world.erm)
    parts = {part["title"]: part["sentences"] for part in card["parts"]}
    assert [title for title, sentences in parts.items() if not sentences] == [
        "Intended use",
        "Who answers for it",
        "Licence of the model and of its training images",
    ]
    for title, sentences in parts.items():
        assert f"## {title}\n" in text
        assert all(f"- {one['text']}" in text for one in sentences)
    assert {one["job"] for one in (*parts["Trained on"], *parts["How"])} == {world.job}
    assert "data set pair" in parts["Trained on"][0]["text"]
    assert parts["When it answers"][0]["text"].startswith("Certified: with 99\u00a0% confidence")
    assert parts["Not for"][0]["text"].startswith("This is no promise about a single input, a group")
    assert text.count("**To be added by a person:**") == 3


def test_thresholds_by_class_are_in_the_graph_and_on_the_card(world: World, model: str) -> None:
    policy: dict[str, Any] = {
        "score": "product",
        "max_class_risk": 0.1,
        "max_missed": 0.3,
        "risk_confidence": 0.9,
    }
    bundle = _members(_download(world, model, **policy).content)
    selection = json.loads(bundle["card.json"])["selection"]
    risks = {row["label"]: row for row in selection["promises"] if row["statement"] == "risk"}
    graph = onnx.load_from_string(bundle["model.onnx"]).graph
    (thresholds,) = (to_array(one) for one in graph.initializer if one.name == "thresholds")
    expected = [risks[label]["threshold"] or np.inf for label in CLASSES]
    np.testing.assert_allclose(np.exp(thresholds), expected)
    assert any(np.isfinite(expected))
    card = bundle["card.md"].decode()
    for label in CLASSES:
        sentence = f"At most 10\u00a0% of the answers “{label}” are wrong."
        assert (sentence in card) == (risks[label]["status"] == "certified")


def test_what_cannot_be_certified_always_abstains_or_is_refused(world: World, model: str) -> None:
    strict = POLICY | {"max_risk": 0.01}
    bundle = _members(_download(world, model, **strict).content)
    assert b"The graph abstains on every input." in bundle["card.md"]
    session = onnxruntime.InferenceSession(bundle["model.onnx"], providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["image"]
    image = np.full((30, 20, 3), 200, np.uint8)
    decision, label, *_ = session.run(None, {"image": image})
    assert (decision, label) == ("abstain", "")
    everything = _members(_download(world, model, score="product").content)["model.onnx"]
    session = onnxruntime.InferenceSession(everything, providers=["CPUExecutionProvider"])
    assert session.run(["decision"], {"image": image}) == ["answer"]
    refusal = _download(world, model, **strict, on_uncertified="error")
    assert (refusal.status_code, refusal.json()["code"]) == (409, "not-certifiable")


def test_one_policy_for_a_bundle_alone(world: World) -> None:
    for query, pointer, code in (
        ({"coverage": 0.9, "max_risk": 0.1}, "?coverage", "one-policy"),
        ({"format": "onnx", "coverage": 0.9}, "?coverage", "needs-bundle"),
        ({"risk_confidence": 0.9}, "?risk_confidence", "needs-max-risk"),
        ({"coverage": 7}, "?coverage", "less-than-equal"),
    ):
        refusal = _download(world, **query)
        (fault, *_) = refusal.json()["errors"]
        assert (refusal.status_code, fault["pointer"], fault["code"]) == (422, pointer, code)


def test_what_tells_unlike_inputs_is_in_the_graph(fresh_world: World, graph: bytes) -> None:
    world, policy = fresh_world, {"score": "product", "coverage": 0.9}
    model, _ = _telling_model(world, graph)
    artifacts, key = world.services.artifacts, graphs.key(model, "product", tells_unlike=True)
    review_policy = {"enabled": True, "max_risk": 0.05}
    assert world.client.put(f"/models/{model}/review-policy", json=review_policy).status_code == 200
    download = _download(world, model, **policy)
    assert download.status_code == 200, download.text
    bundle = _members(download.content)
    assert "abstains on an input that is unlike the training images" in bundle["card.md"].decode()
    assert world.client.get(f"/models/{model}").json()["promise"] is not None
    assert json.loads(bundle["card.json"])["model"]["promise"] is None, "it concerns the users here"
    by_class: dict[str, Any] = {"score": "product", "max_class_risk": 0.9, "risk_confidence": 0.5}
    for query in (policy, by_class, {"score": "product"}):
        members = _members(_download(world, model, **query).content)
        _answers_as_the_service(world, model, query, members["model.onnx"])
    assert world.client.delete(f"/models/{model}").status_code == 204
    assert not artifacts.exists(key)


def _answers_as_the_service(world: World, model: str, query: Mapping[str, Any], graph: bytes) -> None:
    """Assert it of samples that the model was calibrated on, unlike the training images and not."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = ["decision", "label", "abstain_reason", "distance"]
    reasons = set()
    for number in range(0, SAMPLES, 5):
        (one,) = world.ask(model=model, sample=number, **query)["predictions"]
        image = np.asarray(Image.open(io.BytesIO(picture(number))).convert("RGB"))
        *answer, distance = session.run(names, {"image": image})
        assert distance == pytest.approx(one["unlike_training"]["distance"], abs=1e-5)
        assert answer == [one["decision"], one["label"] or "", one["abstain_reason"] or ""]
        reasons.add(one["abstain_reason"])
    assert ("unlike_training" in reasons) == (len(query) > 1)  # with a policy
