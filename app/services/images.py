"""Stored images: a sample that a request names, or some of the data set that a model was trained on."""

from __future__ import annotations

from typing import NamedTuple

from anyio.to_thread import run_sync
from sqlalchemy.orm import Session
from starlette.requests import Request

from app.deps import Services
from app.inference import Share, Upload
from app.services.aside import aside
from app.services.stores import Stores
from core.artifacts import ArtifactMissing
from core.errors import FieldError, NotFound, WrongDataset
from core.ids import is_id
from core.queries import datasets
from core.session import Database
from core.tables import DatasetRow, ModelRow
from models.data.store import StoreError


class Stored(NamedTuple):
    """Where a sample is: its data set, the artifact that holds it, its number."""

    dataset: str
    artifact: str
    sample: int


def find(session: Session, model: ModelRow, dataset_id: str, sample: int) -> Stored:
    """A sample for this model. `NotFound`, or `WrongDataset` where the classes differ. Opens no file."""
    if not is_id(dataset_id, "ds"):
        raise NotFound("there is no such data set; GET /datasets lists what there is")
    dataset = datasets.get_ready(session, dataset_id)
    if list(dataset.classes) != list(model.classes):
        raise WrongDataset(
            f"model {model.id} knows the classes {_few(model.classes)}, and data set {dataset_id} has "
            f"{_few(dataset.classes)}; take a model of this data set",
            errors=(FieldError("?dataset", "model-of-another-dataset", "its classes are not the model's"),),
        )
    assert dataset.artifact is not None
    return Stored(dataset_id, dataset.artifact, sample)


async def read(request: Request, services: Services, stored: Stored, share: Share) -> Upload:
    """The sample as it was uploaded, in the memory of `share`. `NotFound` where the data set has none such.

    The data set is fetched where it is not on this disk. `Overloaded` where too many wait for that.
    """
    store = services.stores.ready(stored.artifact)
    if store is None:
        with aside(request):
            store = await services.stores.fetch(stored.artifact)
    if stored.sample >= len(store):
        raise NotFound(
            f"data set {stored.dataset} has no sample {stored.sample}: they go from 0 to {len(store) - 1}"
        )
    data = await run_sync(store.image_bytes, stored.sample, limiter=services.planners)
    share.take(len(data))
    return Upload(data)


def of_model(database: Database, stores: Stores, model_id: str, count: int) -> list[bytes]:
    """Up to `count` images of the data set that the model was trained on, spread evenly over it."""
    with database.read() as session:
        model = session.get(ModelRow, model_id)
        dataset = session.get(DatasetRow, model.dataset_id) if model and model.dataset_id else None
    if dataset is None or dataset.artifact is None:
        return []
    try:
        store = stores.open(dataset.artifact)
    except (ArtifactMissing, StoreError):  # deleted meanwhile
        return []
    step = max(1, len(store) // count)
    return [store.image_bytes(row) for row in range(0, len(store), step)[:count]]


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
