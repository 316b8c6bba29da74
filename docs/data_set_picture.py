"""Draw docs/images/digits-on-photos.jpg: training images of both classes.

python -m docs.data_set_picture FILE
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from models.data.importing.builtin import make_builtin

PER_CLASS = 8


def main() -> None:
    """Write one row of images for each class: the last one of a row stands over the other photograph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path)
    digits = make_builtin("digits-on-photos")
    assert digits.groups is not None
    rows = []
    for label in range(2):
        usual, unusual = (np.flatnonzero(digits.groups == 2 * label + place) for place in (label, 1 - label))
        chosen = [*usual[: PER_CLASS - 1], unusual[0]]
        rows.append(np.concatenate(digits.images[chosen], axis=1))  # (H, W · PER_CLASS, 3)
    Image.fromarray(np.concatenate(rows)).save(parser.parse_args().file, quality=85)


if __name__ == "__main__":
    main()
