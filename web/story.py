"""A job's events as a page tells them: the stages, the curves, the log. No page here, and no request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from client import Event
from web.charts import Chart, Line

LOG_LINES = 400
"""That are kept; older ones are in the job's events."""
TRAINED = ("erm", "finetune", "control")
"""The stages whose epochs are drawn, one after the other."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch ended with; None where it was not measured."""

    stage: str
    number: int
    loss: float | None
    accuracy: float | None
    val_accuracy: float | None


@dataclass
class Story:
    """What has been told of a job so far. `add` takes its events in order."""

    epochs: list[Epoch] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    finished: dict[str, float] = field(default_factory=dict)
    """Stage → seconds."""
    progress: Mapping[str, Any] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)

    def add(self, event: Event) -> None:
        match event.type:
            case "progress":
                self._progress(event.data)
            case "stage":
                self._stage(event)
            case "log":
                self._say(event, str(event.data.get("message", "")))
            case "state":
                self._say(event, self._state(event.data))
            case _:
                pass

    @property
    def charts(self) -> list[Chart]:
        """Loss and accuracy over the epochs of all trainings."""
        if not self.epochs:
            return []
        numbered = list(enumerate(self.epochs, start=1))
        parts = [n + 0.5 for (n, a), (_, b) in pairwise(numbered) if a.stage != b.stage]
        loss = Line("training loss", [(n, e.loss) for n, e in numbered])
        train = Line("training accuracy", [(n, e.accuracy) for n, e in numbered])
        val = Line("validation accuracy", [(n, e.val_accuracy) for n, e in numbered])
        last = self.epochs[-1]
        return [
            Chart(
                f"Training loss after {len(self.epochs)} epochs: {_figure(last.loss)}",
                "epochs, one training after the other",
                "loss",
                [loss],
                parts=parts,
                whole_x=True,
            ),
            Chart(
                f"Accuracy after {len(self.epochs)} epochs: validation {_figure(last.val_accuracy)}",
                "epochs, one training after the other",
                "accuracy",
                [val, train],
                parts=parts,
                percent_y=True,
                whole_x=True,
                y_top=1.0,
            ),
        ]

    def _progress(self, data: Mapping[str, Any]) -> None:
        self.progress = data
        metrics, stage = data.get("metrics") or {}, str(data.get("stage"))
        if stage in TRAINED and metrics.get("loss") is not None:
            epoch = Epoch(
                stage,
                int(data.get("epoch") or 0),
                metrics.get("loss"),
                metrics.get("accuracy"),
                metrics.get("val_accuracy"),
            )
            # A job that was interrupted trains its last epoch again: the later figures count.
            kept = [e for e in self.epochs if not (e.stage == stage and e.number >= epoch.number)]
            self.epochs = [*kept, epoch]

    def _stage(self, event: Event) -> None:
        stage, status = str(event.data.get("stage")), event.data.get("status")
        if status == "finished":
            self.finished[stage] = float(event.data.get("seconds") or 0.0)
            self._say(event, f"{stage} is done after {self.finished[stage]:.1f} s")
        else:
            self._say(event, f"{stage} begins")

    def _state(self, data: Mapping[str, Any]) -> str:
        why = data.get("reason") or (data.get("error") or {}).get("detail")
        return f"{data.get('state')}, attempt {data.get('attempt', 0)}" + (f": {why}" if why else "")

    def _say(self, event: Event, line: str) -> None:
        at = event.at.strftime("%H:%M:%S") if event.at is not None else ""
        self.log.append(f"{at}  {line}")
        del self.log[:-LOG_LINES]


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}"
