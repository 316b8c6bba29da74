"""Each network is listed with the place of its published weights, read from two caches that a test fills."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from models.backbones.build import ListedBackbone, available_backbones, build_network, list_backbones
from models.backbones.weights import PACKAGED, PublishedWeights


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with both caches, which are empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "huggingface"))
    return tmp_path


def config_of(name: str) -> Any:
    """What timm knows about the weights of its network."""
    import timm

    return timm.get_pretrained_cfg(name)


def of_timm(name: str) -> PublishedWeights:
    from models.backbones.timm import published_weights  # loads timm, for seconds

    return published_weights(name)


def of_torchvision(name: str) -> PublishedWeights:
    from models.backbones.torchvision import published_weights

    return published_weights(name)


def fill_torch_cache(folder: Path, url: str) -> None:
    file = folder / "torch/hub/checkpoints" / url.rpartition("/")[2]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


def fill_hub_cache(folder: Path, repository: str, file: str) -> None:
    cached = folder / f"huggingface/models--{repository.replace('/', '--')}"
    snapshot = cached / "snapshots/0123abcd"
    snapshot.mkdir(parents=True)
    (snapshot / file).touch()
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text("0123abcd")


def test_every_name_is_listed_with_its_place() -> None:
    networks = {network.name: network for network in list_backbones()}
    assert list(networks) == available_backbones()
    assert networks["small_cnn"] == ListedBackbone("small_cnn", "own", "none", None, None, None)
    assert networks["resnet32"] == ListedBackbone("resnet32", "own", "none", None, None, None)
    assert networks["resnet18"] == ListedBackbone(
        "resnet18",
        "torchvision",
        "hub",
        224,
        "https://download.pytorch.org/models/resnet18-f37072fd.pth",
        None,
    )
    repository = "https://huggingface.co/timm/resnet18.a1_in1k"
    assert networks["timm/resnet18"] == ListedBackbone(
        "timm/resnet18", "timm", "hub", 224, f"{repository}/resolve/main/model.safetensors", "apache-2.0"
    )
    assert {network.name for network in networks.values() if network.weights == "packaged"} == set(PACKAGED)
    assert not any(network.weights == "cached" for network in networks.values())


def test_what_is_packaged_is_there_without_a_cache_or_the_internet() -> None:
    assert of_timm("tf_efficientnet_lite0") == PublishedWeights("packaged", 224, license="apache-2.0")
    build_network("timm/tf_efficientnet_lite0", classes=2, image_size=64, pretrained=True)


def test_torchvisions_weights_in_the_cache(caches: Path) -> None:
    import torchvision.models as tv

    url = tv.get_model_weights("inception_v3")["DEFAULT"].url
    assert of_torchvision("inception_v3")[:2] == ("hub", 299)
    fill_torch_cache(caches, url)
    assert of_torchvision("inception_v3")[:2] == ("cached", 299)


def test_timms_weights_that_have_a_url_alone_in_the_cache(caches: Path) -> None:
    config = config_of("legacy_xception")
    assert not config.hf_hub_id
    assert of_timm("legacy_xception")[:2] == ("hub", 299)
    fill_torch_cache(caches, config.url)
    assert of_timm("legacy_xception")[:2] == ("cached", 299)


@pytest.mark.parametrize(
    ("file", "place"),
    [("model.safetensors", "cached"), ("pytorch_model.bin", "cached"), ("config.json", "hub")],
)
def test_timms_weights_in_the_cache_of_the_hub(caches: Path, file: str, place: str) -> None:
    fill_hub_cache(caches, config_of("test_vit").hf_hub_id, file)
    assert of_timm("test_vit")[:2] == (place, 160)


def test_a_file_at_the_url_does_not_help_where_timm_asks_the_hub(caches: Path) -> None:
    config = config_of("resnet50")
    assert config.url
    assert config.hf_hub_id
    fill_torch_cache(caches, config.url)
    assert of_timm("resnet50").place == "hub"


def test_weights_without_a_classifier_are_listed_like_others(caches: Path) -> None:
    networks = {network.name: network for network in list_backbones()}
    for name, license in {
        "vit_small_patch14_dinov2": "apache-2.0",
        "vit_small_patch16_dinov3": "dinov3-license",
        "vit_base_patch16_siglip_224": "apache-2.0",
        "vit_base_patch16_clip_224.openai": "apache-2.0",
        "convnext_tiny.dinov3_lvd1689m": "dinov3-license",
    }.items():
        assert (networks[name].weights, networks[name].license) == ("hub", license)


def test_a_choice_of_weights_that_is_the_networks_own_is_listed_without_its_tag() -> None:
    names = available_backbones()
    assert len(names) == len(set(names))
    assert "vit_small_patch14_dinov2" in names
    assert "vit_small_patch14_dinov2.lvd142m" not in names


def test_weights_that_are_published_nowhere_are_none(caches: Path) -> None:
    assert of_timm("coatnet_0_224") == PublishedWeights("none", None)
