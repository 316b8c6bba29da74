"""Predict: write the predictions for every sample of a split to one file, with the same decisions as the API.

The artifact holds `predictions.parquet` (columns `row`, `path`, `label`, `predicted`, `decision`,
`score`, `probabilities`, `agreement`, `pattern`, with `set_coverage` `labels`, and with `explain` `saliency`)
or `predictions.csv` (the same, with one column `p:CLASS` for each class), and `selection.json`, the basis of
the threshold (`worker.stages.policy.describe`) and of the sets.

`predicted` is empty exactly when the decision is to abstain. `score` is e^score, in 0..1; it is empty if
not finite, and the decision is then to abstain. `probabilities` are at the calibration's temperature, and so
is the `score` that is the largest of them.
`labels` is the prediction set, most likely first, in a CSV file as JSON.
`agreement` is empty for a model without an ERM model, `pattern` without a judge of patterns
(`worker.stages.patterns`). `saliency` is the low-resolution map, row by row.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from masktune.contract.hyperparameters import ScoreName
from masktune.contract.job_params import PredictParams
from masktune.contract.vocabulary import Decision
from models.data.loading.batched_eval import evaluating, map_batches
from models.data.loading.batches import Batch
from models.saliency import saliency
from models.selective import Selection, score
from worker.results import ModelSpec, PredictResult
from worker.stages.context import StageContext
from worker.stages.forward import loader_for
from worker.stages.patterns import pattern_names
from worker.stages.policy import abstain_reasons, apply_policy, describe, prediction_sets, score_name
from worker.stages.tables import open_table
from worker.stages.training import load


def predict(context: StageContext) -> PredictResult:
    """Write the predictions of the job's model on its split, batch by batch in constant memory."""
    params, model = context.job_params(PredictParams), context.spec.models[context.spec.model or ""]
    pair = _Pair(context, model)
    selection = apply_policy(context, model, pair.score_name)
    started, artifact, file = time.monotonic(), context.key("predictions"), f"predictions.{params.output}"
    rows, answered = context.store.rows(params.split), 0
    with context.artifacts.writing(artifact) as folder:
        with open_table(folder / file, pair.schema(), model.classes) as write:
            for columns in pair.predictions(rows, selection):
                answered += columns.pop("answered")
                write(columns)
        facts = {
            "model": model.id,
            "classes": list(model.classes),
            "score_name": pair.score_name,
            "selection": None if selection is None else describe(context, selection),
            "sets": None if pair.sets is None else pair.sets.to_json(),
        }
        (folder / "selection.json").write_text(json.dumps(facts, indent=1))
    seconds = time.monotonic() - started
    return PredictResult(
        artifact=artifact,
        file=file,
        rows=len(rows),
        answered=answered,
        images_per_second=round(len(rows) / max(seconds, 1e-9), 1),
    )


class _Pair:
    """The model and, if it has one, its ERM model."""

    def __init__(self, context: StageContext, model: ModelSpec) -> None:
        self._context, self._model, self._classes = context, model, model.classes
        partner = context.spec.models.get(model.erm_id or "")
        self._networks = {one.id: load(context, one)[0] for one in (model, partner) if one is not None}
        self._network, self._erm = self._networks[model.id], self._networks.get(model.erm_id or "")
        self.score_name: ScoreName = score_name(context, model)
        self._temperature = 1.0 if model.calibration is None else model.calibration.temperature
        self._params = context.job_params(PredictParams)
        self.sets = prediction_sets(context, model)

    def schema(self) -> pa.Schema:
        fields = [
            ("row", pa.int64()),
            ("path", pa.string()),
            ("label", pa.string()),
            ("predicted", pa.string()),
            ("decision", pa.string()),
            ("score", pa.float64()),
            ("probabilities", pa.list_(pa.float32(), len(self._classes))),
            ("agreement", pa.bool_()),
            ("pattern", pa.string()),
        ]
        if self.sets is not None:
            fields.append(("labels", pa.list_(pa.string())))
        return pa.schema(fields + ([("saliency", pa.list_(pa.float32()))] if self._params.explain else []))

    def predictions(
        self, rows: np.ndarray[tuple[int], np.dtype[np.int64]], selection: Selection | None
    ) -> Iterator[dict[str, Any]]:
        """Yield the columns of each batch, with its count `answered`."""
        loader = loader_for(self._context, self._network, rows)
        with (
            evaluating(self._network),
            pattern_names(self._context, self._model, self._networks) as patterns,
        ):
            columns = partial(self._columns, selection=selection, patterns=patterns)
            yield from map_batches(loader, self._context.run, columns)

    def _columns(
        self, batch: Batch, *, selection: Selection | None, patterns: Callable[[], list[str]] | None
    ) -> dict[str, Any]:
        logits, maps = self._forward(batch)
        with torch.inference_mode():
            erm = None if self._erm is None else _array(self._erm(batch.images))
        scored = score(self.score_name, logits, erm, temperature=self._temperature)
        accepts = [reason is None for reason in abstain_reasons(scored, selection)]
        store, rows = self._context.store, batch.rows.numpy()
        names = [self._classes[label] for label in scored.labels]
        columns: dict[str, Any] = {
            "row": rows,
            "path": store.paths.take(rows).to_pylist(),
            "label": [store.classes[label] for label in store.labels[rows]],
            "predicted": [name if yes else None for name, yes in zip(names, accepts, strict=True)],
            "decision": [str(Decision.ANSWER if yes else Decision.ABSTAIN) for yes in accepts],
            "score": [math.exp(v) if math.isfinite(v) else None for v in scored.scores.tolist()],
            "probabilities": np.exp(scored.log_probabilities).astype(np.float32),
            "agreement": None if erm is None else (erm.argmax(1) == scored.labels),
            "pattern": None if patterns is None else patterns(),
            "labels": None if self.sets is None else self.sets.labels(scored.log_probabilities),
            "answered": sum(accepts),
        }
        return columns | ({} if maps is None else {"saliency": maps})

    def _forward(self, batch: Batch) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Logits (B, K), and saliency maps (B, h·w) from the same forward pass if the job requests them."""
        if self._params.explain:
            explained = saliency(self._network, batch.images, method=self._params.method)
            return _array(explained.logits), _array(explained.maps.flatten(1))
        with torch.inference_mode():
            return _array(self._network(batch.images)), None


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.detach().float().cpu().numpy())
