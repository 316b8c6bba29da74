"""What is said of drift, wherever a model or an answer of it is shown."""

from __future__ import annotations

from collections.abc import Sequence

from masktune.contract.models import DriftState
from masktune.contract.report.text.formats import moment
from masktune.contract.serving.prediction_table import JobDrift
from masktune.contract.serving.reject_option import DriftLook

DRIFT_NAMES = {
    "drifted": "inputs drifted",
    "no_sign_of_drift": "no sign of drift",
    "too_few": "too few inputs",
}
"""The status in a few words; `drift_name` adds whether drift was acknowledged."""
_DOUBT = "its certificates and coverages should no longer be trusted."
_NO_PROOF = "These tests see only scores and disagreement: that does not prove that nothing has changed."
_STEP = "Look at the inputs, label some, and calibrate on them; or acknowledge the drift."
_UNNAMED = (
    "Images of one patient or burst that no request names as its subject make false alarms likelier; so do "
    "restarts and replicas, where a subject counts once more."
)

_TESTED = {"disagreement": "how often the two models disagree"}
"""What a test compares; all others compare how sure the model is."""


def drift_name(state: DriftState | None) -> str:
    """A few words for a list; a dash for a model without a calibration."""
    if state is None:
        return "–"
    acknowledged = ", acknowledged" if state.status != "drifted" and state.acknowledged_at else ""
    return DRIFT_NAMES[state.status] + acknowledged


def drift_warning(state: DriftState | None) -> str:
    """What to say before an answer of a model whose drift was found; empty for any other."""
    if state is None or state.status != "drifted":
        return ""
    return f"The inputs of this model differ from its calibration split{_found(state)}: {_DOUBT} {_STEP}"


def drift_statement(
    state: DriftState, look: DriftLook | None, tests: Sequence[str], *, open_inputs: int, window_inputs: int
) -> str:
    """The result of the tests. `tests`: names of those that found drift."""
    if state.status == "drifted":
        where = "" if look is None else f" in {_differences(tests)}, over {look.inputs:,} inputs in a row"
        return (
            f"The inputs of this model differ from its calibration split{where}{_found(state)}: {_DOUBT} "
            f"{_STEP} Until then this stays, whatever inputs follow. {_UNNAMED}"
        )
    if state.status == "no_sign_of_drift" and look is not None:
        return (
            f"There is no sign that inputs differ from the calibration split; {look.inputs:,} were compared "
            f"last. {_NO_PROOF}{_acknowledged(state)}"
        )
    return (
        f"Too few inputs to tell: the next window has {open_inputs:,} of the {window_inputs:,} independent "
        f"inputs that complete it.{_acknowledged(state)}"
    )


def job_drift_statement(drift: JobDrift) -> str:
    """The result of the one look at all images of a job."""
    differences = _differences([test.name for test in drift.tests if test.drifted])
    outcomes = {
        "drifted": f"they differ in {differences}. Do not trust certificates and coverages for them: look at "
        "the images, label some, and calibrate on them.",
        "no_sign_of_drift": f"there is no sign that they differ. {_NO_PROOF}",
        "too_few": "they are too few to tell whether they differ.",
    }
    images = f"{drift.inputs:,} independent images of this job"
    return f"{images} were compared with the calibration split: {outcomes[drift.status]}"


def _differences(tests: Sequence[str]) -> str:
    return " and ".join(dict.fromkeys(_TESTED.get(test, "how sure the model is") for test in tests))


def _found(state: DriftState) -> str:
    return "" if state.found_at is None else f", found on {moment(state.found_at)}"


def _acknowledged(state: DriftState) -> str:
    if state.found_at is None or state.acknowledged_at is None:
        return ""
    by = "" if state.acknowledged_by is None else f" by {state.acknowledged_by}"
    return (
        f" Drift that was found on {moment(state.found_at)} was acknowledged on "
        f"{moment(state.acknowledged_at)}{by}; the windows began anew then."
    )
