"""A table of images with patients and hospitals in it: real handwritten digits, three pictures of each.

    python examples/patients.py FOLDER

FOLDER is the data set to upload: images, and labels.csv with the columns path, label, patient, hospital,
scanner. The task is 0-4 against 5-9. In Oslo most patients are 0-4, in Rome most are 5-9, in Berlin both are
equally frequent. Oslo has scanner A, which leaves a red mark in the corner; Rome has scanner B; Berlin both.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

PATIENTS, PICTURES = 800, 3
SIZE, DIGIT, MARK = 28, 24, 4  # pixels


def write(folder: Path, *, seed: int = 0) -> None:
    """Write the images and their table into a new folder."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    pixels, digits = load_digits(return_X_y=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "label", "patient", "hospital", "scanner"))
        for patient in range(PATIENTS):
            low = digits[patient] < 5
            usual, other = ("Oslo", "Rome") if low else ("Rome", "Oslo")
            hospital = rng.choice(["Berlin", usual, other], p=[0.25, 0.73, 0.02])
            scanner = {"Oslo": "A", "Rome": "B"}.get(hospital) or rng.choice(["A", "B"])
            grey = Image.fromarray((pixels[patient].reshape(8, 8) * 15).astype(np.uint8))
            digit = grey.resize((DIGIT, DIGIT)).convert("RGB")
            for number in range(PICTURES):
                image = Image.new("RGB", (SIZE, SIZE))
                left, top = rng.integers(0, SIZE - DIGIT + 1, 2)
                image.paste(digit, (int(left), int(top)))
                if scanner == "A":
                    image.paste((255, 0, 0), (0, 0, MARK, MARK))
                path = f"images/p{patient:03d}_{number}.png"
                image.save(folder / path)
                table.writerow((path, "0-4" if low else "5-9", f"p{patient:03d}", hospital, scanner))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(Path(sys.argv[1]))
