"""torchvision's classifiers, cut at the activation before their pooling and last layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torchvision.models as tv
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from torchvision.models import maxvit

from models.backbones.errors import UnsupportedBackbone
from models.backbones.network import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    BuildRequest,
    Built,
    Chain,
    Split,
    flatten,
    grid_to_tokens,
    tokens_to_grid,
    wrong_size,
)
from models.backbones.weights import (
    LOAD_ERRORS,
    READ_ERRORS,
    PublishedWeights,
    WeightsPlace,
    misfit,
    not_fetched,
    renew_classifiers,
    stated_license,
    torch_cache_file,
)


def names() -> Sequence[str]:
    return list(tv.list_models(module=tv))


def knows(name: str) -> bool:
    return name in names()


def published_weights(name: str) -> PublishedWeights:
    url = _url(name)
    file = torch_cache_file(url)
    place: WeightsPlace = "cached" if file.is_file() else "hub"
    return PublishedWeights(place, published_size(name), url, file, stated_license(file))


def check_weights(name: str, tensors: Mapping[str, Tensor]) -> None:
    """Load them as torchvision does, which knows its older files: from its cache, here a temporary one."""
    with TemporaryDirectory() as folder:
        before = torch.hub.get_dir()
        torch.hub.set_dir(folder)
        try:
            file = torch_cache_file(_url(name))
            file.parent.mkdir()
            torch.save(dict(tensors), file)
            _load_published(BuildRequest(name, classes=2, image_size=published_size(name), pretrained=True))
        except LOAD_ERRORS as error:
            raise misfit(name, error) from error
        finally:
            torch.hub.set_dir(before)


def build(request: BuildRequest) -> Built:
    """Normalise as the published weights expect, pretrained or not, so that any weights fit."""
    model = _published(request) if request.pretrained else _make(request, request.classes, weights=None)
    split = _SPLITS.get(type(model))
    if split is None:
        raise UnsupportedBackbone(f"{request.name}: splitting a {type(model).__name__} is not supported yet")
    if isinstance(model, tv.VisionTransformer):
        split = replace(split, carried=model.hidden_dim)  # its class token
    return Built(model, split, IMAGENET_MEAN, IMAGENET_STD, size_hint=_size_hint(request.name))


def _make(request: BuildRequest, classes: int, *, weights: str | None) -> nn.Module:
    options: dict[str, Any] = dict(_OPTIONS.get(request.name, {})) if weights is None else {}
    if size_option := _SIZED.get(request.name.partition("_")[0]):
        options |= size_option(request.image_size)
    try:
        model: nn.Module = tv.get_model(request.name, weights=weights, num_classes=classes, **options)
    except (ValueError, AssertionError) as error:  # the network cannot be built for this size
        raise wrong_size(request.name, request.image_size, error, _size_hint(request.name)) from error
    return model


def published_size(name: str) -> int:
    """The image side, in pixels, at which the published weights are evaluated."""
    return int(tv.get_model_weights(name)["DEFAULT"].transforms().crop_size[0])


def _size_hint(name: str) -> str:
    return f" (it was made for {published_size(name)} pixels)"


def _url(name: str) -> str:
    return str(tv.get_model_weights(name)["DEFAULT"].url)


def _published(request: BuildRequest) -> nn.Module:
    try:
        return _load_published(request)
    except READ_ERRORS as error:
        raise not_fetched(request.name, _url(request.name), error) from error


def _load_published(request: BuildRequest) -> nn.Module:
    published = len(tv.get_model_weights(request.name)["DEFAULT"].meta["categories"])
    model = _make(request, published, weights="DEFAULT")
    if isinstance(model, tv.Inception3):  # GoogLeNet's are gone already
        model.aux_logits, model.AuxLogits = False, None
    renew_classifiers(model, old=published, new=request.classes)
    return model


# Without weights; torchvision sets its own options where it loads the published ones. In their papers, the
# auxiliary classifiers of these two only help to train from scratch. The published weights expect
# `transform_input`: other means and deviations than ImageNet's.
_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True, "transform_input": True},
    "inception_v3": {"aux_logits": False, "init_weights": True, "transform_input": True},
}
_SIZED: dict[str, Callable[[int], dict[str, Any]]] = {
    "vit": lambda side: {"image_size": side},
    "maxvit": lambda side: {"input_size": (side, side)},
}


def _without_last_pool(model: nn.Module, x: Tensor) -> Tensor:
    """AlexNet and VGG: the max pooling at the end of `features` belongs to the head."""
    features = model.get_submodule("features")
    assert isinstance(features, nn.Sequential)
    activation: Tensor = features[:-1](x)
    return activation


def _from_last_pool(model: nn.Module, x: Tensor) -> Tensor:
    features = model.get_submodule("features")
    assert isinstance(features, nn.Sequential)
    return _pooled_classifier(model, features[-1](x))


def _inception_features(*parts: str) -> Callable[[nn.Module, Tensor], Tensor]:
    """Like `Chain`, after converting ImageNet's normalisation to the network's own."""

    def run(model: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(model, tv.GoogLeNet | tv.Inception3)
        return Chain(*parts)(model, model._transform_input(x))

    return run


def _vit_features(model: nn.Module, x: Tensor) -> Tensor:
    """The input tokens of the last block, because after it only the class token decides."""
    assert isinstance(model, tv.VisionTransformer)
    tokens = model._process_input(x)  # (B, h·w, C)
    tokens = torch.cat([model.class_token.expand(x.shape[0], -1, -1), tokens], 1)
    tokens = model.encoder.dropout(tokens + model.encoder.pos_embedding)
    for block in list(model.encoder.layers.children())[:-1]:
        tokens = block(tokens)
    return tokens_to_grid(tokens, 1)


def _vit_head(model: nn.Module, activation: Tensor) -> Tensor:
    assert isinstance(model, tv.VisionTransformer)
    tokens = list(model.encoder.layers.children())[-1](grid_to_tokens(activation, 1))
    return model.heads(model.encoder.ln(tokens)[:, 0])  # type: ignore[no-any-return]  # a module's call


def _global_pool(x: Tensor) -> Tensor:
    return adaptive_avg_pool2d(x, (1, 1))


def _mean(x: Tensor) -> Tensor:
    return x.mean([2, 3])


_pooled_fc = Chain("avgpool", flatten, "fc")
_pooled_classifier = Chain("avgpool", flatten, "classifier")
_googlenet = (
    *("conv1", "maxpool1", "conv2", "conv3", "maxpool2", "inception3a", "inception3b", "maxpool3"),
    *("inception4a", "inception4b", "inception4c", "inception4d", "inception4e", "maxpool4"),
    *("inception5a", "inception5b"),
)
_inception = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
    *("maxpool2", "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d"),
    *("Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c"),
)
_resnet = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
_shufflenet = ["conv1", "maxpool", "stage2", "stage3", "stage4", "conv5"]

_SPLITS: dict[type[nn.Module], Split] = {
    tv.AlexNet: Split(_without_last_pool, _from_last_pool),
    tv.ConvNeXt: Split(Chain("features"), Chain("avgpool", "classifier")),
    tv.DenseNet: Split(Chain("features", torch.relu), Chain(_global_pool, flatten, "classifier")),
    tv.EfficientNet: Split(Chain("features"), _pooled_classifier),
    tv.GoogLeNet: Split(_inception_features(*_googlenet), Chain("avgpool", flatten, "dropout", "fc")),
    tv.Inception3: Split(_inception_features(*_inception), Chain("avgpool", "dropout", flatten, "fc")),
    tv.MNASNet: Split(Chain("layers"), Chain(_mean, "classifier")),
    tv.MobileNetV2: Split(Chain("features"), Chain(_global_pool, flatten, "classifier")),
    tv.MobileNetV3: Split(Chain("features"), _pooled_classifier),
    tv.RegNet: Split(Chain("stem", "trunk_output"), _pooled_fc),
    tv.ResNet: Split(Chain(*_resnet), _pooled_fc),
    tv.ShuffleNetV2: Split(Chain(*_shufflenet), Chain(_mean, "fc")),
    # SqueezeNet's last convolution gives the class scores, so its input is the activation.
    tv.SqueezeNet: Split(Chain("features"), Chain("classifier", flatten)),
    tv.SwinTransformer: Split(Chain("features", "norm", "permute"), Chain("avgpool", flatten, "head")),
    tv.VGG: Split(_without_last_pool, _from_last_pool),
    tv.VisionTransformer: Split(_vit_features, _vit_head),
    maxvit.MaxVit: Split(Chain("stem", *(f"blocks.{block}" for block in range(4))), Chain("classifier")),
}
