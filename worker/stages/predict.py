"""Predict: write the predictions for a split, or for every image, to one table, with the API's decisions.

The images are passed over in shards (`worker.passes.shards`), which are joined at the end.

The artifact holds `predictions.parquet`, on request also `predictions.csv`, and `selection.json`, the basis
of the threshold (`worker.stages.policy.describe`) and of the sets. The columns:

    row, path, sha256   of the image in the data set; the digest of its file as it is stored, which is the
                        uploaded one but for types that are stored as PNG
    label               the class that the data set gives it; empty if it gives none
    predicted           the answer; empty exactly when `decision` is not `answer`
    decision, abstain_reason, reason
                        `reason` says why a file is `unreadable`: it then has no other cell but its path
    score               e^score, in 0..1; empty if not finite, and the decision is then to abstain
    candidates          the likeliest classes with their `probabilities`, which are at the calibration's
                        temperature, and so is the `score` that is the largest of them
    agreement           with the ERM model; empty for a model without one
    unlike_training     whether the image is unlike the training images; empty for a model that cannot tell
                        (`worker.networks.unlike`)
    pattern             the class whose pattern the image shows; empty without a judge of patterns
                        (`worker.networks.patterns`)
    labels              with `set_coverage`: the prediction set, most likely first
    saliency            with `explain`: the low-resolution map, row by row

In CSV, `probabilities` are columns `p:CLASS`, `candidates` is a JSON object, and `labels` a JSON list.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from masktune.contract.hyperparameters import ScoreName
from masktune.contract.job_params import EVERY_SPLIT, PredictParams
from masktune.contract.vocabulary import AbstainReason, Decision
from models.data.layout import read_rejected
from models.data.loading.batched_eval import evaluating
from models.data.loading.batches import Batch
from models.data.loading.shards import ShardLoader, map_shards
from models.data.report import Rejection
from models.data.store import Store
from models.run import OnProgress, Run
from models.saliency import saliency
from models.selective import Selection, score
from models.types import Bools
from worker.context import StageContext
from worker.networks.passes import cut, evaluation_settings
from worker.networks.patterns import judged_model, pattern_names
from worker.networks.training import load
from worker.networks.unlike import unlike_training
from worker.passes.shards import Arguments
from worker.results import ModelSpec, PredictResult
from worker.stages.policy import (
    COMPARED,
    abstain_reasons,
    apply_policy,
    describe,
    drift,
    prediction_sets,
    score_name,
)
from worker.stages.tables import least_sure_first, open_table, read_part, record_batch, write_part

TABLE, _PART = "predictions.parquet", "part.arrow"


def predict(context: StageContext) -> PredictResult:
    """Write the predictions of the job's model, shard by shard in constant memory."""
    params, sharded = context.job_params(PredictParams), pass_of_job(context)
    pair, selection = sharded.pair, sharded.selection
    counts, model = context.compute_shards(sharded, context.on_progress), pair.model
    keys = (context.key_of(sharded, number) for number in range(len(sharded.sizes)))
    parts: Iterable[pa.Table] = (read_part(context.artifacts.file(key, _PART)) for key in keys)
    if params.order == "least_sure":
        parts = least_sure_first(list(parts))
    if params.split == EVERY_SPLIT:
        parts = chain(parts, [_unreadable(context.store, pair.schema)])
    files = [TABLE] if params.output == "parquet" else [TABLE, f"predictions.{params.output}"]
    decisions, labels, reasons = Counter[str](), Counter[str](), Counter[str]()
    artifact, compared = context.key("predictions"), list[pa.Table]()
    with context.artifacts.writing(artifact) as folder:
        with ExitStack() as stack:
            opened = [open_table(folder / name, pair.schema, model.classes) for name in files]
            writes = [stack.enter_context(table) for table in opened]
            for part in parts:
                context.run.check()
                for write in writes:
                    write(part)
                compared.append(part.select(COMPARED))
                decisions.update(part["decision"].to_pylist())
                labels.update(part["predicted"].drop_null().to_pylist())
                reasons.update(part["abstain_reason"].drop_null().to_pylist())
        facts = {
            "model": model.id,
            "classes": list(model.classes),
            "score_name": pair.score_name,
            "selection": None if selection is None else describe(context, selection),
            "sets": None if pair.sets is None else pair.sets.to_json(),
        }
        (folder / "selection.json").write_text(json.dumps(facts, indent=1))
    return PredictResult(
        artifact=artifact,
        file=files[-1],
        rows=decisions.total(),
        answered=decisions[Decision.ANSWER],
        abstained=decisions[Decision.ABSTAIN],
        unreadable=decisions[Decision.UNREADABLE],
        labels={label: labels[label] for label in model.classes if labels[label]},
        abstain_reasons={reason: reasons[reason] for reason in AbstainReason if reasons[reason]},
        drift=drift(context, model, pair.score_name, pa.concat_tables(compared), sharded.rows),
        images_per_second=counts.images_per_second,
    )


