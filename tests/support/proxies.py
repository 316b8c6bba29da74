"""TCP proxies between a part of the service and its peer, to simulate network failures."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress


class Proxy:
    """Listens on `port` of this host; subclasses handle each connection in `carry`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def carry(self, near: socket.socket, far: socket.socket) -> None:
        """Transfer data between client (`near`) and server (`far`) until one of them closes."""
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


class MovingProxy(Proxy):
    """An address of a server that may be moved to another one, as in a failover."""

    def __init__(self, host: str, port: int) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(host, port)

    def move(self, port: int) -> None:
        """Cut all connections; later ones reach this port."""
        self._target = ("127.0.0.1", port)
        for near in set(self._open):
            with suppress(OSError):
                near.shutdown(socket.SHUT_RDWR)

    def carry(self, near: socket.socket, far: socket.socket) -> None:
        self._open.add(near)
        try:
            while True:
                for readable in select.select([near, far], [], [])[0]:
                    data = readable.recv(65_536)
                    if not data:
                        return
                    (far if readable is near else near).sendall(data)
        finally:
            self._open.discard(near)


class PausingProxy(Proxy):
    """Sits between a client and PostgreSQL. While paused, it accepts data but forwards nothing, like a server
    that hangs."""

    def __init__(self, host: str, port: int) -> None:
        self._goes, self._ended = threading.Event(), threading.Event()
        self._goes.set()
        super().__init__(host, port)

    def pause(self) -> None:
        self._goes.clear()

    def close(self) -> None:
        self._ended.set()
        self._goes.set()
        super().close()

    def carry(self, near: socket.socket, far: socket.socket) -> None:
        while not self._ended.is_set():
            for readable in select.select([near, far], [], [], 0.1)[0]:
                data = readable.recv(65_536)
                self._goes.wait()
                if not data:
                    return
                (far if readable is near else near).sendall(data)
