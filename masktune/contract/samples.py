"""Samples of a data set, and what a job has inferred of them."""

from __future__ import annotations

from pydantic import Field

from masktune.contract.base import Shape


class InferredPattern(Shape):
    """What a job has guessed of a sample; nobody labelled it. A pattern is what the images of a class share,
    as an early stage of the job's network sees it."""

    job: str = Field(description="The job whose guess it is.")
    pattern: str | None = Field(description="The class whose pattern it shows; null if that is not known.")
    lacks_pattern: bool | None = Field(
        description="Whether it shows the pattern of another class than its own; null if that is not known."
    )
    label_looks_wrong: bool = Field(description="Whether `label_doubt` is above one half.")
    label_doubt: float = Field(description="Probability that its label is wrong, 0..1.")

    @property
    def notes(self) -> list[str]:
        """What it says, in words."""
        notes = [] if self.pattern is None else [f"shows the pattern of {self.pattern}"]
        notes += ["label looks wrong"] * self.label_looks_wrong
        return [f"{note} · inferred" for note in notes]


class Sample(Shape):
    """One image of a data set. `id` is its number there."""

    id: int
    path: str = Field(description="Its name in the upload.")
    label: str | None = Field(None, description="The name of its class; null in an unlabelled data set.")
    split: str | None = Field(None, description="Null in an unlabelled data set.")
    group: str | None = None
    subject: str | None = Field(None, description="The patient, animal, burst … that it shows.")
    metadata: dict[str, float | str | None] = Field({}, description="Its cell in each column `meta:NAME`.")
    width: int
    height: int
    sha256: str = Field(description="Digest of the image file.")
    needs_png: bool = Field(False, description="16-bit or TIFF: browsers need `image?as=png` to show it.")
    inferred: InferredPattern | None = Field(None, description="What the job of `inferred_by` has guessed.")
