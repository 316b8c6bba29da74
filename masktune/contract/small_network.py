"""The small network that is compared with frozen features: the fields of its jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SMALL_NETWORK: Mapping[str, Any] = {"preset": "small-network"}
SMALL_NETWORK_TRIAL: Mapping[str, Any] = {**SMALL_NETWORK, "max_train_samples": 2_000}
"""Of its plain training before that: on a part of train, so that it takes minutes."""
