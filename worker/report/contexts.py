"""The contexts of an evaluation besides the stage's own: a type each, so that none passes for another."""

from __future__ import annotations

from typing import NewType

from worker.context import StageContext

# The images that the models are compared on, with the data set's own groups; of a job that judges another's
# models, without the images that trained these.
ComparisonContext = NewType("ComparisonContext", StageContext)

# The same images, with inferred groups in place of the data set's own where they decide.
FiguresContext = NewType("FiguresContext", StageContext)
