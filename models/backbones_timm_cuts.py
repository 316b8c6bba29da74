"""timm's networks that end without an activation: each cut at the last point where it has positions.

After the last block of these the class token alone decides, or what comes out has no positions, or
several scales do. So the last block (of a stage) belongs to the head. The functions follow timm's own
`forward_features`; that nothing is lost is measured by `benchmarks.backbones`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.backbones_base import Split, carry, grid_to_tokens, tokens_to_grid, uncarry


def cut_of(model: nn.Module) -> Split | None:
    """The cut of this kind of network; None where `forward_features` gives one activation already."""
    for base in type(model).__mro__:
        name = f"{base.__module__.rpartition('.')[2]}.{base.__name__}"
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
        return _scores(model, model.norm(model.blocks[-1](grid_to_tokens(activation, prefix))))

    return Split(features, head, prefix * int(model.embed_dim))


def _convit(model: Any) -> Split:
    """Before the last block, where the class token has joined: it enters after the local blocks."""

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
        return _scores(model, model.norm(model.blocks[-1](grid_to_tokens(activation, 1))))

    return Split(features, head, int(model.embed_dim))


def _cait(_: Any) -> Split:
    """Before the blocks of class attention: the class token enters there, and only it changes."""

    def features(model: Any, x: Tensor) -> Tensor:
        return tokens_to_grid(model.blocks(model.pos_drop(model.patch_embed(x) + model.pos_embed)))

    def head(model: Any, activation: Tensor) -> Tensor:
        tokens = grid_to_tokens(activation)
        token = model.cls_token.expand(tokens.shape[0], -1, -1)
        for block in model.blocks_token_only:
            token = block(tokens, token)
        return _scores(model, model.norm(torch.cat([token, tokens], 1)))

    return Split(features, head)


def _xcit(_: Any) -> Split:
    """Before the blocks of class attention, as in CaiT."""

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
        return _scores(model, model.norm(tokens))

    return Split(features, head)


def _volo(_: Any) -> Split:
    """Before the post network (class attention); its second head sees the positions after it, too."""

    def features(model: Any, x: Tensor) -> Tensor:
        tokens = model.forward_tokens(model.patch_embed(x).permute(0, 2, 3, 1))  # (B, h·w, C)
        return tokens_to_grid(tokens)

    def head(model: Any, activation: Tensor) -> Tensor:
        tokens = _with_class_token(model, grid_to_tokens(activation))
        for block in model.post_network:
            tokens = block(tokens)
        return _scores(model, model.norm(tokens))

    return Split(features, head)


def _tnt(model: Any) -> Split:
    """Inside the last block, where each patch has taken in its pixels, before the patches look at each other.

    The block's pixel tokens end there; its second half is that of a ViT.
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
        return _scores(model, model.norm(tokens))

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
        return _scores(model, model.norm(tokens[:, :prefix]))

    return Split(features, head, prefix * int(model.embed_dim))


def _coat(model: Any) -> Split:
    """CoaT-Lite before its last block; CoaT, which ends in three scales, before its last parallel block."""
    if model.parallel_blocks is None:
        return _coat_lite(model)
    sides = [int(model.get_submodule(f"patch_embed{scale}").grid_size[0]) for scale in (2, 3, 4)]
    widths = [int(model.get_parameter(f"cls_token{scale}").shape[2]) for scale in (2, 3, 4)]

    def parallel(model: Any, block: Any, scales: Sequence[Tensor]) -> list[Tensor]:
        embedded = [
            model.get_submodule(f"cpe{scale}")(tokens, (side, side))
            for scale, tokens, side in zip((2, 3, 4), scales, sides, strict=True)
        ]
        # The first scale goes through the block untouched and is asked for nothing.
        return list(block(None, *embedded, sizes=[None, *((side, side) for side in sides)])[1:])

    def features(model: Any, x: Tensor) -> Tensor:
        scales = [_coat_stage(model, 1, x)]
        for scale in (2, 3, 4):
            scales.append(_coat_stage(model, scale, _spatial(scales[-1])))
        scales = scales[1:]
        for block in list(model.parallel_blocks)[:-1]:
            scales = parallel(model, block, scales)
        return stack_scales(scales)

    def head(model: Any, activation: Tensor) -> Tensor:
        scales = parallel(model, model.parallel_blocks[-1], unstack_scales(activation, widths, sides))
        normed = [model.get_submodule(f"norm{s}")(x) for s, x in zip((2, 3, 4), scales, strict=True)]
        return _scores(model, normed)

    return Split(features, head, sum(widths))


def _coat_lite(model: Any) -> Split:
    def features(model: Any, x: Tensor) -> Tensor:
        for scale in (1, 2, 3):
            x = _spatial(_coat_stage(model, scale, x))
        return tokens_to_grid(_coat_stage(model, 4, x, leave=1), 1)

    def head(model: Any, activation: Tensor) -> Tensor:
        tokens = grid_to_tokens(activation, 1)
        return _scores(model, model.norm4(model.serial_blocks4[-1](tokens, size=activation.shape[2:])))

    return Split(features, head, int(model.cls_token4.shape[2]))


