"""timm's networks without a usable final activation, each cut at the last point that has positions.

After their last block only the class token decides, or the output has no positions, or several scales
of them. So the last block (of a stage) belongs to the head. The functions follow timm's own
`forward_features`; `benchmarks.backbones` compares their logits with timm's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from models.backbones.network import Split, grid_to_tokens, tokens_to_grid
from models.backbones.timm_scales import coat, crossvit, efficientvim, scores_of


def cut_of(model: nn.Module) -> Split | None:
    """The cut for this kind of network; None if `forward_features` already gives one activation."""
    for base in type(model).__mro__:
        name = f"{base.__module__.removeprefix('timm.models.')}.{base.__name__}"
        if (cut := _CUTS.get(name)) is not None:
            return cut(model)
    return None


def _vit(model: Any) -> Split:
    """Before the last block."""
    prefix = int(model.num_prefix_tokens)

    def features(model: Any, x: Tensor) -> Tensor:
        tokens = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(x))))  # (B, P + h·w, C)
        for block in list(model.blocks)[:-1]:
            tokens = block(tokens)
        return tokens_to_grid(tokens, prefix)

    def head(model: Any, activation: Tensor) -> Tensor:
        return scores_of(model, model.norm(model.blocks[-1](grid_to_tokens(activation, prefix))))

    return Split(features, head, prefix * int(model.embed_dim))


def _eva(model: Any) -> Split | None:
    """Before the last block, if the class token decides. Rotary embeddings depend only on the grid."""
    prefix = int(model.num_prefix_tokens)
    if model.global_pool != "token":
        return None

    def features(model: Any, x: Tensor) -> Tensor:
        tokens, rope = model._pos_embed(model.patch_embed(x))
        tokens = model.norm_pre(tokens)
        for index, block in enumerate(list(model.blocks)[:-1]):
            tokens = block(tokens, rope=_of_block(model.rope_mixed, rope, index))
        return tokens_to_grid(tokens, prefix)

    def head(model: Any, activation: Tensor) -> Tensor:
        rope = None
        if model.rope is not None:
            if model.dynamic_img_size or not hasattr(model.rope, "feat_shape"):
                rope = model.rope.get_embed(shape=tuple(activation.shape[2:]))
            else:
                rope = model.rope.get_embed()
        last = model.blocks[-1]
        tokens = last(grid_to_tokens(activation, prefix), rope=_of_block(model.rope_mixed, rope, -1))
        return scores_of(model, model.norm(tokens))

    return Split(features, head, prefix * int(model.embed_dim))


def _naflexvit(model: Any) -> Split | None:
    """As Eva, for images of one size, so none of its masks is needed."""
    prefix = int(model.num_prefix_tokens)
    if model.global_pool != "token":
        return None

    def run(model: Any, block: Any, tokens: Tensor, rope: Any) -> Tensor:
        out: Tensor = block(tokens) if rope is None else block(tokens, rope=rope)
        return out

    def features(model: Any, x: Tensor) -> Tensor:
        embedded = model._forward_embeds(x, None, None, None)
        tokens, rope = embedded["patches"], embedded.get("rope_embeds")
        for index, block in enumerate(list(model.blocks)[:-1]):
            tokens = run(model, block, tokens, _of_block(model.rope_is_mixed, rope, index))
        return tokens_to_grid(tokens, prefix)

    def head(model: Any, activation: Tensor) -> Tensor:
        rope = None if model.rope is None else model.rope.get_embed(shape=tuple(activation.shape[2:]))
        last = _of_block(model.rope_is_mixed, rope, -1)
        tokens = run(model, model.blocks[-1], grid_to_tokens(activation, prefix), last)
        return scores_of(model, model.norm(tokens))

    return Split(features, head, prefix * int(model.embed_dim))


def _of_block(mixed: bool, rope: Any, index: int) -> Any:
    """The rotary embedding of one block: its own if `mixed`, else the shared one."""
    return rope[index] if mixed and rope is not None else rope


def _relpos(model: Any) -> Split | None:
    """Before the last block, if the class token decides."""
    if model.global_pool != "token":
        return None

    def features(model: Any, x: Tensor) -> Tensor:
        tokens = _with_class_token(model, model.patch_embed(x))
        for block in list(model.blocks)[:-1]:
            tokens = block(tokens, shared_rel_pos=_shared_bias(model))
        return tokens_to_grid(tokens, 1)

    def head(model: Any, activation: Tensor) -> Tensor:
        tokens = model.blocks[-1](grid_to_tokens(activation, 1), shared_rel_pos=_shared_bias(model))
        return scores_of(model, model.norm(tokens))

    return Split(features, head, int(model.embed_dim))


def _shared_bias(model: Any) -> Any:
    return None if model.shared_rel_pos is None else model.shared_rel_pos.get_bias()


def _mvitv2(model: Any) -> Split | None:
    """Before the last block of the last stage, if the class token decides."""
    if model.global_pool != "token":
        return None

    def features(model: Any, x: Tensor) -> Tensor:
        tokens, size = model.patch_embed(x)
        tokens = _with_class_token(model, tokens)
        if model.pos_embed is not None:
            tokens = tokens + model.pos_embed
        *earlier, last = model.stages
        for stage in earlier:
            tokens, size = stage(tokens, size)
        for block in list(last.blocks)[:-1]:
            tokens, size = block(tokens, size)
        return tokens_to_grid(tokens, 1)

    def head(model: Any, activation: Tensor) -> Tensor:
        last, size = model.stages[-1].blocks[-1], list(activation.shape[2:])
        tokens, _ = last(grid_to_tokens(activation, 1), size)
        return scores_of(model, model.norm(tokens))

    return Split(features, head, int(model.stages[-1].blocks[-1].norm1.normalized_shape[0]))


def _convit(model: Any) -> Split:
    """Before the last block; the class token has already joined, after the local blocks."""

    def features(model: Any, x: Tensor) -> Tensor:
        tokens = model.patch_embed(x)  # (B, h·w, C)
        if model.use_pos_embed:
            tokens = tokens + model.pos_embed
        tokens = model.pos_drop(tokens)
        for index, block in enumerate(list(model.blocks)[:-1]):
            if index == model.local_up_to_layer:
                tokens = _with_class_token(model, tokens)
            tokens = block(tokens)
        return tokens_to_grid(tokens, 1)

    def head(model: Any, activation: Tensor) -> Tensor:
        return scores_of(model, model.norm(model.blocks[-1](grid_to_tokens(activation, 1))))

    return Split(features, head, int(model.embed_dim))


def _cait(_: Any) -> Split:
    """Before the class-attention blocks, where the class token enters and only it is updated."""

    def features(model: Any, x: Tensor) -> Tensor:
        return tokens_to_grid(model.blocks(model.pos_drop(model.patch_embed(x) + model.pos_embed)))

    def head(model: Any, activation: Tensor) -> Tensor:
        tokens = grid_to_tokens(activation)
        token = model.cls_token.expand(tokens.shape[0], -1, -1)
        for block in model.blocks_token_only:
            token = block(tokens, token)
        return scores_of(model, model.norm(torch.cat([token, tokens], 1)))

    return Split(features, head)


def _xcit(_: Any) -> Split:
    """Before the class-attention blocks, as in CaiT."""

    def features(model: Any, x: Tensor) -> Tensor:
        tokens, (height, width) = model.patch_embed(x)  # (B, h·w, C)
        if model.pos_embed is not None:
            position = model.pos_embed(x.shape[0], height, width)
            tokens = tokens + position.reshape(x.shape[0], -1, tokens.shape[1]).permute(0, 2, 1)
        tokens = model.pos_drop(tokens)
        for block in model.blocks:
            tokens = block(tokens, height, width)
        return tokens_to_grid(tokens)

    def head(model: Any, activation: Tensor) -> Tensor:
        tokens = _with_class_token(model, grid_to_tokens(activation))
        for block in model.cls_attn_blocks:
            tokens = block(tokens)
        return scores_of(model, model.norm(tokens))

    return Split(features, head)


def _volo(_: Any) -> Split:
    """Before the post network (class attention); the auxiliary head reads the positions after it."""

    def features(model: Any, x: Tensor) -> Tensor:
        tokens = model.forward_tokens(model.patch_embed(x).permute(0, 2, 3, 1))  # (B, h·w, C)
        return tokens_to_grid(tokens)

    def head(model: Any, activation: Tensor) -> Tensor:
        tokens = _with_class_token(model, grid_to_tokens(activation))
        for block in model.post_network:
            tokens = block(tokens)
        return scores_of(model, model.norm(tokens))

    return Split(features, head)


def _tnt(model: Any) -> Split:
    """Inside the last block: after each patch has absorbed its pixels, before attention among patches.

    The pixel tokens end there; the rest of the block is a ViT's.
    """

    def features(model: Any, x: Tensor) -> Tensor:
        pixels = model.pixel_embed(x, model.pixel_pos)  # (B·h·w, P, c)
        patches = model.norm1_proj(pixels.reshape(x.shape[0], model.num_patches, -1))
        tokens = _with_class_token(model, model.norm2_proj(model.proj(patches)))
        tokens = model.pos_drop(tokens + model.patch_pos)  # (B, 1 + h·w, C)
        for block in list(model.blocks)[:-1]:
            pixels, tokens = block(pixels, tokens)
        return tokens_to_grid(_tnt_inner(model.blocks[-1], pixels, tokens), 1)

    def head(model: Any, activation: Tensor) -> Tensor:
        last, tokens = model.blocks[-1], grid_to_tokens(activation, 1)
        tokens = tokens + last.drop_path(last.attn_out(last.norm_out(tokens)))
        tokens = tokens + last.drop_path(last.mlp(last.norm_mlp(tokens)))
        return scores_of(model, model.norm(tokens))

    return Split(features, head, int(model.embed_dim))


def _tnt_inner(block: Any, pixels: Tensor, tokens: Tensor) -> Tensor:
    batch, length, _ = tokens.shape
    pixels = pixels + block.drop_path(block.attn_in(block.norm_in(pixels)))
    pixels = pixels + block.drop_path(block.mlp_in(block.norm_mlp_in(pixels)))
    if block.norm2_proj is None:
        gain = block.proj(block.norm1_proj(pixels).reshape(batch, length - 1, -1))
    else:
        gain = block.norm2_proj(block.proj(block.norm1_proj(pixels.reshape(batch, length - 1, -1))))
    return torch.cat([tokens[:, :1], tokens[:, 1:] + gain], 1)


def _pit(model: Any) -> Split:
    """Before the last block of the last stage. Distilled variants carry two class tokens."""
    prefix = int(model.cls_token.shape[1])

    def features(model: Any, x: Tensor) -> Tensor:
        grid = model.pos_drop(model.patch_embed(x) + model.pos_embed)
        token = model.cls_token.expand(x.shape[0], -1, -1)
        *earlier, last = model.transformers
        for stage in earlier:
            grid, token = stage((grid, token))
        if last.pool is not None:
            grid, token = last.pool(grid, token)
        tokens = last.norm(torch.cat([token, grid.flatten(2).transpose(1, 2)], 1))
        for block in list(last.blocks)[:-1]:
            tokens = block(tokens)
        return tokens_to_grid(tokens, prefix)

    def head(model: Any, activation: Tensor) -> Tensor:
        tokens = model.transformers[-1].blocks[-1](grid_to_tokens(activation, prefix))
        return scores_of(model, model.norm(tokens[:, :prefix]))

    return Split(features, head, prefix * int(model.embed_dim))


def _with_class_token(model: Any, tokens: Tensor) -> Tensor:
    return torch.cat([model.cls_token.expand(tokens.shape[0], -1, -1), tokens], 1)


_CUTS: dict[str, Callable[[Any], Split | None]] = {
    "cait.Cait": _cait,
    "coat.CoaT": coat,
    "convit.ConVit": _convit,
    "crossvit.CrossVit": crossvit,
    "efficientvim.EfficientViM": efficientvim,
    "eva.Eva": _eva,
    "mvitv2.MultiScaleVit": _mvitv2,
    "naflexvit.NaFlexVit": _naflexvit,
    "pit.PoolingVisionTransformer": _pit,
    "tnt.TNT": _tnt,
    "vision_transformer.VisionTransformer": _vit,
    "vision_transformer_relpos.VisionTransformerRelPos": _relpos,
    "volo.VOLO": _volo,
    "xcit.Xcit": _xcit,
}
