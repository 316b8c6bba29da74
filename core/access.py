"""Who may call: the operator's keys, their rates, and the address of a service without keys."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from core.addresses import entries
from masktune.contract.vocabulary import Scope

if TYPE_CHECKING:
    from limits import RateLimitItem


def parse_keys(text: str) -> dict[str, frozenset[Scope]]:
    """Secret → scopes of `scope+scope:secret`, separated by commas. Raises ValueError."""
    keys: dict[str, frozenset[Scope]] = {}
    for part in entries(text):
        scopes, _, secret = part.partition(":")
        if not secret or not set(scopes.split("+")) <= set(Scope):
            raise ValueError(
                f"MASKTUNE_API_KEYS must be scope+scope:secret, with scopes out of {', '.join(Scope)}"
            )
        keys[secret] = frozenset(map(Scope, scopes.split("+")))
    return keys


def parse_rates(text: str) -> dict[Scope, RateLimitItem]:
    """Scope → rate of `scope=number/unit`, separated by commas, each scope once. Raises ValueError."""
    rates: dict[Scope, RateLimitItem] = {}
    for part in entries(text):
        from limits import parse as parse_rate  # takes half a second; only with rate limits

        scope, equals, rate = (piece.strip() for piece in part.partition("="))
        try:
            known = Scope(scope)
            limit = parse_rate(rate)
        except ValueError:
            equals = ""
        if not equals or known in rates or limit.amount < 1:
            raise ValueError(
                "MASKTUNE_RATE_LIMITS must be scope=number/unit (second, minute, hour, day), "
                f"each scope at most once, out of {', '.join(Scope)}"
            )
        rates[known] = limit
    return rates


def check_loopback(host: str) -> None:
    """Raise ValueError if a service that listens on `host` can be reached from other machines."""
    if host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name, or "" for every address
        loopback = False
    if not loopback:
        raise ValueError(
            f"refusing to listen on {host or 'every address'} without a key: "
            "set MASKTUNE_API_KEYS, or MASKTUNE_HOST=127.0.0.1"
        )
