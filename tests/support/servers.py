"""Servers that tests and benchmarks start and break: a process of one's own, Redis, PostgreSQL."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.waits import PATIENCE, wait_until

_CADDYFILE = Path(__file__).parents[2] / "deploy/caddy/Caddyfile"


def free_port() -> int:
    """A port on which nothing listens at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether a process listens on this port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for_port(port: int, what: str) -> None:
    """Wait until the port accepts connections. Raises AssertionError."""
    wait_until(lambda: answers(port), lambda: f"{what} does not answer on port {port}")


def clock_off_by(shift: str) -> dict[str, str]:
    """Variables for a process whose clock is off by so much (`+1h`, `-1h`); needs the program faketime.

    What `faketime` itself sets: started by it, a process would not be a child of this one.
    """
    command = ["faketime", "-m", "--exclude-monotonic", "-f", shift, "printenv", "LD_PRELOAD"]
    library = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return {"LD_PRELOAD": library, "FAKETIME": shift, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@dataclass
class ServerProcess:
    """A process that may be killed, stopped and started again."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    folder: Path
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _starting: threading.Lock = field(default_factory=threading.Lock, init=False)

    def start(self) -> None:
        """Start it unless it is running. Thread-safe."""
        with self._starting:
            if not self.alive:
                self._start()

    def _start(self) -> None:
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=dict(self.environment), stdout=log, stderr=log
            )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        """Send the signal if the process is alive."""
        if self.alive:
            assert self.process is not None
            self.process.send_signal(number)

    def kill(self) -> None:
        """`kill -9`."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def end(self) -> bool:
        """Send SIGTERM, even if it is stopped; after three minutes `kill -9` it and return False."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        if self.process is not None:
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                return False
        return True


class Redis(ServerProcess):
    """A private redis-server; with `persistent` it keeps an append-only file, else a restart loses all."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *, persistent: bool) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            raise SystemExit("NOT RUN: this needs a redis-server")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        command = [
            binary,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(folder),
        ]
        command += ["--appendonly", "yes" if persistent else "no", "--maxmemory-policy", "noeviction"]
        super().__init__("redis", command, environment, folder)


class Caddy(ServerProcess):
    """The proxy of docker-compose.yml in front of parts on this host, over plain HTTP.

    `upstreams`: their ports, by their names in the files. `sign_in`: what people sign in with, if anything.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str], *, sign_in: str = "", **upstreams: int
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "sign-in").mkdir()
        for file, text in (("Caddyfile", _CADDYFILE.read_text()), ("sign-in/test.caddy", sign_in)):
            if text:
                names = "|".join(upstreams)
                here = re.sub(rf"\b({names}):\d+", lambda at: f"127.0.0.1:{upstreams[at[1]]}", text)
                (folder / file).write_text(here)
        variables = {
            "MASKTUNE_PROXY_USER_HEADER": "Remote-User",
            "MASKTUNE_PROXY_GROUPS_HEADER": "Remote-Groups",
            "MASKTUNE_DOMAIN": self.url,
            "MASKTUNE_TLS": "automatic",
            "MASKTUNE_PROXY_BODY": "1GiB",
            "XDG_DATA_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
        }
        command = ["caddy", "run", "--config", str(folder / "Caddyfile")]
        super().__init__("caddy", command, {**environment, **variables}, folder)


class Postgres:
    """A private cluster; without `durable`, `fsync` is off."""

    def __init__(self, *, durable: bool = True) -> None:
        if shutil.which("initdb") is None or shutil.which("pg_ctl") is None:
            raise SystemExit("NOT RUN: this needs PostgreSQL's initdb and pg_ctl")
        # Not in the benchmark's folder: PostgreSQL refuses to run as root, and its user may not enter it.
        self._folder = Path(tempfile.mkdtemp(prefix="masktune-postgres-"))
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres")
            self._as_user = ["runuser", "-u", "postgres", "--"]
        self.port = free_port()
        self.server = f"postgresql+psycopg://masktune@127.0.0.1:{self.port}"
        self.url = f"{self.server}/postgres"
        self._data = str(self._folder / "data")
        self._fsync = "on" if durable else "off"
        self._run(
            "initdb", "--auth=trust", "--username=masktune", "--encoding=UTF8", "--locale=C", self._data
        )
        self.start()

    def start(self) -> None:
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder} "
            f"-c max_connections=200 -c fsync={self._fsync}"
        )
        log = str(self._folder / "log")
        self._run("pg_ctl", "--pgdata", self._data, "--wait", "--options", options, "--log", log, "start")

    def crash(self) -> None:
        """Stop it as a power cut would: nothing is flushed, and the next start recovers from the log."""
        self._run("pg_ctl", "--pgdata", self._data, "--mode", "immediate", "stop")

    def backends(self) -> list[int]:
        """Pids of the processes that serve a connection."""
        with suppress(OSError):  # it is down or starting
            server = int((Path(self._data) / "postmaster.pid").read_text().split()[0])
            return [pid for pid in _children(server) if _serves(pid)]
        return []

    def end(self) -> None:
        with suppress(subprocess.CalledProcessError):
            self._run("pg_ctl", "--pgdata", self._data, "--mode", "fast", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, *command: str) -> None:
        subprocess.run([*self._as_user, *command], cwd=self._folder, check=True, stdout=subprocess.DEVNULL)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _serves(pid: int) -> bool:
    """Whether the process serves a connection, judged by the title that PostgreSQL gives it."""
    with suppress(OSError):  # it has ended
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"postgres: masktune ")
    return False
