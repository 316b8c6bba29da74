"""`pretrained` starts from a file of weights that was fetched elsewhere; whatever does not fit is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import safetensors.torch
import torch
from torch import Tensor

from models.backbones.add_weights import add_weights
from models.backbones.build import build_network, find_library
from models.backbones.errors import BackboneError, WeightsUnavailable
from models.backbones.weights import PublishedWeights

TIMM, TORCHVISION = "timm/test_resnet", "squeezenet1_1"
CONFIG = {
    "architecture": "test_resnet",
    "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch hub's folder of weights, empty; the internet is out of reach."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens on the discard port
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # else it tries for a minute
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "huggingface"))
    return tmp_path / "hub/checkpoints"


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, Tensor]]:
    """The tensors of each network, with ImageNet's classes."""
    return {
        name: {key: tensor.contiguous() for key, tensor in network.model.state_dict().items()}
        for name in (TIMM, TORCHVISION)
        for network in [build_network(name, classes=1000, image_size=64, seed=7)]
    }


def write(state: dict[str, Any], file: Path) -> Path:
    file.parent.mkdir(exist_ok=True)
    if file.suffix == ".safetensors":
        safetensors.torch.save_file(state, file)
    else:
        torch.save(state, file)
    return file


def published(name: str) -> PublishedWeights:
    library, plain = find_library(name)
    return library.published_weights(plain)


def refused(name: str, path: Path, match: str, cache: Path) -> None:
    with pytest.raises(BackboneError, match=match):
        add_weights(name, path)
    assert not cache.exists() or list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "file"),
    [
        (TIMM, "model.safetensors"),
        (TIMM, "pytorch_model.bin"),
        (TORCHVISION, "model.safetensors"),
        (TORCHVISION, "old.pth"),
    ],
)
def test_a_job_starts_from_added_weights(
    name: str, file: str, states: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    with pytest.raises(WeightsUnavailable, match="masktune weights add"):
        build_network(name, classes=2, image_size=64, pretrained=True)
    weights_file = write(states[name], tmp_path / "fetched" / file)
    added = add_weights(name, weights_file)
    assert added.sha256 == hashlib.sha256(weights_file.read_bytes()).hexdigest()
    network = build_network(name, classes=1000, image_size=64, pretrained=True)
    started = network.model.state_dict()
    assert all(torch.equal(started[key], tensor) for key, tensor in states[name].items())
    assert build_network(name, classes=2, image_size=64, pretrained=True).classifier.weight.shape[0] == 2
    assert published(name).place == "cached"
    if weights_file.suffix == added.file.suffix:
        assert added.file.read_bytes() == weights_file.read_bytes()


def test_a_folder_of_the_hub_is_added(states: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    folder = write(states[TIMM], tmp_path / "snapshot/model.safetensors").parent
    (folder / "config.json").write_text(json.dumps(CONFIG))
    assert add_weights(TIMM, folder).file.name.startswith("timm--test_resnet")


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (CONFIG | {"architecture": "test_resnet2"}, "of test_resnet2, not of test_resnet"),
        (CONFIG | {"pretrained_cfg": {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2]}}, "normalised by"),
        ({"model_type": "resnet"}, "not one of timm's"),
    ],
)
def test_a_folder_whose_config_names_another_network_is_refused(
    config: dict[str, Any], match: str, states: dict[str, dict[str, Tensor]], tmp_path: Path, cache: Path
) -> None:
    folder = write(states[TIMM], tmp_path / "snapshot/pytorch_model.bin").parent
    (folder / "config.json").write_text(json.dumps(config))
    refused(TIMM, folder, match, cache)


def test_a_folder_without_weights_is_refused(tmp_path: Path, cache: Path) -> None:
    refused(TIMM, tmp_path, "has no model.safetensors or pytorch_model.bin", cache)


@pytest.mark.parametrize(("name", "other"), [(TIMM, TORCHVISION), (TORCHVISION, TIMM)])
def test_weights_of_another_network_are_refused(
    name: str, other: str, states: dict[str, dict[str, Tensor]], tmp_path: Path, cache: Path
) -> None:
    refused(name, write(states[other], tmp_path / "model.pth"), r"do not fit .*Missing key", cache)


