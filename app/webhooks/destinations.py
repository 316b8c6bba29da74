"""Where webhooks may go: https addresses of public hosts, and hosts that the operator allows.

A name is resolved once, and the connection is made to the address that was checked: a name whose address
changes between the two leads nowhere else.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import httpx2

from app.http.deps import opened
from core.addresses import entries, is_network
from core.errors import InvalidInput

_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # RFC 4291, 2.4: no mapped, translated or local address
_SPECIAL = [
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # relays of 6to4, which are no more
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # automatic multicast tunnels
        "192.175.48.0/24",  # AS112
        "2001::/23",  # protocol assignments: Teredo and other tunnels
        "2002::/16",  # 6to4: leads to any IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
]
"""Networks for special purposes that Python, or an older version of it, takes for public ones.
https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry"""


def resolve(name: str) -> Sequence[str]:
    """The addresses of the host, the preferred one first. Raises OSError, UnicodeError for no name."""
    return [str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]


@dataclass(frozen=True)
class Destinations:
    """`allowed`: the operator's host names, addresses and networks, separated by commas."""

    allowed: str
    resolve: Callable[[str], Sequence[str]] = resolve

    def check(self, text: str) -> tuple[httpx2.URL, httpx2.URL]:
        """Return the address, and the same with the host's own address, to connect to.
        Raises `InvalidInput`, whose text names no address that the host has."""
        try:
            url = httpx2.URL(text)
        except httpx2.InvalidURL as error:
            raise _refused("invalid-address", f"this is no address: {error}") from error
        name, port = url.raw_host.decode(), 443 if url.port is None else url.port
        if url.scheme not in ("https", "http") or not name or port not in range(1, 65_536) or url.userinfo:
            raise _refused("invalid-address", "use https://HOST/PATH, without a user and a password")
        try:
            addresses = [ipaddress.ip_address(address) for address in self.resolve(name)]
        except (OSError, UnicodeError) as error:
            raise _refused("unknown-host", f"the host {name} has no address; check its name") from error
        allowed = entries(self.allowed.lower())
        networks = [ipaddress.ip_network(entry) for entry in allowed if is_network(entry)]
        is_allowed = name in allowed or all(any(one in network for network in networks) for one in addresses)
        if not is_allowed and not all(map(_is_public, addresses)):
            advice = "the operator can allow it (MASKTUNE_WEBHOOK_ALLOWED_HOSTS)"
            raise _refused("not-allowed", f"the host {name} is not public; {advice}")
        if not is_allowed and url.scheme != "https":
            raise _refused("not-https", "messages to public hosts are sent by https only")
        return url, url.copy_with(host=str(addresses[0]))


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return False
    is_special = address.is_multicast or any(address in network for network in _SPECIAL)
    return address.is_global and not is_special


def _refused(code: str, detail: str) -> InvalidInput:
    return InvalidInput.field("/url", code, detail)


DestinationsDep = Annotated[Destinations, opened("destinations")]
