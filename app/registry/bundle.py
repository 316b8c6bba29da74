"""A model as a zip that needs no service: a graph that answers, a card, and the weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.datasets import presenter as datasets
from app.datasets.stores import Stores, StoresDep
from app.http.deps import ArtifactsDep, DatabaseDep
from app.http.responses import Span, chunks, etag_of, matches
from app.inference import Inference, InferenceDep, backbones
from app.inference.engines.graph_store import Graph
from app.registry.onnx_metadata import policy_values
from app.registry.service import describe, stored_network
from app.registry.weights_file import as_one_file
from app.selective import calibrations
from app.selective.policy import Choice, choose, require_certified
from core.session import Database
from core.storage.artifacts import Artifacts
from core.storage.reports import read_report
from core.tables import DatasetRow, JobRow, ModelRow
from masktune.contract.models import Model
from masktune.contract.report.text.card import Card, card_parts
from masktune.contract.serving.predictions import DownloadQuery
from masktune.contract.vocabulary import Stage
from models.data.archives.stored_zip import Entry, stored_zip

ZIP = "application/zip"
CARD, CARD_TEXT, SUMS = "card.json", "card.md", "SHA256SUMS"
GRAPH, WEIGHTS, ERM_WEIGHTS = "model.onnx", "model.safetensors", "erm.safetensors"

Pieces = Sequence[bytes | Span]


@dataclass(frozen=True)
class Bundles:
    """Sends models as bundles."""

    artifacts: Artifacts
    database: Database
    stores: Stores
    inference: Inference

    async def send(self, request: Request, model: ModelRow, query: DownloadQuery) -> Response:
        """Send the bundle with the threshold of the query's policy.
        Raises what a prediction with this policy raises, and what the export of the graph raises."""
        choice = await run_in_threadpool(choose, query, model, self.artifacts)
        if query.on_uncertified == "error":
            require_certified(choice.policy)
        card, networks = await run_in_threadpool(self._card, model, choice)
        headers = {"ETag": etag_of(card.model_dump_json().encode()), "Cache-Control": "private, no-cache"}
        if matches(request.headers.get("if-none-match"), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        score = card.selection.score_name
        needed = networks[:1] if score == calibrations.DEFAULT_SCORE else networks
        neighbours = await run_in_threadpool(calibrations.neighbours, model, self.artifacts)
        graph = Graph([stored_network(row) for row in needed], score, tells_unlike=neighbours is not None)
        path = await self.inference.exports.file(graph)
        temperature = calibrations.temperature(model, choice.calibration)
        values = await run_in_threadpool(policy_values, card, choice.policy, neighbours, temperature)
        entries = await run_in_threadpool(self._entries, card, networks, [_whole(path), values])
        headers["Content-Disposition"] = f'attachment; filename="{model.id}.zip"'
        return StreamingResponse(stored_zip(entries), headers=headers, media_type=ZIP)

    def _card(self, model: ModelRow, choice: Choice) -> tuple[Card, list[ModelRow]]:
        """Make the card from what the service knows; return it with the networks, the model's own first."""
        with self.database.read() as session:
            erm = session.get(ModelRow, model.erm_id or "")
            job = session.get(JobRow, model.job_id or "")
            # Whoever imported a model may have named a data set, which need not have trained it.
            dataset = session.get(DatasetRow, model.dataset_id or "") if job else None
        report, params = None, {} if job is None else job.params
        if job is not None and Stage.EVALUATE in job.done:
            report = read_report(job, self.artifacts)
        store = self.stores.open(dataset.artifact) if dataset and dataset.artifact else None
        licences = {}
        if params.get("pretrained") is True:
            licences = {network.name: network.license for network in backbones.list_backbones()}
        stored = json.loads((self.artifacts.folder(model.artifact) / "model.json").read_text())
        card = Card(
            model=_anonymous(model),
            erm=None if erm is None else _anonymous(erm),
            weights=stored["digest"],
            selection=choice.policy.selection,
            verdict=None if report is None else report.verdicts.get(model.arm),
        )
        data = (datasets.describe(dataset), store.digest) if dataset and store else None
        parts = card_parts(card, data, params, licences.get(model.backbone), report)
        return card.model_copy(update={"parts": parts}), [model] if erm is None else [model, erm]

    def _entries(self, card: Card, networks: list[ModelRow], graph: Pieces) -> list[Entry]:
        """Read every member for its digests, and return them with the file of sums at the end."""
        members: dict[str, Pieces] = {
            CARD_TEXT: [card.markdown().encode()],
            CARD: [card.model_dump_json(indent=1).encode()],
            GRAPH: graph,
        }
        members |= zip((WEIGHTS, ERM_WEIGHTS), map(self._weights, networks), strict=False)
        sums = "".join(f"{_sha256(pieces)}  {name}\n" for name, pieces in members.items())
        members[SUMS] = [sums.encode()]
        return [Entry.of(name, partial(chunks, pieces)) for name, pieces in members.items()]

    def _weights(self, row: ModelRow) -> Pieces:
        own = self.artifacts.folder(row.artifact) / "model.safetensors"
        if row.backbone_artifact is None:
            return [_whole(own)]
        return as_one_file(own, self.artifacts.folder(row.backbone_artifact) / "backbone.safetensors")


def _anonymous(row: ModelRow) -> Model:
    """The model without what concerns its users here: who made it, their notes, what it was served, and what
    they said of its answers."""
    return describe(row).model_copy(
        update={"created_by": None, "metadata": {}, "drift": None, "promise": None}
    )


def _whole(path: Path) -> Span:
    return Span(path, 0, path.stat().st_size)


def _sha256(pieces: Pieces) -> str:
    digest = hashlib.sha256()
    for block in chunks(pieces):
        digest.update(block)
    return digest.hexdigest()


async def _bundles(
    artifacts: ArtifactsDep, database: DatabaseDep, stores: StoresDep, inference: InferenceDep
) -> Bundles:
    return Bundles(artifacts, database, stores, inference)


BundlesDep = Annotated[Bundles, Depends(_bundles)]
