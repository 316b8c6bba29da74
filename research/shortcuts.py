"""How often the shortcut check raises a false alarm, and which painted or real shortcuts it detects.

    python -m research.shortcuts [--draws N] [--subject-draws N] [--repeats N] [--photos N]
        [--plants stampplants.zip]

False alarms: labels of real digits and of random images are permuted, so that nothing predicts them;
an alarm is any property above `none`. Subjects: each of sixty digits, with copies that differ a little, is a
subject, and classes go by subject, at random. With the column of subjects, alarms are as rare as without
copies; without the column they are the rule. A shade that differs by class is found. Detection: a 4×4 square
on one half of the digits with ratio 99/1, 95/5 and 80/20, and a mark on nine in ten images of a single class.
`--plants` takes a folder or archive in the Waterbirds layout whose backgrounds correlate with the classes in
train but not in test.
Ends with one JSON line; exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.data.importing.biased import bias_images
from models.data.importing.builtin import make_builtin
from models.data.importing.datasets import import_dataset
from models.data.layout import DatasetInfo
from models.data.packing import Row, StoreWriter
from models.data.store import Store
from models.shortcuts.check import check_properties, find_shortcuts
from models.shortcuts.findings import ShortcutCheck
from models.shortcuts.properties import PropertyTable, simple_properties
from research._data import require
from tests.support.arrays import Arrays, write_arrays

FALSE_ALARMS = 0.05
CPU_SECONDS_SMALL = 3.0  # 5,000 images of 28 pixels
CPU_SECONDS_PHOTOS = 40.0  # 5,000 of 500×375, on two threads
PERMUTATIONS = 99  # in the simulation: the test is exact with any number

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


class Null(NamedTuple):
    """A table that is measured once, and the labels to permute."""

    name: str
    table: PropertyTable
    labels: Labels
    classes: tuple[str, ...]


def stored(folder: Path, images: Images, labels: Labels, classes: Sequence[str]) -> Store:
    splits = ["train"] * len(images)
    write_arrays(folder, Arrays(images, labels, splits), DatasetInfo("benchmark", "builtin", tuple(classes)))
    return Store.open(folder)


def nulls(folder: Path) -> Iterator[Null]:
    digits = make_builtin("digits")
    table = simple_properties(
        store := stored(folder / "digits", digits.images, digits.labels, digits.classes), store.rows()
    )
    yield Null("digits, 10 classes", table, digits.labels, digits.classes)
    yield Null("digits, 2 halves", table, (digits.labels >= 5).astype(np.int64), ("0-4", "5-9"))
    yield Null("digits, 9 to 1", table, (digits.labels == 0).astype(np.int64), ("others", "0"))
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (200, 16, 16, 3)).astype(np.uint8)
    few = np.arange(200) % 3
    store = stored(folder / "noise", noise, few, ("a", "b", "c"))
    yield Null("200 random images, 3 classes", simple_properties(store, store.rows()), few, ("a", "b", "c"))


def false_alarms(null: Null, draws: int, rng: np.random.Generator) -> dict[str, Any]:
    alarms = 0
    for _ in range(draws):
        check = check_properties(
            null.table, rng.permutation(null.labels), null.classes, rng=rng, permutations=PERMUTATIONS
        )
        alarms += check.strength != "none"
    # Three standard errors of a share, so that a good rule does not fail by chance.
    allowed = FALSE_ALARMS + 3 * (FALSE_ALARMS * (1 - FALSE_ALARMS) / draws) ** 0.5
    share = alarms / draws
    return {"setting": null.name, "draws": draws, "false_alarms": share, "ok": share <= allowed}


COPIES = 12


def of_subjects(folder: Path, sizes: Labels, *, subjects: bool, rng: np.random.Generator) -> Store:
    """Digits, each with `sizes` (S,) copies that are shifted and noisy: a subject each."""
    digits = make_builtin("digits").images[rng.permutation(1797)[: len(sizes)]]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    shifts = rng.integers(-2, 3, (len(owner), 2))
    images = np.stack([np.roll(digits[of], shift, (0, 1)) for of, shift in zip(owner, shifts, strict=True)])
    noisy = (images + rng.normal(0, 12, images.shape)).clip(0, 255).astype(np.uint8)
    write_arrays(
        folder,
        Arrays(noisy, np.zeros(len(owner), np.int64), ["train"] * len(owner)),
        DatasetInfo("subjects", "builtin", ("a", "b")),
        subjects=[str(number) for number in owner] if subjects else [],
    )
    return Store.open(folder)


class Subjects(NamedTuple):
    """`shade`: added to the images of the second class, on top of a shade of each subject, std 20.
    `at_least`, `at_most`: the share of draws with an alarm that is allowed."""

    name: str
    column: bool
    larger_class: bool
    shade: float
    at_least: float = 0.0
    at_most: float = 1.0


SUBJECTS = (
    Subjects("class by chance, with the column", True, False, 0, at_most=FALSE_ALARMS),
    Subjects("class by chance, without it", False, False, 0, at_least=0.5),
    Subjects("more images in one class, with it", True, True, 0, at_most=FALSE_ALARMS),
    Subjects("a shade by class, with it", True, False, 25, at_least=0.5),
)


def alarms_of_subjects(setting: Subjects, draws: int, rng: np.random.Generator) -> dict[str, Any]:
    alarms = 0
    for _ in range(draws):
        labels = rng.permutation(np.arange(60) % 2)
        sizes = np.where(labels == 1, COPIES, 2 if setting.larger_class else COPIES)
        owner = np.repeat(np.arange(60), sizes)
        with tempfile.TemporaryDirectory() as folder:
            store = of_subjects(Path(folder) / "store", sizes, subjects=setting.column, rng=rng)
            shades = rng.normal(0, 20, 60) + setting.shade * labels
            pixels = np.asarray(store.pixels, np.float64) + shades[owner][:, None, None, None]
            store.__dict__["pixels"] = pixels.clip(0, 255).astype(np.uint8)
            store.labels = labels[owner].astype(np.int64)
            check = find_shortcuts(store, rng=rng, permutations=PERMUTATIONS)
        alarms += check.strength != "none"
    slack = 3 * (FALSE_ALARMS * (1 - FALSE_ALARMS) / draws) ** 0.5
    share = alarms / draws
    ok = setting.at_least <= share <= setting.at_most + slack
    return {"setting": setting.name, "draws": draws, "alarms": share, "ok": ok}


def painted(ratio: float, rng: np.random.Generator) -> tuple[Images, Labels, tuple[str, ...]]:
    digits = make_builtin("digits")
    halves = (digits.labels >= 5).astype(np.int64)
    return bias_images(digits.images, halves, ratio=ratio, rng=rng).images, halves, ("0-4", "5-9")


def marked(ratio: float, rng: np.random.Generator) -> tuple[Images, Labels, tuple[str, ...]]:
    """A blue square in the lower right corner of a share `ratio` of the 7s, and nowhere else."""
    digits = make_builtin("digits")
    images = digits.images.copy()
    sevens = np.flatnonzero(digits.labels == 7)
    chosen = rng.permutation(sevens)[: round(ratio * len(sevens))]
    images[chosen, -3:, -3:] = (0, 0, 255)
    return images, digits.labels, digits.classes


class Shortcut(NamedTuple):
    """`strong`: whether the finding at `where` must be strong, or only above `none`."""

    name: str
    where: str
    ratio: float
    strong: bool


SHORTCUTS = {
    Shortcut("square on 99 % and 1 %", "top-left corner", 0.99, True): painted,
    Shortcut("square on 95 % and 5 %", "top-left corner", 0.95, True): painted,
    Shortcut("square on 80 % and 20 %", "top-left corner", 0.80, False): painted,
    Shortcut("mark on 90 % of one class of ten", "bottom-right corner", 0.90, True): marked,
}


def detection(shortcut: Shortcut, repeats: int, rng: np.random.Generator) -> dict[str, Any]:
    at_all, strong, first, effects = 0, 0, 0, []
    for _ in range(repeats):
        images, labels, classes = SHORTCUTS[shortcut](shortcut.ratio, rng)
        with tempfile.TemporaryDirectory() as folder:
            store = stored(Path(folder) / "store", images, labels, classes)
            check = find_shortcuts(store, rng=rng)
        there = next(f for f in check.findings if f.where == shortcut.where)
        at_all += there.strength != "none"
        strong += there.strength == "strong"
        first += check.findings[0].where == shortcut.where
        effects.append(max(there.effect, there.best_class.effect))
    threshold = strong if shortcut.strong else at_all
    return {
        "setting": shortcut.name,
        "repeats": repeats,
        "found": at_all / repeats,
        "strong": strong / repeats,
        "first": first / repeats,
        "mean_effect": float(np.mean(effects)),
        "ok": threshold == repeats,
    }


def plants(archive: Path) -> dict[str, Any]:
    """The background must be found in train, where it predicts the class, and fail on the balanced test."""
    with tempfile.TemporaryDirectory() as folder:
        import_dataset(archive, Path(folder) / "store")
        check = find_shortcuts(Store.open(Path(folder) / "store"), rng=np.random.default_rng(0))
    show(check)
    best = check.findings[0]
    assert best.elsewhere is not None
    return {
        "setting": "plants",
        "property": best.property,
        "strength": best.strength,
        "accuracy": best.accuracy,
        "test_accuracy": best.elsewhere.accuracy,
        "ok": best.strength != "none" and best.elsewhere.high < best.low,
    }


def show(check: ShortcutCheck) -> None:
    print(f"\n{check.sentence}")
    for f in check.findings:
        there = f"{f.elsewhere.split} {f.elsewhere.accuracy:.3f}" if f.elsewhere else ""
        print(
            f"  {f.strength:6} {f.property:20} accuracy {f.accuracy:.3f} (majority {f.majority:.3f}) "
            f"balanced {f.balanced_accuracy:.3f} p {f.p_value:.3f} {there}"
        )


def photos(folder: Path, count: int) -> Store:
    """JPEGs of 500×375 that cost as much as photographs: smooth shapes and some grain."""
    rng = np.random.default_rng(0)
    with StoreWriter(folder) as writer:
        for index in range(count):
            coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8))
            smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC)).astype(np.int16)
            grain = rng.integers(-12, 13, smooth.shape, np.int16)
            buffer = BytesIO()
            Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
            writer.add(Row(f"{index}.jpg", index % 2, "train", -1, 500, 375, buffer.getvalue()))
        writer.finish(DatasetInfo("photos", "image_folder", ("a", "b")))
    return Store.open(folder)


def speed(name: str, store: Store, *, scale_to: int, target: float) -> dict[str, Any]:
    """CPU seconds, since wall time means nothing on a busy machine; measured on fewer images, scaled up."""
    wall, cpu = time.perf_counter(), time.process_time()
    check = find_shortcuts(store, rng=np.random.default_rng(0), max_images=scale_to)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    scaled = cpu * scale_to / check.n
    return {
        "setting": name,
        "images": check.n,
        "wall_seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "cpu_seconds_of_5000": round(scaled, 2),
        "ok": scaled <= target,
    }


def table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    print(f"\n{title}")
    for row in rows:
        cells = (
            f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}"
            for key, value in row.items()
            if key != "setting"
        )
        print(f"  {row['setting']:34} " + "  ".join(cells))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--subject-draws", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--plants", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    require(parser, arguments.plants)
    rng, start = np.random.default_rng(arguments.seed), time.perf_counter()
    figures: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures["false alarms"] = [false_alarms(null, arguments.draws, rng) for null in nulls(folder)]
        table("false alarms", figures["false alarms"])
        figures["subjects"] = [alarms_of_subjects(s, arguments.subject_draws, rng) for s in SUBJECTS]
        table("subjects", figures["subjects"])
        figures["detection"] = [detection(shortcut, arguments.repeats, rng) for shortcut in SHORTCUTS]
        table("detection", figures["detection"])
        random = rng.integers(0, 256, (5000, 28, 28, 3)).astype(np.uint8)
        small = stored(folder / "small", random, np.arange(5000) % 2, ("a", "b"))
        large = photos(folder / "photos", arguments.photos)
        figures["speed"] = [
            speed("28×28", small, scale_to=5000, target=CPU_SECONDS_SMALL),
            speed("500×375 JPEG", large, scale_to=5000, target=CPU_SECONDS_PHOTOS),
        ]
        table("speed", figures["speed"])
    if arguments.plants:
        figures["plants"] = [plants(arguments.plants)]
        table("plants", figures["plants"])
    ok = all(row["ok"] for rows in figures.values() for row in rows)
    seconds = round(time.perf_counter() - start, 1)
    print(json.dumps({"benchmark": "shortcuts", "figures": figures, "seconds": seconds, "ok": ok}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
