"""timm's networks with several scales or states at once: CoaT, CrossViT and EfficientViM, each cut before
its last block, where all of them still exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from models.backbones.network import Split, carry, grid_to_tokens, tokens_to_grid, uncarry


def coat(model: Any) -> Split:
    """CoaT-Lite before its last block; CoaT, which ends with three scales, before its last parallel block."""
    if model.parallel_blocks is None:
        return _coat_lite(model)
    sides = [int(model.get_submodule(f"patch_embed{scale}").grid_size[0]) for scale in (2, 3, 4)]
    widths = [int(model.get_parameter(f"cls_token{scale}").shape[2]) for scale in (2, 3, 4)]

    def parallel(model: Any, block: Any, scales: Sequence[Tensor]) -> list[Tensor]:
        embedded = [
            model.get_submodule(f"cpe{scale}")(tokens, (side, side))
            for scale, tokens, side in zip((2, 3, 4), scales, sides, strict=True)
        ]
        # The block passes the first scale through unchanged, and the head does not read it.
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
        return scores_of(model, normed)

    return Split(features, head, sum(widths))


def _coat_lite(model: Any) -> Split:
    def features(model: Any, x: Tensor) -> Tensor:
        for scale in (1, 2, 3):
            x = _spatial(_coat_stage(model, scale, x))
        return tokens_to_grid(_coat_stage(model, 4, x, leave=1), 1)

    def head(model: Any, activation: Tensor) -> Tensor:
        tokens = grid_to_tokens(activation, 1)
        return scores_of(model, model.norm4(model.serial_blocks4[-1](tokens, size=activation.shape[2:])))

    return Split(features, head, int(model.cls_token4.shape[2]))


def _coat_stage(model: Any, scale: int, x: Tensor, leave: int = 0) -> Tensor:
    """Tokens (B, 1 + h·w, C) of one serial stage, without running its last `leave` blocks."""
    embed = model.get_submodule(f"patch_embed{scale}")
    tokens = torch.cat([model.get_parameter(f"cls_token{scale}").expand(x.shape[0], -1, -1), embed(x)], 1)
    blocks = list(model.get_submodule(f"serial_blocks{scale}"))
    for block in blocks[: len(blocks) - leave]:
        tokens = block(tokens, size=embed.grid_size)
    return tokens


def _spatial(tokens: Tensor) -> Tensor:
    """(B, 1 + h·w, C) → (B, C, h, w), contiguous so that the next convolution equals timm's bit for bit."""
    return tokens_to_grid(tokens[:, 1:]).contiguous()


def crossvit(model: Any) -> Split:
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
        return scores_of(model, [norm(x) for norm, x in zip(model.norm, branches, strict=True)])

    return Split(features, head, sum(widths))


def efficientvim(model: Any) -> Split:
    """Before the last block of the last stage. Earlier hidden states, without positions, are carried."""
    widths = [int(width) for width in model.embed_dim[:-1]]

    def features(model: Any, x: Tensor) -> Tensor:
        x = model.patch_embed(x)
        states: list[Tensor] = []
        *earlier, last = model.stages
        for stage, norm in zip(earlier, model.norm, strict=False):
            _, x, state = stage(x)
            states.append(norm(state.transpose(1, 2)).mean(1))  # the head averages these: (B, C)
        for block in list(last.blocks)[:-1]:
            x, _ = block(x)
        return carry(x, torch.cat(states, 1))

    def head(model: Any, activation: Tensor) -> Tensor:
        grid, carried = uncarry(activation, sum(widths))
        grid, state = model.stages[-1].blocks[-1](grid)
        seen = [part[:, :, None] for part in torch.split(carried, widths, 1)]
        seen.append(model.norm[-2](state.transpose(1, 2)).transpose(1, 2))
        seen.append(model.norm[-1](grid).flatten(2))
        return scores_of(model, seen)

    return Split(features, head, sum(widths))


def scores_of(model: Any, tokens: Tensor | Sequence[Tensor]) -> Tensor:
    scores: Tensor = model.forward_head(tokens)
    return scores


def stack_scales(scales: Sequence[Tensor]) -> Tensor:
    """Tokens (B, 1 + hᵢ², Cᵢ) of several scales → (B, 2·ΣCᵢ, h, h) on the finest grid.

    A coarse token is repeated over the cells that it covers (nearest neighbour); class tokens are carried.
    """
    grids = [tokens_to_grid(tokens[:, 1:]) for tokens in scales]
    side = max(grid.shape[-1] for grid in grids)
    fine = [grid if grid.shape[-1] == side else _repeated(grid, side) for grid in grids]
    return carry(torch.cat(fine, 1), torch.cat([tokens[:, 0] for tokens in scales], 1))


def unstack_scales(activation: Tensor, widths: Sequence[int], sides: Sequence[int]) -> list[Tensor]:
    """The inverse of `stack_scales`: a coarse token is the mean of its cells, which share its gradient."""
    grid, carried = uncarry(activation, sum(widths))
    grids, tokens = torch.split(grid, list(widths), 1), torch.split(carried, list(widths), 1)
    parts = zip(grids, tokens, sides, strict=True)
    return [
        torch.cat([token[:, None], grid_to_tokens(_averaged(part, side))], 1) for part, token, side in parts
    ]


def _covering(side: int, fine: int, device: torch.device) -> Tensor:
    """The coarse position, of `side`, that covers each of `fine` cells: (fine,) int64."""
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
