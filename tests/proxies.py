"""Proxies between a part of the service and what it speaks to over TCP, for what goes wrong on the way."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Proxy:
    """Listens on `port` of this host; what it does with a connection is `carry`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def carry(self, near: socket.socket, far: socket.socket) -> None:
        """From the one who connected to the other end, until one of them ends."""
        raise NotImplementedError

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        with suppress(OSError), near, socket.create_connection(self._target) as far:
            self.carry(near, far)
