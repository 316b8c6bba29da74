"""Shell completion: fixed words at once, ids and names from the service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import typer

from masktune.contract.hyperparameters import Hyperparameters, RetrainConfig
from masktune.contract.parameters import dotted

if TYPE_CHECKING:
    from masktune import Client

V = TypeVar("V")
Offer = tuple[str, str]
"""(word, description); only some shells show the description."""

MOST = 50
"""Entries offered of each kind, newest first; nobody picks from a longer list."""
PATIENCE = 2.0  # seconds; pressing Tab must not wait for an unreachable service

KINDS = ("masktune", "erm", "mask", "finetune", "retrain_head", "evaluate", "predict")
FORMATS = ("auto", "image_folder", "csv", "waterbirds", "celeba", "backgrounds_challenge")
SOURCES = ("digits", "biased-digits", "mnist", "biased-mnist", "cifar10", "svhn")
STATES = ("queued", "running", "cancelling", "succeeded", "failed", "cancelled")
SPLITS = ("train", "val", "calibration", "test", "no_fg", "only_bg_b", "only_bg_t")
ARMS = ("erm", "masktune", "retrained", "masktune_control", "retrained_control", "imported")
PLACES = ("packaged", "cached", "hub", "none")
SCORES = ("max_softmax", "product", "minimum")


def in_order(names: Mapping[str, V], order: Sequence[str]) -> Iterable[tuple[str, V]]:
    """Entries in the given order, then all others: PostgreSQL's jsonb sorts object keys by length."""
    known = {name: place for place, name in enumerate(order)}
    return sorted(names.items(), key=lambda one: known.get(one[0], len(known)))


def words(*offers_of: str) -> Callable[[str], list[str]]:
    """Complete from a fixed list of words, without asking the service."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in offers_of if word.startswith(incomplete)]

    return complete


def fields(incomplete: str) -> list[Offer]:
    """The hyperparameters of all kinds of job, for `--set NAME=`, described by what they mean or accept."""
    known = dict(dotted(RetrainConfig)) | dict(dotted(Hyperparameters))
    return [
        (f"{name}=", parameter.doc or str(parameter.bounds))
        for name, parameter in known.items()
        if name.startswith(incomplete)
    ]


def datasets(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Ids of data sets, described by their names."""
    return _from_service(
        ctx, incomplete, lambda client: ((d.id, d.name) for d in client.datasets.list(limit=MOST))
    )


def jobs(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Ids of jobs, described by kind and state."""
    return _from_service(
        ctx, incomplete, lambda client: ((j.id, f"{j.kind}, {j.state}") for j in client.jobs.list(limit=MOST))
    )


def models(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Aliases first, then ids of models."""

    def named(client: Client) -> Iterable[Offer]:
        yield from alias_offers(client)
        yield from ((m.id, f"{m.arm}, {m.backbone}") for m in client.models.list(limit=MOST))

    return _from_service(ctx, incomplete, named)


def aliases(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Aliases, described by the models they point at."""
    return _from_service(ctx, incomplete, alias_offers)


def presets(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Names of presets."""
    return _from_service(ctx, incomplete, lambda client: ((p.name, p.title) for p in client.jobs.presets()))


def keys(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Ids of keys that have not been revoked."""
    return _from_service(
        ctx,
        incomplete,
        lambda client: ((k.id, k.name) for k in client.keys.list(limit=MOST) if k.revoked_at is None),
    )


def alias_offers(client: Client) -> Iterable[Offer]:
    return ((a.name, a.model) for a in client.models.aliases())


def _from_service(
    ctx: typer.Context, incomplete: str, offers_of: Callable[[Client], Iterable[Offer]]
) -> list[Offer]:
    """Completions from the service, or none if the request fails: pressing Tab never shows an error."""
    from rich.markup import escape

    from masktune import DEFAULT_URL, Client, ClientError, Retry

    url, key, ca_file = ctx.params.get("url") or DEFAULT_URL, ctx.params.get("key"), ctx.params.get("ca_file")
    try:
        with Client(url, key=key, ca_file=ca_file, timeout=PATIENCE, retry=Retry(attempts=1)) as client:
            offers = islice(offers_of(client), MOST)
            # Typer interprets rich markup in descriptions, and names may look like markup.
            return [(word, escape(beside)) for word, beside in offers if word.startswith(incomplete)]
    except ClientError:
        return []