@pytest.mark.parametrize("name", [TIMM, TORCHVISION])
def test_weights_without_imagenets_classes_are_refused(name: str, tmp_path: Path, cache: Path) -> None:
    state = dict(build_network(name, classes=5, image_size=64).model.state_dict())
    refused(name, write(state, tmp_path / "model.pth"), r"do not fit .*1000", cache)


@pytest.mark.parametrize("name", [TIMM, TORCHVISION])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_damaged_file_is_refused(
    name: str, suffix: str, states: dict[str, dict[str, Tensor]], tmp_path: Path, cache: Path
) -> None:
    whole = write(states[name], tmp_path / f"whole{suffix}").read_bytes()
    for kind, content in {
        "half": whole[: len(whole) // 2],
        "empty": b"",
        "page": b"<!DOCTYPE html><html>",
        "start": whole[:200],
    }.items():
        file = tmp_path / f"{kind}{suffix}"
        file.write_bytes(content)
        refused(name, file, f"{kind}{suffix} cannot be read as a file of tensors", cache)


class Touching:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", [TIMM, TORCHVISION])
def test_code_in_a_pickle_is_not_run(
    name: str, states: dict[str, dict[str, Tensor]], tmp_path: Path, cache: Path
) -> None:
    state = states[name] | {"more": Touching(tmp_path / "touched")}
    refused(name, write(state, tmp_path / "model.pth"), "Python objects besides tensors", cache)
    assert not (tmp_path / "touched").exists()


def test_a_checkpoint_with_more_than_weights_is_refused(
    states: dict[str, dict[str, Tensor]], tmp_path: Path, cache: Path
) -> None:
    file = write({"state_dict": states[TIMM], "epoch": 3}, tmp_path / "model.pth")
    refused(TIMM, file, "not a plain dictionary of tensors", cache)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("timm/tf_efficientnet_lite0", "come with the service"),
        ("small_cnn", "no published weights"),
        ("coatnet_0_224", "no published weights"),
        ("resnet81", "near matches"),
    ],
)
def test_a_network_that_takes_no_added_weights_is_refused(
    name: str, match: str, tmp_path: Path, cache: Path
) -> None:
    refused(name, tmp_path / "model.safetensors", match, cache)


def test_the_name_of_torchvisions_file_tells_whether_it_is_the_published_one(
    states: dict[str, dict[str, Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.models as tv

    file = write(states[TORCHVISION], tmp_path / "model.pth")
    assert add_weights(TORCHVISION, file).is_published is False
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    weights = tv.SqueezeNet1_1_Weights.DEFAULT.value
    monkeypatch.setattr(weights, "url", f"https://download.pytorch.org/models/squeezenet1_1-{digest[:8]}.pth")
    added = add_weights(TORCHVISION, file)
    assert (added.is_published, added.file.name) == (True, f"squeezenet1_1-{digest[:8]}.pth")


@pytest.mark.parametrize("name", [TIMM, TORCHVISION])
def test_a_file_that_was_damaged_after_it_was_added_is_named_by_the_job(
    name: str, states: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    added = add_weights(name, write(states[name], tmp_path / "model.safetensors"))
    added.file.write_bytes(added.file.read_bytes()[:1000])
    with pytest.raises(WeightsUnavailable, match="could not be fetched or read"):
        build_network(name, classes=2, image_size=64, pretrained=True)


@pytest.mark.parametrize(
    ("license_text", "in_the_file", "expected"),
    [("mine", "theirs", "mine"), (None, "theirs", "theirs"), (None, None, "apache-2.0")],
)
def test_the_licence_is_the_stated_one_else_the_files_else_the_librarys(
    license_text: str | None,
    in_the_file: str | None,
    expected: str,
    states: dict[str, dict[str, Tensor]],
    tmp_path: Path,
) -> None:
    file, metadata = tmp_path / "model.safetensors", {"license": in_the_file} if in_the_file else None
    safetensors.torch.save_file(states[TIMM], file, metadata)
    assert add_weights(TIMM, file, license_text=license_text).license == expected
    assert (published(TIMM).place, published(TIMM).license) == ("cached", expected)
    add_weights(TIMM, write(states[TIMM], tmp_path / "again.safetensors"))  # which states none
    assert published(TIMM).license == "apache-2.0"
