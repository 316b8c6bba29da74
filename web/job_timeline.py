"""A job's events prepared for a page: stages, curves and log. Draws nothing and makes no requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from masktune import Event, LogEvent, ProgressEvent, StageEvent, StateEvent
from masktune.contract.jobs import ProgressData, StateData
from masktune.contract.report.charts import Chart, Line
from masktune.contract.vocabulary import STAGE_NAMES

LOG_LINES = 400
"""Most lines kept; older ones are in the job's events."""
TRAINING_STAGES = ("erm", "finetune", "control")
"""The stages whose epochs are drawn, in this order."""


@dataclass(frozen=True)
class Epoch:
    """The figures at the end of one epoch; None if not measured."""

    stage: str
    number: int
    loss: float | None
    accuracy: float | None
    val_accuracy: float | None


@dataclass
class JobTimeline:
    """A job's events so far. `add` accepts them in any order and sorts by their ids."""

    finished: dict[str, float] = field(default_factory=dict)
    """Seconds by finished stage."""
    progress: ProgressData = field(default_factory=ProgressData)
    """The data of the newest progress event."""
    _newest_progress: int = 0
    _epochs: dict[int, Epoch] = field(default_factory=dict)
    _lines: dict[int, tuple[datetime, str]] = field(default_factory=dict)
    """`_epochs` and `_lines` are keyed by event id."""

    def add(self, event: Event) -> None:
        match event:
            case ProgressEvent():
                self._progress(event)
            case StageEvent():
                self._stage(event)
            case LogEvent():
                self._log(event, event.data.message)
            case StateEvent():
                self._log(event, self._state(event.data))

    @property
    def log(self) -> list[tuple[datetime, str]]:
        """The newest lines in chronological order, each with its time."""
        return [self._lines[number] for number in sorted(self._lines)[-LOG_LINES:]]

    @property
    def epochs(self) -> list[Epoch]:
        """Epochs in order. An interrupted job repeats its last epoch; the later figures count."""
        epochs: list[Epoch] = []
        for number in sorted(self._epochs):
            epoch = self._epochs[number]
            while epochs and epochs[-1].stage == epoch.stage and epochs[-1].number >= epoch.number:
                epochs.pop()
            epochs.append(epoch)
        return epochs

    @property
    def charts(self) -> list[Chart]:
        """Loss and accuracy over the epochs of all training stages."""
        epochs = self.epochs
        if not epochs:
            return []
        numbered, parts = _side_by_side(epochs)
        loss = Line("training loss", [(n, e.loss) for n, e in numbered])
        train = Line("training accuracy", [(n, e.accuracy) for n, e in numbered])
        val = Line("validation accuracy", [(n, e.val_accuracy) for n, e in numbered])
        total, last = numbered[-1]
        # In the order of the chart, in which a dashed line separates consecutive trainings.
        trainings = " ┊ ".join(STAGE_NAMES[stage] for stage in dict.fromkeys(e.stage for e in epochs))
        return [
            Chart(
                f"Training loss after {total} epochs: {_figure(last.loss)}",
                f"epochs: {trainings}",
                "loss",
                [loss],
                parts=parts,
                whole_x=True,
            ),
            Chart(
                f"Accuracy after {total} epochs: validation {_figure(last.val_accuracy)}",
                f"epochs: {trainings}",
                "accuracy",
                [val, train],
                parts=parts,
                percent_y=True,
                whole_x=True,
                y_top=1.0,
            ),
        ]

    def _progress(self, event: ProgressEvent) -> None:
        progress = event.data
        if event.id >= self._newest_progress:
            self._newest_progress, self.progress = event.id, progress
        metrics, stage = progress.metrics, str(progress.stage)
        if stage in TRAINING_STAGES and metrics.loss is not None:
            self._epochs[event.id] = Epoch(
                stage, progress.epoch or 0, metrics.loss, metrics.accuracy, metrics.val_accuracy
            )

    def _stage(self, event: StageEvent) -> None:
        stage = str(event.data.stage)
        if event.data.status == "finished":
            self.finished[stage] = event.data.seconds or 0.0
            self._log(event, f"{STAGE_NAMES[stage]} finished after {self.finished[stage]:.1f} s")
        else:
            self._log(event, f"{STAGE_NAMES[stage]} started")

    def _state(self, state: StateData) -> str:
        why = state.reason or (state.error and state.error.detail)
        attempt = f", attempt {state.attempt}" if state.attempt > 1 else ""
        return f"{state.state}{attempt}" + (f": {why}" if why else "")

    def _log(self, event: Event, line: str) -> None:
        self._lines[event.id] = event.at, line
        if len(self._lines) > 2 * LOG_LINES:
            for number in sorted(self._lines)[:-LOG_LINES]:
                del self._lines[number]


def _side_by_side(epochs: Sequence[Epoch]) -> tuple[list[tuple[int, Epoch]], list[float]]:
    """The epochs numbered consecutively across all trainings (some may be missing), and the boundaries."""
    numbered: list[tuple[int, Epoch]] = []
    parts: list[float] = []
    before = 0
    for epoch in epochs:
        if numbered and numbered[-1][1].stage != epoch.stage:
            before = numbered[-1][0]
            parts.append(before + 0.5)
        numbered.append((before + epoch.number, epoch))
    return numbered, parts


def _figure(metric: float | None) -> str:
    return "not measured" if metric is None else f"{metric:.3g}"
