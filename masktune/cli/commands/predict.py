"""`masktune predict …`"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from masktune.cli import completion
from masktune.cli.folder_predictions import is_many_images, predict_folder
from masktune.cli.options import (
    Coverage,
    MaxClassRisk,
    MaxMissed,
    MaxRisk,
    MinScore,
    OnUncertified,
    RiskConfidence,
    Score,
)
from masktune.cli.output import REFUSED, USAGE, fail, figure, new_table
from masktune.cli.session import Session, with_session
from masktune.cli.tables.models import promises, warning
from masktune.contract.report.text import (
    drift_warning,
    promise_statement,
    set_text,
    sets_statement,
    uncertified,
)
from masktune.contract.report.text.formats import calibration_samples
from masktune.contract.report.text.names import ABSTAIN_NAMES, SELECTION_NAMES

if TYPE_CHECKING:
    from rich.console import Group

    from masktune import Answer, Client, Prediction

_MOST = 64
"""Images per request: the service's default limit."""
_TABLE = "The table of a folder, an archive or an address"


Images = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IMAGE...|FOLDER|ARCHIVE|ADDRESS",
        help="Image files, answered at once; or a folder, an archive or an address (s3://…) of images, which "
        "become a data set without labels and a job.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Id, alias or unique name of the model. Default: the newest that a job tuned.",
        show_default=False,
        autocompletion=completion.models,
    ),
]
Dataset = Annotated[
    str | None, typer.Option(help="Data set of a stored sample.", autocompletion=completion.datasets)
]
SetCoverage = Annotated[
    float | None,
    typer.Option(help="Show the classes that an input may be: right for this share of each class."),
]
Subject = Annotated[
    str | None,
    typer.Option(
        help="What all files show (a patient, an animal …): for drift, one input.", show_default=False
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        dir_okay=False,
        help="File to write. Default: JOB.csv or JOB.parquet.",
        rich_help_panel=_TABLE,
    ),
]
Format = Annotated[
    Literal["csv", "parquet"] | None,
    typer.Option(help="Default: as the file is called, else csv.", rich_help_panel=_TABLE),
]
LeastSureFirst = Annotated[
    bool,
    typer.Option("--least-sure-first", help="Begin with the lowest score.", rich_help_panel=_TABLE),
]
Overlay = Annotated[
    Path | None,
    typer.Option(
        dir_okay=False, help="Write where the model looks as a PNG; for several images o-1.png, o-2.png …"
    ),
]


@with_session
def predict(
    session: Session,
    images: Images = None,
    model: Model = None,
    dataset: Dataset = None,
    sample: Annotated[int | None, typer.Option(help="Number of the stored sample.")] = None,
    coverage: Coverage = None,
    max_risk: MaxRisk = None,
    max_class_risk: MaxClassRisk = None,
    max_missed: MaxMissed = None,
    risk_confidence: RiskConfidence = None,
    min_score: MinScore = None,
    on_uncertified: OnUncertified = None,
    set_coverage: SetCoverage = None,
    subject: Subject = None,
    score: Score = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="How many candidates to show.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Add the saliency map (with --json).")] = False,
    overlay: Overlay = None,
    output: Output = None,
    format: Format = None,
    least_sure_first: LeastSureFirst = False,
) -> None:
    """Predict images, a folder of them, or one stored sample. With a policy, the model may abstain.

    Abstaining counts as an answer, and so does a file that cannot be read: the exit code is 0.
    """
    stored = None if dataset is None or sample is None else _Stored(dataset, sample)
    if bool(images) == (stored is not None):
        fail("give image files, a folder, or --dataset and --sample", USAGE)
    many = [what for what in images or [] if is_many_images(what)]
    if absent := [what for what in images or [] if "://" not in what and not Path(what).exists()]:
        fail(f"{absent[0]} does not exist", USAGE)
    if many and (images != many[:1] or subject is not None or overlay is not None):
        fail("give one folder, archive or address, without image files, --subject or --overlay", USAGE)
    if not many and (output is not None or format is not None or least_sure_first):
        fail("--output, --format and --least-sure-first are for a folder, an archive or an address", USAGE)
    if subject is not None and stored:
        fail("--subject is for image files: predictions for stored samples do not count for drift", USAGE)
    options: dict[str, Any] = {
        "coverage": coverage,
        "max_risk": max_risk,
        "max_class_risk": max_class_risk,
        "max_missed": max_missed,
        "risk_confidence": risk_confidence,
        "min_score": min_score,
        "on_uncertified": on_uncertified,
        "set_coverage": set_coverage,
        "score": score,
        "top_k": top_k,
        "explain": explain or None,
        "subject": subject,
    }
    options = {name: option for name, option in options.items() if option is not None}
    model = model or _newest(session)
    if many:
        order = {"order": "least_sure"} if least_sure_first else {}
        predict_folder(session, many[0], model, options | order, output=output, format=format)
    else:
        paths = [Path(image) for image in images or []]
        _predict_now(session, model, stored or paths, options, overlay)


