"""timm's ViT and Eva, whose last block uses positions but passes only the class token on: cut before it.

The functions follow timm's own `forward_features`; `benchmarks.backbones` compares their logits with timm's.
"""

from __future__ import annotations

from typing import Any

from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from models.backbones.network import Split, grid_to_tokens, tokens_to_grid


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
