"""`masking.sigmas = "auto"`: how much to mask, read from the deletion curve of the model.

A mask that does not hide what the model uses teaches the finetune nothing; one that hides the object leaves
nothing to learn from. The deletion curve (after Petsiuk et al., RISE, BMVC 2018) shows both without groups:
the accuracy on held-out images under the model's own masks, ever larger ones, and under the same masks
elsewhere in the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

import numpy as np

from masktune.contract.hyperparameters import PAPER_SIGMAS, Hyperparameters
from models.backbones.network import Network
from models.data.loading.loaders import evaluation_loader, map_loader
from models.data.store import Store, evenly
from models.masking.compute import predict_with_maps
from models.masking.summaries import BalancedAccuracy, DeletionPoint, Reason, SigmasChoice
from models.run import Run
from models.shortcuts.masking_cost import predict_under_masks
from models.statistics import mean_share
from models.types import Labels

LEVELS = (2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25, 0.0)
"""The standard deviations that are tried, in this order: ever larger masks."""
LARGEST_MASK = 0.25
"""Largest mean share of an image that may be masked: more leaves too little to learn from."""
TOLERATED = 0.03
"""Most accuracy that masks may cost by their size alone, elsewhere in the image. Where ERM uses no shortcut,
larger masks hide the object."""
FEWEST_IMAGES, MOST_IMAGES = 100, 1024
ITERATIONS = 3
"""Where one mask may not hide all that the model uses: what is left of a shortcut draws the next map."""


def fix_sigmas(
    network: Network, store: Store, config: Hyperparameters, run: Run
) -> tuple[Hyperparameters, SigmasChoice | None]:
    """Replace `auto` by the number that suits `network`, the ERM model, and say how it was chosen.
    If larger masks are too large, mask and finetune `ITERATIONS` times.

    The same weights and data give the same number, so a resumed run measures again. Later iterations keep it.
    Without `auto`, or with a `share`, there is nothing to choose (None). Raises Stopped.
    """
    masking = config.masking
    if masking.sigmas != "auto" or masking.share is not None:
        return replace(config, masking=masking.with_chosen(None)), None
    choice = _measure(network, store, config, run)
    return replace(config, masking=masking.with_chosen(choice.sigmas, choice.iterations)), choice


def _measure(network: Network, store: Store, config: Hyperparameters, run: Run) -> SigmasChoice:
    rows = store.rows("val")
    rows = evenly(rows[store.firsts(rows)], MOST_IMAGES)  # intervals assume samples without copies
    if len(rows) < FEWEST_IMAGES:
        return SigmasChoice(PAPER_SIGMAS, "too_few_images", len(rows))
    whole, masking = evaluation_loader(store, rows, config, run), config.masking.with_chosen(None)
    maps = predict_with_maps([network], whole, masking, run)[0]
    if masking.crop != "none":
        cropped = map_loader(store, config, run, rows=rows)
        maps = maps._replace(maps=predict_with_maps([network], cropped, masking, run)[0].maps)
    plain = balanced_accuracy(maps.predicted, store.labels[rows])
    curve: list[DeletionPoint] = []
    for sigmas in LEVELS:
        chosen = replace(masking, sigmas=sigmas)
        (under,) = predict_under_masks([network], whole, [maps], chosen, run)
        own, elsewhere = (balanced_accuracy(each, under.labels) for each in (under.own, under.elsewhere))
        curve.append(DeletionPoint(sigmas, float(under.masked.mean()), own, elsewhere))
        if not _is_tolerated(curve[-1], plain):
            break
    return choose_sigmas(curve, plain=plain, n=len(rows))


def balanced_accuracy(predicted: Labels, labels: Labels) -> BalancedAccuracy:
    """Over the classes that occur in `labels` (N,), N > 0.
    Balanced, because a model whose shortcut is hidden gives one answer to everything: right as often as that
    class is common, in a plain accuracy."""
    of_classes = [predicted[labels == label] == label for label in np.unique(labels)]
    shares = [(int(right.sum()), len(right)) for right in of_classes]
    return BalancedAccuracy(float(np.mean([k / n for k, n in shares])), *mean_share(shares))


def choose_sigmas(curve: Sequence[DeletionPoint], *, plain: BalancedAccuracy, n: int) -> SigmasChoice:
    """The smallest masks that cost the model as much as the largest allowed ones do.

    ERM rarely falls to chance when its shortcut is hidden, since it has learnt something of the object too:
    no accuracy can be named beforehand that shows the shortcut gone. But a mask that hides the whole of it
    costs no more when it grows. Allowed are masks of a tolerated size that cost the model something.
    """
    tolerated = takewhile(lambda point: _is_tolerated(point, plain), curve)
    allowed = [point for point in tolerated if point.own.high < plain.low]
    if not allowed:
        return SigmasChoice(PAPER_SIGMAS, "unspecific", n, plain, tuple(curve))
    largest = allowed[-1]
    smallest = next(point for point in allowed if point.own.accuracy <= largest.own.high)
    reason: Reason = "limit" if smallest is largest else "plateau"
    iterations = ITERATIONS if reason == "limit" else 1
    return SigmasChoice(smallest.sigmas, reason, n, plain, tuple(curve), iterations)


def _is_tolerated(point: DeletionPoint, plain: BalancedAccuracy) -> bool:
    """Whether the same masks elsewhere leave the image recognisable."""
    return point.masked_share <= LARGEST_MASK and plain.accuracy - point.elsewhere.accuracy <= TOLERATED
