"""A network as features(x) → activation and head(activation) → logits, by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "BackboneError",
    "BackboneSpec",
    "ListedBackbone",
    "Network",
    "UnknownBackbone",
    "UnsupportedBackbone",
    "WeightsUnavailable",
    "adopt_weights",
    "available_backbones",
    "build_network",
    "list_backbones",
    "weight_shapes",
]

if TYPE_CHECKING:
    from models.backbones.build import (
        BackboneError,
        BackboneSpec,
        ListedBackbone,
        Network,
        UnknownBackbone,
        UnsupportedBackbone,
        WeightsUnavailable,
        adopt_weights,
        available_backbones,
        build_network,
        list_backbones,
        weight_shapes,
    )
else:

    def __getattr__(name: str) -> Any:
        """Import what is asked for only then: most modules of this package need none of it."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("models.backbones.build"), name)
