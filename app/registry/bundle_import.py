"""Imports a bundle: every member is held against its checksum, and the model answers as it did elsewhere."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.auth.idempotency import Once, fingerprint
from app.datasets.uploads import Upload
from app.http.staged_artifact import staged_artifact
from app.http.validation import parse, parse_form
from app.inference import Calibration
from app.registry import bundle
from app.registry.uploads import (
    Weights,
    check_dataset,
    check_file,
    created,
    fault,
    fields_of,
    require_distinct,
    stored_network,
)
from app.selective import calibrations
from core.settings import Settings
from core.storage.artifacts import Artifacts
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.ids import is_id, new_id
from masktune.contract.models import BundleImport, Model, ModelImport
from masktune.contract.report.text.card import Card
from models.data.archives import ArchiveError, ArchiveLimits, unpack
from models.selective import NEIGHBOURS_FILE, SCORES, NeighboursError, TrainingNeighbours

MOST_ENTRIES = 64
"""A bundle has seven members; who packs it again may add files of an operating system."""
MAX_JSON_BYTES = 64 << 20
"""Limit of a member that is parsed, which takes several times the memory."""


def is_zip(upload: Upload) -> bool:
    with upload.path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def create(once: Once, upload: Upload, artifacts: Artifacts, settings: Settings, root_path: str) -> Response:
    """Turn a bundle into models, its own and ERM's, with its calibration: all or none. Raises `WrongDataset`,
    and `InvalidInput`, which names the member at fault."""
    folder = upload.path.with_name("bundle")
    card = _unpack(upload.path, folder, settings)
    request = parse_form(BundleImport, upload.fields, {"metadata": json.loads})
    members = {bundle.WEIGHTS: card.model} | ({} if card.erm is None else {bundle.ERM_WEIGHTS: card.erm})
    networks = [_weights(folder / name, model) for name, model in members.items()]
    if any(network[2:] != networks[0][2:] for network in networks):
        raise fault("classes-differ", "the model and its ERM model have other classes or another image size")
    calibration = _calibration(card, folder / bundle.CALIBRATION)
    neighbours = folder / NEIGHBOURS_FILE
    if neighbours.exists():
        _check_neighbours(neighbours, card, networks[0])
    check_dataset(once.database, request.dataset, networks[0].classes)
    with ExitStack() as stack:
        add, *add_erm = [
            stack.enter_context(stored_network(once, artifacts, network)) for network in networks
        ]
        key = f"calibrations/{new_id('cal')}"
        confirm = stack.enter_context(staged_artifact(once.database, artifacts, key))
        if calibration is not None:
            with artifacts.writing(key) as target:
                shutil.move(folder / bundle.CALIBRATION, target / calibrations.FILE)
                if neighbours.exists():
                    shutil.move(neighbours, target / NEIGHBOURS_FILE)

        def make(session: Session) -> Response:
            fields = fields_of(request)
            if add_erm:
                fields["erm_id"] = add_erm[0](session, dataset_id=request.dataset).id
            if calibration is not None:
                confirm(session)
                fields["calibration"] = calibration | {"artifact": key}
            return created(add(session, **fields), root_path)

        return once.run(fingerprint(request, upload.sha256), make)


def _unpack(archive: Path, folder: Path, settings: Settings) -> Card:
    """Unpack a bundle and return its card, if its members are those of its sums and of its card."""
    limits = ArchiveLimits(
        max_entries=MOST_ENTRIES,
        max_bytes=settings.max_upload_bytes,  # a bundle is not compressed
        max_ratio=settings.max_archive_ratio,
    )
    try:
        unpack(archive, folder, limits)
    except ArchiveError as error:
        raise fault(error.problem.code.replace("_", "-"), error.problem.detail) from error
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    if bundle.SUMS not in names:
        raise fault(
            "not-safetensors",
            f"the file is a zip archive without {bundle.SUMS}, so it is no bundle; what torch.save writes is "
            "never read. Convert it where it was made: "
            "safetensors.torch.save_file(model.state_dict(), 'model.safetensors')",
        )
    for name in names & {bundle.SUMS, bundle.CARD, bundle.CALIBRATION}:
        if (folder / name).stat().st_size > MAX_JSON_BYTES:
            raise fault("member-too-large", f"{name} has more than {MAX_JSON_BYTES} bytes")
    lines = (folder / bundle.SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    _require_members(names, {bundle.SUMS, bundle.CARD, *sums}, f"of {bundle.SUMS}")
    for name in sorted(names - {bundle.SUMS}):
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sums.get(name):
                raise fault("changed-member", f"{name} was changed: its SHA-256 is not that of {bundle.SUMS}")
    try:
        card = Card.model_validate_json((folder / bundle.CARD).read_bytes())
    except ValidationError as error:
        raise fault("unreadable-member", f"{bundle.CARD} is not a card that this version reads") from error
    _require_members(names, bundle.member_names(card), "of its card")
    return card


def _require_members(names: set[str], expected: set[str], what: str) -> None:
    if missing := sorted(expected - names):
        raise fault("missing-member", f"{missing[0]}, a member {what}, is missing from the bundle")
    if unknown := sorted(names - expected):
        raise fault("unknown-member", f"{unknown[0]} is not a member {what}: leave it out")


def _weights(file: Path, model: Model) -> Weights:
    check_file(file)
    fields = {"backbone": model.backbone, "classes": model.classes, "image_size": model.image_size}
    request = parse(ModelImport, fields)
    require_distinct(request.classes)
    return Weights(file, request.backbone, request.classes, request.image_size)


def _calibration(card: Card, file: Path) -> dict[str, Any] | None:
    """What the row says of the calibration, but for its artifact. Raises `InvalidInput`."""
    reference = card.model.calibration
    if reference is None:
        return None
    try:
        tables = calibrations.from_tables(json.loads(file.read_bytes()), reference.id)
        sound = _is_sound(tables, SCORES if card.erm is not None else SCORES[:1])
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        sound = False
    source = reference.imported_from or card.model.id
    ids = is_id(reference.id, "cal") and is_id(source, "mdl") and is_id(reference.job or new_id("job"), "job")
    score_name = reference.score_name or calibrations.DEFAULT_SCORE
    tells = reference.unlike_threshold is not None
    if not (sound and ids and score_name in tables.tables and tells == bool(tables.unlike_answered)):
        raise fault("unreadable-member", f"{file.name} does not hold the calibration of {bundle.CARD}")
    return reference.model_dump(include=set(type(reference).model_fields)) | {
        "n": tables.tables[score_name].n,
        "n_subjects": tables.n_subjects,
        "scores": list(tables.tables),
        "temperature": tables.temperature,
        "created_at": None if reference.created_at is None else reference.created_at.timestamp(),
        "imported_from": source,
    }


def _check_neighbours(file: Path, card: Card, network: Weights) -> None:
    """Refuse what cannot be compared with the inputs of the network's last layer, (D,)."""
    reference = card.model.calibration
    try:
        neighbours = TrainingNeighbours.load(file)
        with safe_open(network.file, framework="np") as tensors:
            shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118
    except (NeighboursError, SafetensorError) as error:
        raise fault("unreadable-member", str(error)) from error
    last_layer = [len(network.classes), neighbours.vectors.shape[1]]
    if reference is None or neighbours.threshold != reference.unlike_threshold or last_layer not in shapes:
        raise fault("unreadable-member", f"{file.name} is not of this model")


def _is_sound(calibration: Calibration, scores: Sequence[ScoreName]) -> bool:
    """Whether the model can compute the scores, each has the same samples, and the numbers are possible."""
    apart = calibration.disagreement
    return (
        len({table.n for table in calibration.tables.values()}) == 1
        and set(calibration.tables) <= set(scores)
        and calibration.unlike_answered.keys() in (set(), calibration.tables.keys())
        and isfinite(calibration.temperature)
        and calibration.temperature > 0
        and (apart is None or 0 <= apart.k <= apart.n)
        and isinstance(calibration.n_subjects, int | None)
    )