# --- the pass -----------------------------------------------------------------------------------------------


class PredictionPass:
    """The pass over the images of a predict job; each shard is a table."""

    name = title = "predictions"

    def __init__(self, context: StageContext, pair: Pair, selection: Selection | None) -> None:
        self._context, self.pair, self.selection = context, pair, selection
        split = context.job_params(PredictParams).split
        self.rows = context.store.rows(None if split == EVERY_SPLIT else split)
        self.shards = cut(self.rows)
        self.sizes: Sequence[int] = list(map(len, self.shards))
        self.arguments: Arguments | None = {}
        self.key = f"shards-{_basis(context, pair.model)}"

    @cached_property
    def _loader(self) -> ShardLoader:
        settings = evaluation_settings(self.pair.network)
        return ShardLoader(self._context.store, self.shards, settings, self._context.run)

    def compute(
        self, numbers: Iterable[int], on_progress: OnProgress
    ) -> Iterator[tuple[int, Callable[[Path], object]]]:
        """As in `ShardedPass`."""
        run = replace(self._context.run, on_progress=on_progress)
        for number, batches in self.pair.predict(self._loader, numbers, self.selection, run):
            yield number, partial(_write_shard, table=pa.Table.from_batches(batches))


def pass_of_job(context: StageContext) -> PredictionPass:
    """The pass of the job."""
    pair = Pair(context, context.spec.models[context.spec.model or ""])
    return PredictionPass(context, pair, apply_policy(context, pair.model, pair.score_name))


def _basis(context: StageContext, model: ModelSpec) -> str:
    """What the shards rest on: a model that is calibrated anew meanwhile, or gets another judge of patterns,
    begins anew."""
    judged = judged_model(context, model)
    judge = judged.pattern_judge if judged else None
    basis = "uncalibrated" if model.calibration is None else model.calibration.id
    return basis + (f"-{judge.artifact.rpartition('/')[2]}" if judge else "")


def _write_shard(folder: Path, table: pa.Table) -> None:
    write_part(folder / _PART, table)


