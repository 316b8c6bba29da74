"""Imports models: a safetensors file, a backbone, the names of the classes. Never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy.orm import Session
from starlette.responses import Response

from app.auth.idempotency import Once, fingerprint
from app.datasets.uploads import Upload
from app.http.responses import represent
from app.http.staged_artifact import staged_artifact
from app.http.validation import parse_form
from app.registry.service import describe
from core.errors import FieldError, InvalidInput, WrongDataset
from core.queries import datasets, registry
from core.session import Database
from core.storage.artifacts import Artifacts
from core.tables import ModelRow
from masktune.contract.ids import new_id
from masktune.contract.models import ModelImport
from masktune.contract.vocabulary import Arm
from models.backbones.errors import BackboneError, UnknownBackbone, UnsupportedBackbone

MAX_HEADER_BYTES = 1 << 20
"""Limit of the JSON header before the weights, checked before it is parsed: it takes up to 20 times as much
memory. A tensor takes about 100 bytes, and large networks have some thousands."""

_STRANGERS = {
    b"PK\x03\x04": "a zip archive, as torch.save writes",
    b"\x80": "a pickle",
    b"\x1f\x8b": "a gzip file",
}


def create(once: Once, upload: Upload, artifacts: Artifacts, root_path: str) -> Response:
    """Turn the file into an artifact and a row: both or none. `InvalidInput` says what does not fit."""
    request = parse_fields(upload.fields)
    _check_file(upload.path)
    if request.dataset is not None:
        _check_dataset(once.database, request.dataset, request.classes)
    digest = fingerprint(request, upload.sha256)
    if (answer := once.stored_response(digest)) is not None:
        return answer  # saves building the network and storing its file a second time
    model_id = new_id("mdl")
    key, own_backbone = f"models/{model_id}", f"backbones/{model_id}"
    with (
        staged_artifact(once.database, artifacts, key) as confirm,
        staged_artifact(once.database, artifacts, own_backbone) as confirm_backbone,
    ):
        # Before the transaction: building a network takes seconds, and SQLite has one writer at a time.
        backbone_digest = _take_in(upload, request, artifacts, key, own_backbone)

        def make(session: Session) -> Response:
            confirm(session)
            backbone = backbone_digest and registry.share_backbone(session, backbone_digest, own_backbone)
            if backbone == own_backbone:
                confirm_backbone(session)
            row = ModelRow(
                id=model_id,
                dataset_id=request.dataset,
                arm=Arm.IMPORTED,
                backbone=request.backbone,
                classes=request.classes,
                image_size=request.image_size,
                artifact=key,
                backbone_artifact=backbone,
                occupies=artifacts.size(key),
                name=request.name,
                user_metadata=request.metadata,
                created_by=once.caller,
            )
            headers = {"Location": f"{root_path}/models/{model_id}"}
            return represent(describe(registry.add(session, row)), status=201, headers=headers)

        return once.run(digest, make)


def parse_fields(fields: Mapping[str, str]) -> ModelImport:
    """Parse the form's fields; `classes` and `metadata` are JSON and `image_size` a decimal integer."""
    request = parse_form(
        ModelImport, fields, {"classes": json.loads, "metadata": json.loads, "image_size": int}
    )
    if len(set(request.classes)) < len(request.classes):
        raise InvalidInput.field("/classes", "repeated", "class names must be unique")
    return request


def _check_file(path: Path) -> None:
    """Refuse files that are not safetensors, by their first bytes, and headers that are too large."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(9)
    for magic, what in _STRANGERS.items():
        if head.startswith(magic) and not (len(head) == 9 and head[8:] == b"{"):
            raise _fault(
                "not-safetensors",
                f"the file is {what}, and pickles are never read. Convert it where it was made: "
                "safetensors.torch.save_file(model.state_dict(), 'model.safetensors')",
            )
    length = int.from_bytes(head[:8], "little")
    if len(head) < 9 or head[8:] != b"{" or length > size - 8:
        raise _fault("not-safetensors", "the file is not a complete safetensors file")
    if length > MAX_HEADER_BYTES:
        raise _fault("header-too-large", f"the header may have at most {MAX_HEADER_BYTES} bytes")


def _take_in(
    upload: Upload, request: ModelImport, artifacts: Artifacts, key: str, backbone_key: str
) -> str | None:
    """Store the model, and apart from it its backbone if that can be shared; return the backbone's digest."""
    from models.export import (  # imports torch
        ModelError,
        import_safetensors,
        save_backbone,
        save_model,
        shareable_digest,
    )

    file = upload.path.rename(upload.path.with_name("weights.safetensors"))
    try:
        network, card = import_safetensors(
            file,
            backbone=request.backbone,
            classes=tuple(request.classes),
            image_size=request.image_size,
        )
    except UnknownBackbone as error:
        raise InvalidInput.field("/backbone", "unknown-backbone", str(error)) from error
    except UnsupportedBackbone as error:
        raise InvalidInput.field("/backbone", "unsupported-backbone", str(error)) from error
    except (BackboneError, ModelError) as error:
        raise _fault("does-not-fit", str(error)) from error
    folder, backbone_folder = (file.with_name(name) for name in ("model", "backbone"))  # go with the upload's
    digest = shareable_digest(network)
    save_model(network, card, folder, with_backbone=digest is None)
    if digest is not None:
        save_backbone(network, backbone_folder)
        artifacts.put(backbone_folder, backbone_key)
    artifacts.put(folder, key)
    return digest


def _check_dataset(database: Database, dataset_id: str, classes: list[str]) -> None:
    """Raise `NotFound`, or `WrongDataset` unless the data set has these classes."""
    with database.read() as session:
        dataset = datasets.require_labelled(datasets.get(session, dataset_id))
    if list(dataset.classes) != classes:
        raise WrongDataset(
            f"data set {dataset.id} has the classes {', '.join(dataset.classes[:10])}; give the same ones",
            errors=(FieldError("/classes", "model-of-another-dataset", "not those of the data set"),),
        )


def _fault(code: str, detail: str) -> InvalidInput:
    """A fault of the uploaded file."""
    return InvalidInput.field("/file", code, detail)