def _predict_now(
    session: Session,
    model: str,
    images: _Stored | Sequence[Path],
    options: dict[str, Any],
    overlay: Path | None,
) -> None:
    """Predict them in requests, and show the answers."""
    client = session.client
    if isinstance(images, _Stored):
        names = [f"sample {images.sample}"]
        answer = client.predict.sample(model=model, **images._asdict(), **options)
    else:
        names = [path.name for path in images]
        answer = _in_pieces(client, model, images, options)
    session.show(answer, lambda answer: table(answer, names))
    if overlay is not None:
        _draw(session, answer.model, images, overlay)


class _Stored(NamedTuple):
    """A sample of a data set."""

    dataset: str
    sample: int


def _draw(session: Session, model: str, images: _Stored | Sequence[Path], overlay: Path) -> None:
    """Write where the model looks: one file per image; several are numbered in order."""
    saliency = session.client.saliency
    if isinstance(images, _Stored):
        pictures = [saliency.sample_picture(model=model, **images._asdict())]
    else:
        pictures = [saliency.image_picture(model, image) for image in images]
    numbered = [overlay.with_stem(f"{overlay.stem}-{number}") for number in range(1, len(pictures) + 1)]
    for target, picture in zip(numbered if len(pictures) > 1 else [overlay], pictures, strict=True):
        target.write_bytes(picture)
        session.say(f"where the model looks: {target}")


def _newest(session: Session) -> str:
    """The newest model that a job tuned, else the newest of all. Prints its id: nobody chose it."""
    listed = session.client.models.list
    tuned = [next(listed(arm=arm, limit=1), None) for arm in ("masktune", "retrained")]
    models = [model for model in tuned if model is not None] or list(islice(listed(limit=1), 1))
    if not models:
        fail("there is no model yet; train one with `masktune jobs start masktune --dataset ds_…`", REFUSED)
    newest = max(models, key=lambda model: model.created_at)
    session.say(f"using the newest model, {newest.id}; choose another with --model")
    return newest.id


def _in_pieces(client: Client, model: str, images: Sequence[Path], options: dict[str, Any]) -> Answer:
    """Predict any number of images in requests of at most `_MOST`, and merge the answers."""
    answer = client.predict.images(model, list(images[:_MOST]), **options)
    predictions, selection = list(answer.predictions), answer.selection
    for first in range(_MOST, len(images), _MOST):
        # By id: if an alias moves in the meantime, the answers of two models must not be mixed.
        piece = client.predict.images(answer.model, list(images[first : first + _MOST]), **options)
        now = {name: getattr(piece.selection, name) for name in ("drift", "promise")}
        selection = selection.model_copy(update=now)
        if piece.selection != selection:
            fail(f"model {answer.model} was recalibrated in the meantime; try again", 1)
        predictions += piece.predictions
    return answer.model_copy(update={"predictions": predictions, "selection": selection})


def table(answer: Answer, names: list[str]) -> Group:
    """One row per image, followed by the basis of the decisions; before them, warnings of drift and of a
    broken promise."""
    from rich.console import Group

    selection = answer.selection
    sets, promised, promise = selection.sets, selection.promises, selection.promise
    listing = new_table("image", "answer", "score", "candidates", *(() if sets is None else ("may be",)))
    for name, one in zip(names, answer.predictions, strict=True):
        likely = ", ".join(f"{c.label} {c.probability:.2f}" for c in one.candidates)
        may_be = [] if one.labels is None else [set_text(one.labels)]
        listing.add_row(name, decision(one), figure(one.score), likely, *may_be)
    broken = promise_statement(promise) if promise and promise.status == "broken" else ""
    return Group(
        *map(warning, filter(None, (drift_warning(selection.drift), broken))),
        listing,
        *([promises(promised)] if promised else []),
        *filter(None, (basis(answer), "" if sets is None else sets_statement(sets))),
    )


def decision(prediction: Prediction) -> str:
    """The label, or that and why the model abstains; a label for an unlike image says so."""
    if prediction.abstain_reason is None:
        label, likeness = prediction.label or "–", prediction.unlike_training
        return f"{label} ({ABSTAIN_NAMES['unlike_training']})" if likeness and likeness.unlike else label
    return f"abstains ({ABSTAIN_NAMES[prediction.abstain_reason]})"


def basis(answer: Answer) -> str:
    """The basis of the decisions in one sentence."""
    selection, calibration = answer.selection, answer.selection.calibration
    if selection.status == "none":
        return "no policy: every input is answered"
    threshold = (
        "a threshold for each class" if selection.promises else f"threshold {figure(selection.threshold)}"
    )
    sentence = f"{SELECTION_NAMES[selection.status]}, {threshold}"
    if calibration is None:
        return sentence
    if selection.status == "not_certifiable":
        return f"{SELECTION_NAMES[selection.status]}: {uncertified(selection)}"
    sentence += (
        f"; on {calibration_samples(calibration.n, calibration.n_subjects)}: "
        f"{calibration.n_answered} answered, {calibration.n_errors} of them wrong"
    )
    if (
        calibration.risk_upper in (None, 1)
        or calibration.risk_confidence is None
        or not calibration.n_answered
    ):
        return sentence
    confidence = f"{100 * calibration.risk_confidence:g} %"
    sentence += f", risk at most {figure(calibration.risk_upper)} with {confidence} confidence"
    if selection.status == "certified":
        is_broken = selection.promise is not None and selection.promise.status == "broken"
        return f"{sentence}; but the model's promise is broken: see above" if is_broken else sentence
    return f"{sentence}, for this threshold alone if chosen before looking"