class Pair:
    """The model and, if it has one, its ERM model."""

    def __init__(self, context: StageContext, model: ModelSpec) -> None:
        self._context, self.model, self._classes = context, model, model.classes
        partner = context.spec.models.get(model.erm_id or "")
        self._networks = {one.id: load(context, one)[0] for one in (model, partner) if one is not None}
        self.network, self._erm = self._networks[model.id], self._networks.get(model.erm_id or "")
        self.sets = prediction_sets(context, model)
        self.score_name: ScoreName = score_name(context, model)
        self._temperature = 1.0 if model.calibration is None else model.calibration.temperature
        self._params = context.job_params(PredictParams)
        self.schema = self._schema()

    def _schema(self) -> pa.Schema:
        candidate = pa.struct([("label", pa.string()), ("probability", pa.float32())])
        fields = [
            ("row", pa.int64()),
            ("path", pa.string()),
            ("sha256", pa.string()),
            ("label", pa.string()),
            ("predicted", pa.string()),
            ("decision", pa.string()),
            ("abstain_reason", pa.string()),
            ("reason", pa.string()),
            ("score", pa.float64()),
            ("candidates", pa.list_(candidate)),
            ("probabilities", pa.list_(pa.float32(), len(self._classes))),
            ("agreement", pa.bool_()),
            ("unlike_training", pa.bool_()),
            ("pattern", pa.string()),
        ]
        if self.sets is not None:
            fields.append(("labels", pa.list_(pa.string())))
        return pa.schema(fields + ([("saliency", pa.list_(pa.float32()))] if self._params.explain else []))

    def predict(
        self, loader: ShardLoader, numbers: Iterable[int], selection: Selection | None, run: Run
    ) -> Iterator[tuple[int, list[pa.RecordBatch]]]:
        """Yield the number of each of these shards, and the predictions of its batches."""
        with (
            evaluating(self.network),
            pattern_names(self._context, self.model, self._networks) as patterns,
            unlike_training(self._context, self.model, self.network) as unlike,
        ):
            compute = partial(self._predict, selection=selection, patterns=patterns, unlike=unlike)
            yield from map_shards(loader, numbers, run, compute)

    def _predict(
        self,
        batch: Batch,
        *,
        selection: Selection | None,
        patterns: Callable[[], list[str]] | None,
        unlike: Callable[[], Bools] | None,
    ) -> pa.RecordBatch:
        logits, maps = self._forward(batch)
        with torch.inference_mode():
            erm = None if self._erm is None else _array(self._erm(batch.images))
        scored = score(self.score_name, logits, erm, temperature=self._temperature)
        is_unlike = None if unlike is None else unlike()
        reasons = abstain_reasons(scored, selection, is_unlike)
        accepts = [reason is None for reason in reasons]
        store, rows = self._context.store, batch.rows.numpy()
        names = [self._classes[label] for label in scored.labels]
        probabilities = np.exp(scored.log_probabilities).astype(np.float32)
        columns: dict[str, Any] = {
            "row": rows,
            "path": store.paths.take(rows).to_pylist(),
            "sha256": [digest.hex() for digest in store.sha256.take(rows).to_pylist()],
            "label": [store.classes[label] if label >= 0 else None for label in store.labels[rows]],
            "predicted": [name if yes else None for name, yes in zip(names, accepts, strict=True)],
            "decision": [str(Decision.ANSWER if yes else Decision.ABSTAIN) for yes in accepts],
            "abstain_reason": [None if reason is None else str(reason) for reason in reasons],
            "score": [math.exp(v) if math.isfinite(v) else None for v in scored.scores.tolist()],
            "candidates": self._candidates(probabilities),
            "probabilities": probabilities,
            "agreement": None if erm is None else (erm.argmax(1) == scored.labels),
            "unlike_training": is_unlike,
            "pattern": None if patterns is None else patterns(),
            "labels": None if self.sets is None else self.sets.labels(scored.log_probabilities),
            "saliency": maps,
        }
        return record_batch(self.schema, columns)

    def _candidates(self, probabilities: NDArray[np.float32]) -> list[list[dict[str, Any]]]:
        """The likeliest classes of each row of (B, K), ties as the classes are; none if the row is NaN."""
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, : self._params.top_k]
        likely = np.take_along_axis(probabilities, order, axis=1)
        return [
            [
                {"label": self._classes[label], "probability": probability}
                for label, probability in zip(labels, shares, strict=True)
                if not math.isnan(probability)
            ]
            for labels, shares in zip(order.tolist(), likely.tolist(), strict=True)
        ]

    def _forward(self, batch: Batch) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Logits (B, K), and saliency maps (B, h·w) from the same forward pass if the job requests them."""
        if self._params.explain:
            explained = saliency(self.network, batch.images, method=self._params.method)
            return _array(explained.logits), _array(explained.maps.flatten(1))
        with torch.inference_mode():
            return _array(self.network(batch.images)), None


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.detach().float().cpu().numpy())


def _unreadable(store: Store, schema: pa.Schema) -> pa.Table:
    """A row for each file that should have been an image of the data set and is not."""
    files: dict[str, Rejection] = {}
    for rejection in read_rejected(store.directory):
        files.setdefault(rejection.path, rejection)  # a list may name it twice
    paths = pa.array(files, pa.string())
    rows = [
        {"path": path, "decision": Decision.UNREADABLE, "reason": f"{files[path].code}: {files[path].detail}"}
        for path in paths.filter(pc.invert(pc.is_in(paths, value_set=store.paths))).to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=schema)
