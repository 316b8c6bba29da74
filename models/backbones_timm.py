"""timm's classifiers, cut between `forward_features` and `forward_head`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from models.backbones_base import (
    BuildRequest,
    Built,
    Rgb,
    Split,
    grid_to_tokens,
    tokens_to_grid,
)
from models.backbones_errors import UnsupportedBackbone, WeightsUnavailable
from models.backbones_weights import renew_classifier, with_local_weights


def names() -> Sequence[str]:
    return timm.list_models()


def build(request: BuildRequest) -> Built:
    """Normalised as the published weights want it, pretrained or not, so that any weights fit."""
    published = timm.get_pretrained_cfg(request.name)
    options: dict[str, Any] = {}
    if (
        published is not None
        and published.fixed_input_size
        and published.input_size[-1] != request.image_size
    ):
        options["img_size"] = request.image_size

    def make(classes: int) -> nn.Module:
        return timm.create_model(request.name, num_classes=classes, **options)

    if request.pretrained and request.weights is None:
        model = _published(request, options)
    else:
        model = with_local_weights(make, request.classes, request.weights)
    mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    if published is not None:
        mean, std = _rgb(published.mean), _rgb(published.std)
    return Built(model, _split(model, request), mean, std)


def _published(request: BuildRequest, options: dict[str, Any]) -> nn.Module:
    try:
        model = timm.create_model(request.name, pretrained=True, **options)
    except (OSError, RuntimeError) as error:
        raise WeightsUnavailable(
            f"the published weights of {request.name} could not be fetched ({error}): "
            "leave pretrained off, or give a local file of weights"
        ) from error
    renew_classifier(model, old=int(cast(int, model.num_classes)), new=request.classes)
    return model


def _rgb(values: Sequence[float]) -> Rgb:
    red, green, blue = values
    return (red, green, blue)


def _split(model: nn.Module, request: BuildRequest) -> Split:
    """Choose by what comes out of `forward_features` for one image."""
    if isinstance(model, VisionTransformer):
        return _vit(model)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            out = model.forward_features(torch.rand(1, 3, request.image_size, request.image_size))  # type: ignore[operator]  # every timm model has it
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error) or "it does not fit"
        raise UnsupportedBackbone(
            f"{request.name} cannot be used at {request.image_size} pixels: {reason}"
        ) from error
    finally:
        model.train(training)
    if not isinstance(out, Tensor) or out.ndim not in (3, 4):
        raise UnsupportedBackbone(
            f"{request.name} gives several activations at once, and a saliency map needs one"
        )
    if out.ndim == 3:
        return _tokens(int(getattr(model, "num_prefix_tokens", 0)))
    width = int(cast(int, model.num_features))
    return _CHANNELS_LAST if out.shape[1] != width and out.shape[3] == width else _CHANNELS_FIRST


def _features(model: nn.Module, x: Tensor) -> Tensor:
    return model.forward_features(x)  # type: ignore[operator,no-any-return]  # every timm model has it


def _head(model: nn.Module, activation: Tensor) -> Tensor:
    return model.forward_head(activation)  # type: ignore[operator,no-any-return]  # every timm model has it


_CHANNELS_FIRST = Split(_features, _head)
_CHANNELS_LAST = Split(
    lambda model, x: _features(model, x).permute(0, 3, 1, 2),
    lambda model, activation: _head(model, activation.permute(0, 2, 3, 1)),
)


def _tokens(prefix: int) -> Split:
    return Split(
        lambda model, x: tokens_to_grid(_features(model, x), prefix),
        lambda model, activation: _head(model, grid_to_tokens(activation, prefix)),
        prefix,
    )


def _vit(model: VisionTransformer) -> Split:
    """Cut before the last block: after it the class token alone decides, where there is one."""
    prefix = int(model.num_prefix_tokens)

    def features(model: nn.Module, x: Tensor) -> Tensor:
        assert isinstance(model, VisionTransformer)
        tokens = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(x))))  # (B, P + h·w, C)
        for block in list(model.blocks.children())[:-1]:
            tokens = block(tokens)
        return tokens_to_grid(tokens, prefix)

    def head(model: nn.Module, activation: Tensor) -> Tensor:
        assert isinstance(model, VisionTransformer)
        tokens = model.norm(model.blocks[-1](grid_to_tokens(activation, prefix)))
        return cast(Callable[[Tensor], Tensor], model.forward_head)(tokens)

    return Split(features, head, prefix)
