"""The images of review queues as a table (RFC 4180), and answers by such a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from app.auth.keyring import Caller
from app.http.validation import parse
from app.registry import promise
from app.review_queue import service as reviews
from core.errors import FieldError, InvalidInput
from core.queries import review_queue
from core.session import Database
from core.tables import ModelRow, ReviewItemRow
from masktune.contract.ids import is_id
from masktune.contract.review_queue import ReviewAnswer, ReviewImport

NEEDED = ("id", "outcome", "label")
MOST_FAULTS = 100
"""Faults that an answer names; more would help nobody."""


class Row(NamedTuple):
    """A row with an outcome, and the `line` of the table where it ends, counted from 1."""

    line: int
    id: str
    outcome: str
    label: str | None


def write(rows: Iterable[ReviewItemRow]) -> bytes:
    """Write the table. Labels are written as they are: nothing else could be read back."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow([*NEEDED, "model", "kind", "state", "predicted", "score", "sha256"])
    for review in map(reviews.describe, rows):
        predicted = (review.prediction.label, review.prediction.score)
        cells = (review.model, review.kind, review.state, *predicted, review.sha256)
        writer.writerow([review.id, review.outcome, review.label, *cells])
    return buffer.getvalue().encode()


def read(body: bytes) -> list[Row]:
    """Read the rows that have an outcome. Raises `InvalidInput` for what is no such table."""
    try:
        reader = csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        if missing := [name for name in NEEDED if name not in (reader.fieldnames or ())]:
            raise InvalidInput.field("/", "missing", f"the table has no column {', '.join(missing)}")
        return [
            Row(reader.line_num, row["id"] or "", row["outcome"], row["label"] or None)
            for row in reader
            if row["outcome"]
        ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput.field("/", "not-a-table", f"the body is no table in UTF-8: {error}") from error


def take_all(database: Database, rows: Sequence[Row], caller: Caller) -> ReviewImport:
    """Take the answers of all rows in one transaction, or of none. Raises `InvalidInput`, which names the
    line of every fault: a review that is not there, a label that the model does not have, another answer."""
    answered, faults = 0, list[FieldError]()
    with database.begin() as session:
        stored = review_queue.by_id(session, {row.id for row in rows if is_id(row.id, "rev")})
        models = {one.model_id: session.get_one(ModelRow, one.model_id) for one in stored.values()}
        for row in rows:
            try:
                answered += _take(row, stored.get(row.id), models, caller)
            except InvalidInput as error:
                faults += error.errors
        if faults:
            raise InvalidInput(
                "no row was taken, because some are at fault; the first is in line "
                f"{faults[0].pointer.split('/')[1]}: {faults[0].detail}",
                errors=tuple(faults[:MOST_FAULTS]),
            )
        session.flush()
        for model in models.values():
            promise.judge(session, model)
    return ReviewImport(answered=answered, unchanged=len(rows) - answered)


def _take(row: Row, review: ReviewItemRow | None, models: Mapping[str, ModelRow], caller: Caller) -> bool:
    """Whether the row has an answer that was not there. Raises `InvalidInput`."""
    place = f"/{row.line}"
    if review is None:
        raise InvalidInput.field(
            f"{place}/id", "not-found", f"there is no review {row.id!r}: it, or its model, was deleted"
        )
    answer = parse(ReviewAnswer, {"outcome": row.outcome, "label": row.label}, prefix=place)
    reviews.check(answer, models[review.model_id].classes, (place + "/{}").format)
    if (review.outcome, review.true_label) == (answer.outcome, answer.label):
        return False
    if reason := reviews.unanswerable(review):
        raise InvalidInput.field(f"{place}/outcome", "not-answerable", reason)
    reviews.write_answer(review, answer, caller)
    return True
