"""Shell completion: fixed words at once, ids and names from the service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import TypeVar, get_args

import typer

import masktune
from masktune.contract.hyperparameters import DatasetFormat, MitigateConfig, RetrainConfig, ScoreName
from masktune.contract.hyperparameters.parameters import dotted
from masktune.contract.vocabulary import Arm, JobKind, JobState, Split, WeightsPlace

V = TypeVar("V")
Offer = tuple[str, str]
"""(word, description); only some shells show the description."""

MOST = 50
"""Entries offered of each kind, newest first; nobody picks from a longer list."""
PATIENCE = 2.0  # seconds; pressing Tab must not wait for an unreachable service

# The whole methods first. An import begins with its data set.
KINDS = tuple(
    kind.value
    for kind in sorted(JobKind, key=lambda kind: kind not in (JobKind.MITIGATE, JobKind.MASKTUNE))
    if kind is not JobKind.IMPORT
)
FORMATS = tuple(format.value for format in DatasetFormat)
STATES = tuple(state.value for state in JobState)
SPLITS: tuple[str, ...] = get_args(Split)
ARMS = tuple(arm.value for arm in Arm if arm is not Arm.BASELINE)  # of which no model is
PLACES = tuple(place.value for place in WeightsPlace)
SCORES: tuple[str, ...] = get_args(ScoreName)


def in_order(names: Mapping[str, V], order: Sequence[str]) -> Iterable[tuple[str, V]]:
    """Entries in the given order, then all others."""
    return sorted(names.items(), key=lambda one: order.index(one[0]) if one[0] in order else len(order))


def words(*offers_of: str) -> Callable[[str], list[str]]:
    """Complete from a fixed list of words, without asking the service."""
    return lambda incomplete: [word for word in offers_of if word.startswith(incomplete)]


def fields(incomplete: str) -> list[Offer]:
    """The hyperparameters of all kinds of job, for `--set NAME=`, described by what they mean or accept."""
    known = dict(dotted(RetrainConfig)) | dict(dotted(MitigateConfig))
    return [
        (f"{name}=", parameter.doc or str(parameter.bounds))
        for name, parameter in known.items()
        if name.startswith(incomplete)
    ]


def _from_service(
    offers_of: Callable[[masktune.Client], Iterable[Offer]],
) -> Callable[[typer.Context, str], list[Offer]]:
    """Complete from what the service has; offer nothing if a request fails: pressing Tab shows no error."""

    def complete(ctx: typer.Context, incomplete: str) -> list[Offer]:
        from rich.markup import escape

        url, key, ca_file = (ctx.params.get(name) for name in ("url", "key", "ca_file"))
        try:
            with masktune.Client(
                url, key, ca_file=ca_file, timeout=PATIENCE, retry=masktune.Retry(attempts=1)
            ) as client:
                offers = islice(offers_of(client), MOST)
                # Typer interprets rich markup in descriptions, and names may look like markup.
                return [(word, escape(beside)) for word, beside in offers if word.startswith(incomplete)]
        except masktune.ClientError:
            return []

    return complete


def _aliases(client: masktune.Client) -> Iterable[Offer]:
    return ((a.name, a.model) for a in client.models.aliases())


datasets = _from_service(lambda client: ((d.id, d.name) for d in client.datasets.list(limit=MOST)))
"""Ids of data sets, described by their names."""
jobs = _from_service(
    lambda client: ((j.id, j.name or f"{j.kind}, {j.state}") for j in client.jobs.list(limit=MOST))
)
"""Ids of jobs, described by name, or kind and state."""
models = _from_service(
    lambda client: chain(
        _aliases(client),
        ((m.id, m.name or f"{m.arm}, {m.backbone}") for m in client.models.list(limit=MOST)),
    )
)
"""Aliases first, then ids of models."""
aliases = _from_service(_aliases)
"""Aliases, described by the models they point at."""
presets = _from_service(lambda client: ((p.name, p.title) for p in client.jobs.presets()))
"""Names of presets."""
keys = _from_service(
    lambda client: ((k.id, k.name) for k in client.keys.list(limit=MOST) if k.revoked_at is None)
)
"""Ids of keys that have not been revoked."""
webhooks = _from_service(lambda client: ((w.id, w.url) for w in client.webhooks.list()))
"""Ids of webhooks, described by their addresses."""
