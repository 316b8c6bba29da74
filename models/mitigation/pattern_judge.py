"""Whose class's pattern an image shows, by the early stage that named the minority: for images of any split.

The judges that name the minority see half of the training images each. This one is fitted to all of them, its
target the class of the pattern shown, which is the label except for the minority.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from models.mitigation.features import Head
from models.mitigation.logistic import Check, Standardised, balanced_weights, fit_heads, never
from models.mitigation.minority import Minority
from models.mitigation.stage_features import Axes, StageFeatures, pool_stage
from models.mitigation.stages import outputs_of
from models.runtime.files import replacing
from models.types import Labels

if TYPE_CHECKING:
    from models.backbones.network import Network


class PatternJudge(NamedTuple):
    """`axes` of the module `stage` of a network, and the `head` (K classes) on its coordinates."""

    stage: str
    axes: Axes
    head: Head

    def patterns(self, coordinates: NDArray[np.float16]) -> Labels:
        """The class (N,) whose pattern each image shows, of coordinates (N, P) along `axes`."""
        return np.asarray(self.head.logits(coordinates.astype(np.float32)).argmax(1), np.int64)

    def save(self, file: Path) -> None:
        """Write one .npz file, atomically."""
        with replacing(file) as out:
            np.savez(
                out,
                stage=np.array(self.stage),
                axes_weight=self.axes.weight.numpy(),
                axes_offset=self.axes.offset.numpy(),
                head_weight=self.head.weight,
                head_bias=self.head.bias,
            )

    @classmethod
    def load(cls, file: Path) -> Self:
        with np.load(file, allow_pickle=False) as arrays:
            axes = Axes(torch.from_numpy(arrays["axes_weight"]), torch.from_numpy(arrays["axes_offset"]))
            return cls(str(arrays["stage"]), axes, Head(arrays["head_weight"], arrays["head_bias"]))


def fit_pattern_judge(
    features: StageFeatures,
    minority: Minority,
    *,
    device: torch.device | None = None,
    check: Check = never,
) -> PatternJudge:
    """Fit the judge to the patterns that an early stage named, those of wrong labels too.

    The penalty is that of the judges that named them. Classes are balanced, and within each those that lack
    its pattern and the others, so that the judge goes by the pattern and not by the class.
    """
    patterns = minority.patterns
    assert patterns is not None
    number = [stage.name for stage in features.stages].index(minority.stage or "")
    coordinates = features.early[number].astype(np.float32)
    standardised = Standardised.principal(coordinates, device)
    labels = features.last.labels
    weights = balanced_weights(labels, labels * 2 + (patterns != labels))
    fitted = fit_heads(
        standardised.values,
        torch.from_numpy(patterns).to(standardised.values.device),
        torch.from_numpy(weights[:, None]).to(standardised.values.device),
        penalty=minority.groups.details["judge_penalty"],
        classes=features.last.classes,
        check=check,
    )
    return PatternJudge(features.stages[number].name, features.axes[number], standardised.head(fitted[0]))


@contextmanager
def judged_passes(network: Network, judge: PatternJudge) -> Iterator[Callable[[], Labels]]:
    """The class (B,) whose pattern each image of a batch shows: a function to call after each forward pass
    inside the block, in its thread."""
    with outputs_of(network, [judge.stage], pool_stage) as outputs:

        def patterns() -> Labels:
            ((_, pooled),) = outputs.take()
            return judge.patterns(judge.axes.coordinates(pooled).numpy())

        yield patterns
