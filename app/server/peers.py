"""The machines that the settings name, by address, network or host name."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from contextlib import suppress

from core.addresses import entries, is_network

_RESOLVED_SECONDS = 10.0
"""How long the addresses of a name are used: a container that is made anew has another."""


class Peers:
    """Addresses, networks and host names; what a name resolves to is looked up when somebody asks."""

    def __init__(self, text: str) -> None:
        """`text`: the entries, separated by commas."""
        self.fixed = [entry for entry in entries(text) if is_network(entry)]
        self._names = [entry for entry in entries(text) if not is_network(entry)]
        self._resolved, self._resolved_at = set[str](), float("-inf")

    async def addresses(self) -> list[str]:
        """All of them as addresses and networks, without the names that do not resolve."""
        if self._names and time.monotonic() - self._resolved_at >= _RESOLVED_SECONDS:
            self._resolved = {address for name in self._names for address in await _resolve(name)}
            self._resolved_at = time.monotonic()
        return [*self.fixed, *self._resolved]

    async def include(self, address: str) -> bool:
        """Whether this address is one of them."""
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:  # such as that of a Unix socket
            return False
        return any(peer in ipaddress.ip_network(entry) for entry in await self.addresses())


async def _resolve(name: str) -> set[str]:
    with suppress(OSError):
        infos = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
        return {str(info[4][0]) for info in infos}
    return set()
