"""Review queues: which images are kept, and what people say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from masktune.client.calls import call, create, fetch, get, pages, parse, segment
from masktune.client.resource import D, Listing, Operation, Resource
from masktune.client.transfers import download
from masktune.client.wire import EmittingFlow, Flow, Request
from masktune.contract.datasets import Dataset
from masktune.contract.serving.review_queue import ReviewItem, ReviewPolicy


def get_policy(model: str) -> Flow[ReviewPolicy]:
    """Get which images of a model are put into its review queue."""
    return call(get(f"/models/{segment(model)}/review-policy"), ReviewPolicy)


def set_policy(model: str, *, enabled: bool, **fields: Any) -> Flow[ReviewPolicy]:
    """Set it: `set_policy("mdl_…", enabled=True, max_risk=0.05)`. The fields are those of `PUT
    /models/{model}/review-policy`. Needs the scope admin."""
    path, json = f"/models/{segment(model)}/review-policy", {"enabled": enabled, **fields}
    return call(Request(method="PUT", path=path, json=json, repeatable=True), ReviewPolicy)


def list_reviews(
    *, model: str | None = None, kind: str | None = None, state: str | None = None, limit: int | None = None
) -> EmittingFlow[ReviewItem]:
    """Iterate over the images of review queues, newest first. `limit` is the page size."""
    return pages(get("/reviews", model=model, kind=kind, state=state, limit=limit), ReviewItem)


def claim_next(*, model: str | None = None, kind: str | None = None) -> Flow[ReviewItem | None]:
    """Be handed the next image, which nobody else is for ten minutes; None if none waits."""
    query = {"model": model, "kind": kind}
    response = yield from fetch(Request(method="POST", path="/reviews/next", query=query))
    return None if response.status_code == 204 else parse(response, ReviewItem)


def answer(review_id: str, outcome: str, label: str | None = None) -> Flow[ReviewItem]:
    """Say what an image shows: `label` with a class, `none_of_the_classes`, or `skip`. A 409 problem if
    it was answered already."""
    path, json = f"/reviews/{segment(review_id)}/answer", {"outcome": outcome, "label": label}
    return call(Request(method="POST", path=path, json=json), ReviewItem)


def undo(review_id: str) -> Flow[ReviewItem]:
    """Take back the last answer of yours. A 409 problem for any other."""
    return call(Request(method="DELETE", path=f"/reviews/{segment(review_id)}/answer"), ReviewItem)


def get_image(review_id: str) -> Flow[bytes]:
    """Get the image as it was sent."""
    return (yield from fetch(get(f"/reviews/{segment(review_id)}/image"))).content


def delete_review(review_id: str) -> Flow[None]:
    """Delete an image. Of the audit sample, what was said of it stays."""
    yield from fetch(Request(method="DELETE", path=f"/reviews/{segment(review_id)}", repeatable=True))


def delete_all(model: str) -> Flow[None]:
    """Delete the whole review queue of a model, with all answers."""
    yield from fetch(Request(method="DELETE", path=f"/models/{segment(model)}/reviews", repeatable=True))


def export(target: Path | str, *, model: str | None = None, state: str | None = None) -> Flow[Path]:
    """Write a CSV table of the images to `target`, which appears complete or not at all."""
    return download(get("/reviews.csv", model=model, state=state), Path(target))


def make_dataset(model: str, name: str, *, idempotency_key: str | None = None) -> Flow[Dataset]:
    """Make a data set of the model's and its abstained images that have a label, which join `train`."""
    path = f"/models/{segment(model)}/reviews/dataset"
    return call(create(path, json={"name": name}, key=idempotency_key), Dataset)


class Reviews(Resource[D]):
    """`client.reviews`."""

    policy = Operation(get_policy)
    set_policy = Operation(set_policy)
    list = Listing(list_reviews)
    next = Operation(claim_next)
    answer = Operation(answer)
    undo = Operation(undo)
    image = Operation(get_image)
    delete = Operation(delete_review)
    delete_all = Operation(delete_all)
    export = Operation(export)
    make_dataset = Operation(make_dataset)
