"""Stored images: one sample named by a request."""

from __future__ import annotations

from typing import NamedTuple

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from sqlalchemy.orm import Session

from app.datasets.stores import Stores
from app.inference import Admission, Upload
from core.errors import FieldError, NotFound, WrongDataset
from core.queries import datasets
from core.tables import ModelRow
from masktune.contract.ids import is_id
from masktune.contract.report.text.formats import first_names


class Stored(NamedTuple):
    """Location of a sample: its data set, the artifact that holds it, its number."""

    dataset: str
    artifact: str
    sample: int


def find(session: Session, model: ModelRow, dataset_id: str, sample: int) -> Stored:
    """Locate a sample for this model without opening a file.
    Raises `NotFound`, or `WrongDataset` if the classes of a labelled data set differ."""
    if not is_id(dataset_id, "ds"):
        raise NotFound("there is no such data set; see the list of data sets")
    dataset = datasets.get_ready(session, dataset_id)
    if dataset.labelled and list(dataset.classes) != list(model.classes):
        raise WrongDataset(
            f"model {model.id} has the classes {first_names(model.classes)}, but data set {dataset_id} has "
            f"{first_names(dataset.classes)}; use a model of this data set",
            errors=(FieldError("?dataset", "model-of-another-dataset", "its classes are not the model's"),),
        )
    assert dataset.artifact is not None
    return Stored(dataset_id, dataset.artifact, sample)


async def read(stored: Stored, admission: Admission, *, stores: Stores, threads: CapacityLimiter) -> Upload:
    """Read the sample, the only image of its request, as uploaded.
    Raises `NotFound` if there is none such.

    Fetches the data set if it is not on the local disk; raises `Overloaded` if too many wait for that.
    """
    store = stores.ready(stored.artifact)
    if store is None:
        with admission.without_place():
            store = await stores.fetch(stored.artifact)
    if stored.sample >= len(store):
        raise NotFound(
            f"data set {stored.dataset} has no sample {stored.sample}; its last one is {len(store) - 1}"
        )
    return Upload(await run_sync(store.image_bytes, stored.sample, limiter=threads))
