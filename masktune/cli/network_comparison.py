"""Which network a data set is mitigated with: the default, whose backbone is frozen, or a small one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from masktune.cli.output import USAGE, fail, figure, new_table
from masktune.cli.progress import follow_to_end, require_success

if TYPE_CHECKING:
    from rich.table import Table

    from masktune.cli.session import Session
    from masktune.contract.report.accuracy import ArmMetrics

_CHOSEN_FIELDS = frozenset({"preset", "backbone", "pretrained", "freeze_backbone", "image_size"})


class Candidate(NamedTuple):
    """A network after its plain training: `seconds` of its whole job, and its figures on the validation
    split."""

    name: str
    seconds: float
    metrics: ArmMetrics

    def is_better_than(self, other: Candidate) -> bool:
        """Whether the 95 % intervals of the balanced accuracies are apart. They are of two jobs, so not
        paired: a small gain does not count."""
        low, high = self.metrics.balanced_accuracy_low, other.metrics.balanced_accuracy_high
        return low is not None and high is not None and low > high


def check_fields(fields: Mapping[str, Any]) -> None:
    """Exit with 2 if the fields of the job name a network already."""
    if named := sorted(_CHOSEN_FIELDS & fields.keys()):
        fail(f"--compare-networks chooses the network: leave out --set {named[0]}", USAGE)


def choose_network(session: Session, dataset: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Train both on the data set, and return what to add to the `fields` of its mitigation: those of the
    small network if that is better, else nothing."""
    from masktune.contract.report.text.formats import duration
    from masktune.contract.small_network import SMALL_NETWORK, SMALL_NETWORK_TRIAL

    params = session.client.jobs.plan("erm", dataset=dataset).params
    if not params["freeze_backbone"]:
        session.say(f"the default for these images trains all layers of {params['backbone']}: no comparison")
        return {}
    common = {name: fields[name] for name in ("seed", "priority") if name in fields}
    frozen = _train(session, f"{params['backbone']}, frozen", dataset=dataset, **common)
    small = _train(session, "a small network", dataset=dataset, **common, **SMALL_NETWORK_TRIAL)
    better = small.is_better_than(frozen)
    chosen = SMALL_NETWORK if better else {}
    estimate = session.client.jobs.plan("mitigate", dataset=dataset, **fields, **chosen).estimate
    why = (
        "the interval of the small network lies above the other: all its layers are trained, on all images"
        if better
        else "the interval of the small network does not lie above the other: the frozen network stays"
    )
    if not session.json:
        session.console.print(_table(frozen, small))
    assert estimate is not None  # the images are imported
    session.say(f"{why}, which takes about {duration(estimate.seconds)} ({estimate.source})")
    return chosen


def _train(session: Session, name: str, **fields: Any) -> Candidate:
    """Wait for a plain training, which must succeed."""
    from masktune.contract.vocabulary import Arm

    job = session.client.jobs.start("erm", **fields)
    session.say(f"job {job.id} trains {name}")
    job = follow_to_end(session, job.id)
    require_success(job)
    assert job.started_at is not None  # it has ended
    assert job.ended_at is not None
    metrics = session.client.jobs.report(job.id).metrics["val"][Arm.ERM]
    return Candidate(name, (job.ended_at - job.started_at).total_seconds(), metrics)


def _table(*candidates: Candidate) -> Table:
    from masktune.contract.report.text.formats import duration

    table = new_table("network", "balanced accuracy on val", "95 % interval", "images of val", "time")
    for name, seconds, metrics in candidates:
        estimate, low, high = metrics.statistic("balanced_accuracy")
        interval = f"{figure(low)}–{figure(high)}"
        table.add_row(name, figure(estimate), interval, str(metrics.n), duration(seconds))
    return table
