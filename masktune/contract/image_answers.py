"""What a person says of the images that a report lists: the bodies of `/jobs/{id}/image-answers`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from masktune.contract.base import Shape, Strict, Time

MOST_ANSWERS = 1000
_LACKS = "Whether it lacks the pattern that the other images of its class share."
_LABEL_RIGHT = "Samples whose label looks wrong, and is right: the next job does not doubt it."


class NewImageAnswer(Strict):
    """What a person says of one image."""

    sample: int = Field(ge=0, lt=2**63, description="One of those that the step `review_images` lists.")
    lacks_pattern: bool = Field(description=_LACKS)


class NewImageAnswers(Strict):
    """What a person says of the images that a report lists; not every image needs an answer."""

    answers: Annotated[list[NewImageAnswer], Field(min_length=1, max_length=MOST_ANSWERS)]
    label_right: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**63)]],
        Field(
            max_length=MOST_ANSWERS,
            description=f"{_LABEL_RIGHT} Of those that the step `check_labels` lists and "
            "`review_images` does not: an answer about the pattern says it too.",
        ),
    ] = []


class ImageAnswer(Shape):
    """What was said of one image."""

    sample: int
    lacks_pattern: bool = Field(description=_LACKS)


class ImageAnswers(Shape):
    """What a person said of the images that the report of a job lists.

    The next job on the data set that infers groups by early stages, and is not told its `head.gate`, goes by
    the newest answers: by their gate, by the answer for each image, and by the labels that are right.
    """

    job: str = Field(description="The job whose report lists the images.")
    created_by: str | None = Field(
        None,
        description="Id of the key of who answered, or `user:` and the name of the person; null for a key of "
        "the operator, or without keys.",
    )
    created_by_name: str | None = Field(None, description="Name of the key or the person.")
    updated_at: Time = Field(description="When the answers were given.")
    gate: Literal["open", "closed"] = Field(
        description="`open` if more than half of the answers say that the image lacks the pattern."
    )
    lacking: int = Field(description="Answers that say so.")
    needed: int | None = Field(
        None,
        description="How many more of the images drawn at random must lack the pattern to show, at 97.5 %, "
        "that half of all such images do: a verdict may rest on 0. Null: too few are left for that, or none "
        "was drawn at random.",
    )
    answers: list[ImageAnswer] = Field(description="By sample.")

    @property
    def decides(self) -> bool:
        """Whether a verdict may rest on groups that these answers confirm."""
        return self.gate == "open" and self.needed == 0

    label_right: list[int] = Field([], description=_LABEL_RIGHT)
