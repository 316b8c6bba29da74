"""timm's classifiers, cut between `forward_features` and `forward_head` if that gives an activation.

ViT and Eva, whose last block uses positions but passes only the class token on, are cut before it: their
functions follow timm's own `forward_features`; `benchmarks.backbones` compares their logits with timm's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import timm
import torch
from huggingface_hub import hf_hub_url, try_to_load_from_cache
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from models.backbones.errors import BackboneError, UnsupportedBackbone
from models.backbones.network import (
    SIZE_ERRORS,
    BuildRequest,
    Built,
    Split,
    grid_to_tokens,
    rgb,
    tokens_to_grid,
    wrong_size,
)
from models.backbones.weights import (
    LOAD_ERRORS,
    NO_WEIGHTS,
    PACKAGED,
    READ_ERRORS,
    PublishedWeights,
    WeightsPlace,
    last_layers,
    load_packaged,
    misfit,
    not_fetched,
    renew_classifiers,
    scoring_layers,
    stated_license,
    torch_cache,
    torch_cache_file,
)

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # timm takes the first that is in the repository


def names() -> Sequence[str]:
    """Each network with timm's choice of its weights, then NAME.TAG for each other choice."""
    defaults = timm.list_models()
    chosen = {f"{name}.{config.tag}" for name in defaults if (config := timm.get_pretrained_cfg(name))}
    return [*defaults, *(name for name in timm.list_pretrained() if name not in chosen)]


def knows(name: str) -> bool:
    return timm.is_model_pretrained(name) or name in timm.list_models()  # sorts all names: 50 ms


def published_weights(name: str) -> PublishedWeights:
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        return NO_WEIGHTS
    side = int(config.input_size[-1])
    if name in PACKAGED:
        return PublishedWeights("packaged", side, license=config.license)
    file = _added_file(config)
    place: WeightsPlace = "hub" if _cached_file(config) is None else "cached"
    return PublishedWeights(place, side, _url(config), file, stated_license(file) or config.license)


def check_weights(name: str, tensors: Mapping[str, Tensor]) -> None:
    """Load them as timm does, which knows the names of older files and resizes position embeddings.

    timm lets some files lack tensors. Those that it would then draw at random must be there all the same; a
    last normalisation, which begins as the identity, need not.
    """
    try:
        first, second = (_load(name, tensors, seed).state_dict() for seed in (0, 1))
    except LOAD_ERRORS as error:
        raise misfit(name, error) from error
    for key, tensor in first.items():
        if not torch.equal(tensor, second[key]):
            raise misfit(name, ValueError(f"{key} is missing, or has numbers that are not finite"))