def _coat_stage(model: Any, scale: int, x: Tensor, leave: int = 0) -> Tensor:
    """Tokens (B, 1 + h·w, C) of one serial stage; its last `leave` blocks are not run."""
    embed = model.get_submodule(f"patch_embed{scale}")
    tokens = torch.cat([model.get_parameter(f"cls_token{scale}").expand(x.shape[0], -1, -1), embed(x)], 1)
    blocks = list(model.get_submodule(f"serial_blocks{scale}"))
    for block in blocks[: len(blocks) - leave]:
        tokens = block(tokens, size=embed.grid_size)
    return tokens


def _spatial(tokens: Tensor) -> Tensor:
    """(B, 1 + h·w, C) → (B, C, h, w), contiguous: the next stage's convolution is timm's bit for bit."""
    return tokens_to_grid(tokens[:, 1:]).contiguous()


def _crossvit(model: Any) -> Split:
    """Before the last block, with both branches on one grid."""
    widths = [int(width) for width in model.embed_dim]
    lengths = [model.get_parameter(f"pos_embed_{branch}").shape[1] for branch in range(len(widths))]
    sides = [round((length - 1) ** 0.5) for length in lengths]

    def features(model: Any, x: Tensor) -> Tensor:
        branches = model._embed(x)
        for block in list(model.blocks)[:-1]:
            branches = block(branches)
        return stack_scales(branches)

    def head(model: Any, activation: Tensor) -> Tensor:
        branches = model.blocks[-1](unstack_scales(activation, widths, sides))
        return _scores(model, [norm(x) for norm, x in zip(model.norm, branches, strict=True)])

    return Split(features, head, sum(widths))


def _efficientvim(model: Any) -> Split:
    """Before the last block of the last stage. Hidden states of earlier stages have no place: carried."""
    widths = [int(width) for width in model.embed_dim[:-1]]

    def features(model: Any, x: Tensor) -> Tensor:
        x = model.patch_embed(x)
        states: list[Tensor] = []
        *earlier, last = model.stages
        for stage, norm in zip(earlier, model.norm, strict=False):
            _, x, state = stage(x)
            states.append(norm(state.transpose(1, 2)).mean(1))  # the head averages them: (B, C)
        for block in list(last.blocks)[:-1]:
            x, _ = block(x)
        return carry(x, torch.cat(states, 1))

    def head(model: Any, activation: Tensor) -> Tensor:
        grid, carried = uncarry(activation, sum(widths))
        grid, state = model.stages[-1].blocks[-1](grid)
        seen = [part[:, :, None] for part in torch.split(carried, widths, 1)]
        seen.append(model.norm[-2](state.transpose(1, 2)).transpose(1, 2))
        seen.append(model.norm[-1](grid).flatten(2))
        return _scores(model, seen)

    return Split(features, head, sum(widths))


def _scores(model: Any, tokens: Tensor | Sequence[Tensor]) -> Tensor:
    scores: Tensor = model.forward_head(tokens)
    return scores


def _with_class_token(model: Any, tokens: Tensor) -> Tensor:
    return torch.cat([model.cls_token.expand(tokens.shape[0], -1, -1), tokens], 1)


def stack_scales(scales: Sequence[Tensor]) -> Tensor:
    """Tokens (B, 1 + hᵢ², Cᵢ) of several scales → (B, 2·ΣCᵢ, h, h) on the finest grid.

    A coarse token is repeated over the cells that it covers (nearest neighbour); class tokens are carried.
    """
    grids = [tokens_to_grid(tokens[:, 1:]) for tokens in scales]
    side = max(grid.shape[-1] for grid in grids)
    fine = [grid if grid.shape[-1] == side else _repeated(grid, side) for grid in grids]
    return carry(torch.cat(fine, 1), torch.cat([tokens[:, 0] for tokens in scales], 1))


def unstack_scales(activation: Tensor, widths: Sequence[int], sides: Sequence[int]) -> list[Tensor]:
    """The inverse: a coarse token is the mean of its cells, so its gradient is shared among them."""
    grid, carried = uncarry(activation, sum(widths))
    grids, tokens = torch.split(grid, list(widths), 1), torch.split(carried, list(widths), 1)
    parts = zip(grids, tokens, sides, strict=True)
    return [
        torch.cat([token[:, None], grid_to_tokens(_averaged(part, side))], 1) for part, token, side in parts
    ]


def _covering(side: int, fine: int, device: torch.device) -> Tensor:
    """Which of `side` coarse positions covers each of `fine` cells, (fine,) int64."""
    return torch.arange(fine, device=device) * side // fine


def _repeated(grid: Tensor, fine: int) -> Tensor:
    covering = _covering(grid.shape[-1], fine, grid.device)
    return grid[:, :, covering][:, :, :, covering]


def _averaged(grid: Tensor, side: int) -> Tensor:
    fine = grid.shape[-1]
    if side == fine:
        return grid
    covers = torch.arange(side, device=grid.device)[:, None] == _covering(
        side, fine, grid.device
    )  # (side, fine)
    share = covers.to(grid.dtype) / covers.sum(1, keepdim=True)
    return share @ grid @ share.T


_CUTS: dict[str, Callable[[Any], Split]] = {
    "cait.Cait": _cait,
    "coat.CoaT": _coat,
    "convit.ConVit": _convit,
    "crossvit.CrossVit": _crossvit,
    "efficientvim.EfficientViM": _efficientvim,
    "pit.PoolingVisionTransformer": _pit,
    "tnt.TNT": _tnt,
    "vision_transformer.VisionTransformer": _vit,
    "volo.VOLO": _volo,
    "xcit.Xcit": _xcit,
}
