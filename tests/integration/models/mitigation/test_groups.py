"""Groups inferred twice: the same of the same seed, and no fewer of the minority after sharpening."""

from __future__ import annotations

from dataclasses import replace

from models.mitigation.groups import cross_mistakes
from tests.unit.models.mitigation.test_groups import CLASSES, CONFIG, judged_wrong, places, shortcut_features


def test_sharpening_finds_no_fewer_minority_samples() -> None:
    features = shortcut_features(seed=2)
    minority = features.labels != places()
    found = [
        int(
            (
                judged_wrong(
                    cross_mistakes(features, replace(CONFIG, rounds=rounds), classes=CLASSES, seed=0)
                )
                & minority
            ).sum()
        )
        for rounds in (0, 2)
    ]
    assert found[1] >= found[0]


def test_the_same_seed_gives_the_same_groups() -> None:
    features = shortcut_features()
    first, again = (cross_mistakes(features, CONFIG, classes=CLASSES, seed=4) for _ in range(2))
    assert first.assigned.tolist() == again.assigned.tolist()
    assert first.doubt is not None
    assert again.doubt is not None
    assert first.doubt.tolist() == again.doubt.tolist()