def _load(name: str, tensors: Mapping[str, Tensor], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        overlay = {"state_dict": dict(tensors)}
        model: nn.Module = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    return model


def _url(config: Any) -> str:
    if config.hf_hub_id:  # where timm looks first, whether or not there is a url
        return hf_hub_url(config.hf_hub_id, _HUB_FILES[0])
    return str(config.url)


def _added_file(config: Any) -> Path:
    if config.hf_hub_id:
        return torch_cache() / f"{config.hf_hub_id.replace('/', '--')}.safetensors"
    return torch_cache_file(config.url)


def _cached_file(config: Any) -> Path | None:
    """The file on this host that a job loads: the one that was added, else the hub's."""
    if (added := _added_file(config)).is_file():
        return added
    if config.hf_hub_id:
        for name in _HUB_FILES:
            if isinstance(cached := try_to_load_from_cache(config.hf_hub_id, name), str):
                return Path(cached)
    return None


def build(request: BuildRequest) -> Built:
    """Normalise as the published weights expect, pretrained or not, so that any weights fit."""
    published = timm.get_pretrained_cfg(request.name)
    options: dict[str, Any] = {}
    if (
        published is not None
        and published.fixed_input_size
        and published.input_size[-1] != request.image_size
    ):
        options["img_size"] = request.image_size

    hint = f" (it was made for {published.input_size[-1]} pixels)" if published is not None else ""
    try:
        model: nn.Module = (
            _published(request, options)
            if request.pretrained
            else timm.create_model(request.name, num_classes=request.classes, **options)
        )
        scorers = _classifiers(model, request.classes)
        split = _split(model, request)
    except BackboneError:
        raise
    except SIZE_ERRORS as error:
        raise wrong_size(request.name, request.image_size, error, hint) from error
    mean, std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    if published is not None:
        mean, std = rgb(published.mean), rgb(published.std)
    return Built(model, split, mean, std, scorers, hint)


def _published(request: BuildRequest, options: dict[str, Any]) -> nn.Module:
    packaged = request.name in PACKAGED
    config = timm.get_pretrained_cfg(request.name)
    if config is not None and config.has_weights and (cached := _cached_file(config)) is not None:
        # By its path, since timm asks the hub even for what is cached: 13 s where no answer comes.
        options["pretrained_cfg_overlay"] = {"file": str(cached)}
    try:
        model = timm.create_model(request.name, pretrained=not packaged, **options)
    except READ_ERRORS as error:
        raise not_fetched(request.name, published_weights(request.name).url, error) from error
    if packaged:
        load_packaged(model, request.name)
    _require_classifier(model)
    if classes := int(cast(int, model.num_classes)):
        renew_classifiers(model, old=classes, new=request.classes, find=_classifiers)
    else:  # published without one
        model.reset_classifier(request.classes)  # type: ignore[operator]  # every timm classifier has it
    return model


def _require_classifier(model: nn.Module) -> None:
    if not callable(getattr(model, "get_classifier", None)):  # an encoder of a larger model
        raise UnsupportedBackbone(f"a {type(model).__name__} is a part of larger networks, not a classifier")


def _classifiers(model: nn.Module, classes: int) -> list[str]:
    """Names of the layers that timm itself would replace: two if distilled."""
    _require_classifier(model)
    own: Any = model.get_classifier()  # type: ignore[operator]  # every timm classifier has it
    parts = set(own if isinstance(own, tuple) else (own,))
    inside = {layer for part in parts for layer in part.modules()}
    scoring = [name for name in scoring_layers(model, classes) if model.get_submodule(name) in inside]
    return scoring or last_layers(model, classes)


def _split(model: nn.Module, request: BuildRequest) -> Split:
    """Choose the cut by the output of `forward_features` for one image."""
    if (cut := cut_of(model)) is not None:
        return cut
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            out = model.forward_features(torch.rand(1, 3, request.image_size, request.image_size))  # type: ignore[operator]  # every timm model has it
    finally:
        model.train(training)
    if not isinstance(out, Tensor) or out.ndim not in (3, 4):
        raise UnsupportedBackbone(
            f"{request.name} gives several activations at once, but a saliency map needs one"
        )
    if out.ndim == 3:
        prefix = int(getattr(model, "num_prefix_tokens", 0))
        positions = out.shape[1] - prefix
        if positions < 2 or math.isqrt(positions) ** 2 != positions:
            raise UnsupportedBackbone(
                f"{request.name} ends with tokens that are not a square grid of positions"
            )
        return Split(
            lambda model, x: tokens_to_grid(_features(model, x), prefix),
            lambda model, activation: _head(model, grid_to_tokens(activation, prefix)),
            prefix * out.shape[2],
        )
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


def cut_of(model: nn.Module) -> Split | None:
    """The cut for this kind of network; None for one that is cut after `forward_features`."""
    if isinstance(model, VisionTransformer):
        return _vit(model)
    if isinstance(model, Eva) and model.global_pool == "token":
        return _eva(model)
    return None


def _vit(model: Any) -> Split:
    prefix = int(model.num_prefix_tokens)

    def features(model: Any, x: Tensor) -> Tensor:
        tokens = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(x))))  # (B, P + h·w, C)
        for block in list(model.blocks)[:-1]:
            tokens = block(tokens)
        return tokens_to_grid(tokens, prefix)

    def head(model: Any, activation: Tensor) -> Tensor:
        tokens = model.norm(model.blocks[-1](grid_to_tokens(activation, prefix)))
        return model.forward_head(tokens)  # type: ignore[no-any-return]  # timm has no types

    return Split(features, head, prefix * int(model.embed_dim))


def _eva(model: Any) -> Split:
    """Its rotary embeddings depend only on the grid: all blocks share one, or each has its own if `mixed`."""
    prefix, mixed = int(model.num_prefix_tokens), bool(model.rope_mixed)

    def features(model: Any, x: Tensor) -> Tensor:
        tokens, rope = model._pos_embed(model.patch_embed(x))
        tokens = model.norm_pre(tokens)
        for index, block in enumerate(list(model.blocks)[:-1]):
            tokens = block(tokens, rope=rope[index] if mixed and rope is not None else rope)
        return tokens_to_grid(tokens, prefix)

    def head(model: Any, activation: Tensor) -> Tensor:
        rope = _rope(model, activation)
        rope = rope[-1] if mixed and rope is not None else rope
        tokens = model.norm(model.blocks[-1](grid_to_tokens(activation, prefix), rope=rope))
        return model.forward_head(tokens)  # type: ignore[no-any-return]  # timm has no types

    return Split(features, head, prefix * int(model.embed_dim))


def _rope(model: Any, activation: Tensor) -> Any:
    """The rotary embeddings for the grid of `activation` (B, C, h, w); None for a network without them."""
    if model.rope is None:
        return None
    if model.dynamic_img_size or not hasattr(model.rope, "feat_shape"):
        return model.rope.get_embed(shape=tuple(activation.shape[2:]))
    return model.rope.get_embed()
