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

import csv
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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
from worker.stages.training import load

_GROUP_ROWS = 8192
"""Minimum number of rows in a Parquet row group, except the last."""

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")

Write = Callable[[Mapping[str, Any]], None]
"""Appends rows: for each column of the schema a sequence, or None if all its cells are empty."""


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


# --- the table, written batch by batch: Parquet, or CSV for users without a Parquet library -------------


def open_table(path: Path, schema: pa.Schema, classes: Sequence[str]) -> AbstractContextManager[Write]:
    """Open a table in the format that the file's suffix names, `.parquet` or `.csv`."""
    return _parquet(path, schema) if path.suffix == ".parquet" else _csv(path, schema.names, classes)


@contextmanager
def _parquet(path: Path, schema: pa.Schema) -> Iterator[Write]:
    batches: list[pa.RecordBatch] = []

    def write(columns: Mapping[str, Any]) -> None:
        count = len(columns[schema.names[0]])
        arrays = [_arrow(columns.get(field.name), field.type, count) for field in schema]
        batches.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
        if sum(batch.num_rows for batch in batches) >= _GROUP_ROWS:
            flush()

    def flush() -> None:
        writer.write_table(pa.Table.from_batches(batches, schema=schema))
        batches.clear()

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        yield write
        if batches:
            flush()


def _arrow(values: Any, type: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, type)
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return pa.array(list(values), type)
    return pa.array(values, type)


@contextmanager
def _csv(path: Path, names: Sequence[str], classes: Sequence[str]) -> Iterator[Write]:
    """`probabilities` has one column per class."""

    def write(columns: Mapping[str, Any]) -> None:
        count = len(columns[names[0]])
        cells = [_cells(name, columns.get(name), count) for name in names]
        writer.writerows(list(chain.from_iterable(row)) for row in zip(*cells, strict=True))

    heads = {"probabilities": [f"p:{label}" for label in classes]}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([head for name in names for head in heads.get(name, [name])])
        yield write


def _cells(name: str, values: Any, count: int) -> list[list[Any]]:
    """The cells of one column, row by row."""
    if values is None:
        return [[""]] * count
    rows = values.tolist() if isinstance(values, np.ndarray) else values
    if name == "probabilities":
        return list(rows)
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return [[" ".join(map(repr, row))] for row in rows]
    if name == "labels":
        return [[json.dumps(cell, ensure_ascii=False)] for cell in rows]
    return [["" if cell is None else _inert(cell)] for cell in rows]


def _inert(cell: Any) -> Any:
    """A text that a spreadsheet would take for a formula, behind an apostrophe; anything else as it is."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else cell
