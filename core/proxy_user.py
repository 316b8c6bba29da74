"""The settings by which an authenticating proxy names the person behind a request, checked: a setting that
would believe anybody fails here."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from core.addresses import entries
from masktune.contract.vocabulary import Scope

EVERYONE = "*"
"""Stands for the groups of every person."""
_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""RFC 9110, 5.1."""
_SHORTEST_PREFIX = 8
"""A wider network than a /8 is not a proxy's, but almost everybody's."""


@dataclass(frozen=True)
class ProxyUser:
    """The headers that name the person and their groups, and from whom they are believed.
    Without `header`, nobody is."""

    header: str = ""
    groups_header: str = ""
    believed_from: str = ""
    """Addresses, networks and host names, separated by commas."""

    def __post_init__(self) -> None:
        """Raise ValueError if the settings cannot work, or believe too many."""
        if not self.header:
            return
        if not all(map(_FIELD_NAME.fullmatch, self.headers)) or len(set(self.headers)) < len(self.headers):
            raise ValueError(
                "MASKTUNE_PROXY_USER_HEADER and MASKTUNE_PROXY_GROUPS_HEADER must be names of two headers"
            )
        peers = entries(self.believed_from)
        if not peers:
            raise ValueError(
                f"MASKTUNE_PROXY_USER_FROM must name the proxy that sends {self.header}: without it, anybody "
                "could claim to be anybody"
            )
        for peer in peers:
            _check_peer(peer)

    @property
    def headers(self) -> list[str]:
        """Both headers, in lower case, or the first alone; none while nobody is believed."""
        return [name.lower() for name in (self.header, self.groups_header) if name and self.header]


def parse_proxy_scopes(text: str, *, has_groups: bool) -> dict[str, frozenset[Scope]]:
    """Group → scopes of `group=scope+scope`, separated by commas.
    Raises ValueError if some cannot be meant; without a header for groups, the only group is `EVERYONE`."""
    scopes_by_group: dict[str, frozenset[Scope]] = {}
    for part in entries(text):
        group, _, scopes = (piece.strip() for piece in part.rpartition("="))
        if not group or group in scopes_by_group or not set(scopes.split("+")) <= set(Scope):
            raise ValueError(
                "MASKTUNE_PROXY_SCOPES must be group=scope+scope, each group once (`*` is everyone), with "
                f"scopes out of {', '.join(Scope)}"
            )
        if group != EVERYONE and not has_groups:
            raise ValueError(
                f"MASKTUNE_PROXY_SCOPES: nobody is in the group {group} without MASKTUNE_PROXY_GROUPS_HEADER"
            )
        scopes_by_group[group] = frozenset(map(Scope, scopes.split("+")))
    return scopes_by_group


def _check_peer(entry: str) -> None:
    try:
        network = ipaddress.ip_network(entry)
    except ValueError:
        if "/" in entry or EVERYONE in entry:
            raise ValueError(
                f"MASKTUNE_PROXY_USER_FROM: {entry} is no address, network or host name"
            ) from None
        return
    if network.prefixlen < _SHORTEST_PREFIX:
        raise ValueError(f"MASKTUNE_PROXY_USER_FROM: {entry} would believe almost anybody")
