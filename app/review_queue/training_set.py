"""A data set of the one that a model belongs to and the model's abstained images that have a label.

These are a selected sample: the inputs on which the model was unsure. It errs on many of them, and what is
measured on them says nothing of other inputs. So they join `train`, and neither calibration nor test.
"""

from __future__ import annotations

import csv
from pathlib import Path

from sqlalchemy.orm import Session
from starlette.responses import Response

from app.auth.idempotency import fingerprint
from app.datasets import service as datasets
from app.http.staged_artifact import staged_artifact
from app.http.validation import parse
from app.jobs.service import JobCreation
from core.errors import Conflict
from core.queries import datasets as dataset_rows
from core.queries import review_queue
from core.storage.artifacts import Artifacts
from core.tables import ModelRow
from masktune.contract.datasets import FormatOptions, SourceRequest
from masktune.contract.ids import new_id
from masktune.contract.serving.review_queue import ReviewDatasetRequest
from models.data.download import LABELS_FILE
from models.data.images.image_types import TYPES, image_type

_SUFFIXES = {kind: suffix for suffix, kind in reversed(list(TYPES.items()))}


def create(
    creation: JobCreation, model: ModelRow, request: ReviewDatasetRequest, artifacts: Artifacts
) -> Response:
    """Make the data set and its import job.
    Raises `Conflict` if there is no image to add, or no data set to add it to, `DatasetNotReady`."""
    if model.dataset_id is None:
        raise Conflict(f"model {model.id} belongs to no data set that its images could be added to")
    digest, source = fingerprint(request, model.id), {"dataset": model.dataset_id}
    if (answer := creation.once.stored_response(digest)) is not None:
        return answer
    dataset_id, database = new_id("ds"), creation.once.database
    key = f"uploads/{dataset_id}"
    with staged_artifact(database, artifacts, key) as confirm:
        with database.read() as session, artifacts.writing(key) as folder:
            dataset_rows.get_ready(session, model.dataset_id)
            _write(session, model.id, folder)

        def make(session: Session) -> Response:
            confirm(session)
            dataset_rows.get_ready(session, str(model.dataset_id))
            row = datasets.add(
                creation,
                session,
                dataset_id,
                parse(SourceRequest, {"name": request.name, "source": f"dataset:{model.dataset_id}"}),
                source=source | {"upload": key},
                options=FormatOptions().model_dump(mode="json"),
                occupies=artifacts.size(key),
            )
            return datasets.represent_new(creation, row)

        return creation.once.run(digest, make)


def _write(session: Session, model_id: str, folder: Path) -> None:
    """Write the images and their table. Raises `Conflict` if there are none."""
    (folder / "reviewed").mkdir()
    with (folder / LABELS_FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "subject"])
        count = 0
        for example in review_queue.training_examples(session, model_id):
            path = f"reviewed/{example.item_id}{_SUFFIXES[image_type(example.content) or 'PNG']}"
            (folder / path).write_bytes(example.content)
            writer.writerow([path, example.label, "train", example.subject])
            count += 1
    if not count:
        raise Conflict(f"no abstained image of model {model_id} has a label yet; GET /reviews lists them")
