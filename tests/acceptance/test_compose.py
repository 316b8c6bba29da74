"""`docker compose up` on a fresh clone: one address over HTTPS, and secrets that are made once."""

from __future__ import annotations

import os
import secrets
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from masktune import Client, NotSent
from tests.acceptance.conftest import torch_index
from tests.acceptance.flow import flow
from tests.support.machine import needs
from tests.support.processes import ROOT
from tests.support.servers import free_port

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT_CERTIFICATE = "proxy:/data/caddy/pki/authorities/local/root.crt"
UPGRADE = (
    "GET /ui/_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost:{port}\r\n"
    "Origin: {origin}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)
SMUGGLED = b"GET /problems HTTP/1.1\r\nHost: localhost\r\nX-Rest: "
POSTED = b"POST /jobs/erm HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s\r\n\r\n"
CHUNKS = b"0\r\n\r\n" + SMUGGLED
TWO_WAYS = {
    "a length beside chunks": POSTED % b"Content-Length: 4\r\nTransfer-Encoding: chunked" + CHUNKS,
    "chunks beside a length": POSTED % b"Transfer-Encoding: chunked\r\nContent-Length: 99" + CHUNKS,
    "two lengths": POSTED % b"Content-Length: 0\r\nContent-Length: %d" % len(SMUGGLED) + SMUGGLED,
    "a space before the colon": POSTED % b"Content-Length: 99\r\nTransfer-Encoding : chunked" + CHUNKS,
    "chunks by another name": POSTED % b"Content-Length: 99\r\nTransfer-Encoding: xchunked" + CHUNKS,
    "a bare line feed": POSTED % b"X: a\nTransfer-Encoding: chunked\r\nContent-Length: 99" + CHUNKS,
    "another protocol": POSTED % b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0" + SMUGGLED,
}
CONNECTS = """
import socket, sys
for address in sys.argv[1:]:
    try:
        socket.create_connection(address.split(":"), timeout=3).close()
        print("yes")
    except OSError:
        print("no")
"""
PAST_THE_PROXY = """
from urllib.request import Request, urlopen
headers = {"X-Forwarded-For": "203.0.113.2", "X-Request-ID": "past-the-proxy"}
urlopen(Request("http://api:8000/limits", headers=headers))
"""


@dataclass
class Stack:
    """One Compose project of its own, without a `.env`."""

    name: str
    port: int
    environment: dict[str, str]
    folder: Path

    def compose(self, *words: str, given: str = "", succeeds: bool = True) -> str:
        """What `docker compose WORDS` prints; it reads `given`."""
        command = ["docker", "compose", "--env-file", os.devnull, "--project-name", self.name, *words]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
        return done.stdout if succeeds else done.stdout + done.stderr

    def up(self, *services: str) -> None:
        self.compose("up", "--build", "--detach", "--wait", "--wait-timeout", "180", *services)

    def lose(self, volume: str) -> None:
        """Stop everything and remove one volume."""
        self.compose("down", "--timeout", "20")
        subprocess.run(["docker", "volume", "rm", f"{self.name}_{volume}"], check=True, capture_output=True)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def key(self) -> str:
        return self.compose("exec", "-T", "api", "masktune", "keys", "first").strip()

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def connection(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("localhost", self.port), timeout=60)
        return ssl.create_default_context(cafile=self.ca_file).wrap_socket(plain, server_hostname="localhost")

    def http(self) -> httpx2.Client:
        return httpx2.Client(
            base_url=self.url, verify=ssl.create_default_context(cafile=self.ca_file), timeout=60
        )


@contextmanager
def project(folder: Path, **environment: str) -> Iterator[Stack]:
    """A project whose volumes are removed at the end."""
    needs("docker engine")
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MASKTUNE_")}
    own = {"MASKTUNE_IMAGE": "masktune:test", "MASKTUNE_HTTPS": f"127.0.0.1:{port}"} | torch_index()
    stack = Stack(f"masktune-test-{secrets.token_hex(4)}", port, kept | own | environment, folder)
    try:
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "20")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with project(tmp_path_factory.mktemp("stack")) as made:
        made.up()
        made.compose("cp", ROOT_CERTIFICATE, str(made.ca_file))
        yield made


def test_the_main_job(stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(NotSent, match="MASKTUNE_CA_FILE"), Client(stack.url) as client:
        client.ready()
    monkeypatch.setenv("MASKTUNE_CA_FILE", str(stack.ca_file))
    flow(stack.url, tmp_path, key=stack.key)


def test_dashboard_and_api_have_one_address(stack: Stack) -> None:
    with stack.http() as http:
        dashboard = http.get("/", follow_redirects=True)
        assert (dashboard.status_code, str(dashboard.url)) == (200, f"{stack.url}/ui/")
        assert "masktune" in dashboard.text
        assert str(http.get("/ui", follow_redirects=True).url) == f"{stack.url}/ui/"
        assert http.get("/openapi.json").json()["info"]["title"] == "masktune"
        refused = http.get("/jobs")
        assert refused.status_code == 401


@pytest.mark.parametrize(("origin", "answer"), [("", b"101"), ("https://other.example", b"403")])
def test_web_sockets_pass_from_the_own_pages_alone(stack: Stack, origin: str, answer: bytes) -> None:
    with stack.connection() as connection:
        connection.sendall(UPGRADE.format(port=stack.port, origin=origin or stack.url).encode())
        assert connection.recv(100).split()[1] == answer


@pytest.mark.parametrize(
    "path", ["/metrics", "/METRICS", "/%6detrics", "//metrics", "/metrics/", "/x/../metrics"]
)
def test_metrics_are_not_published(stack: Stack, path: str) -> None:
    with stack.connection() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split()[1] == b"404"
    assert b"application/problem+json" in answer
    assert b"masktune_jobs" not in answer


def test_the_address_of_the_client_is_believed_from_the_proxy_alone(stack: Stack) -> None:
    with stack.http() as http:
        http.get("/jobs", headers={"X-Forwarded-For": "203.0.113.1", "X-Request-ID": "through-the-proxy"})
    stack.compose("exec", "-T", "web", "python", "-c", PAST_THE_PROXY)
    log = stack.compose("logs", "--no-log-prefix", "api")
    through, past = (
        next(line for line in log.splitlines() if name in line)
        for name in ("through-the-proxy", "past-the-proxy")
    )
    container = "import socket; print(socket.gethostbyname('{}'))".format
    proxy, web = (
        stack.compose("exec", "-T", "api", "python", "-c", container(name)).strip()
        for name in ("proxy", "web")
    )
    assert web in past
    assert proxy not in through
    assert "203.0.113" not in through + past


def test_database_and_broker_are_out_of_reach_of_the_dashboard(stack: Stack) -> None:
    """By name and by address."""
    address = "import socket; print(socket.gethostbyname('{}'))".format
    ends = {"postgres": 5432, "redis": 6379}
    ends |= {
        stack.compose("exec", "-T", "api", "python", "-c", address(name)).strip(): port
        for name, port in list(ends.items())
    }

    def connects(service: str) -> list[str]:
        words = [f"{host}:{port}" for host, port in ends.items()]
        return stack.compose("exec", "-T", service, "python", "-c", CONNECTS, *words).split()

    assert connects("api") == connects("worker") == ["yes"] * 4
    assert connects("web") == ["no"] * 4


@pytest.mark.parametrize("attack", TWO_WAYS.values(), ids=TWO_WAYS)
def test_no_request_reaches_the_answers_of_others(stack: Stack, attack: bytes) -> None:
    """Proxy and service may read it in two ways; what one takes for the next request would meet another's."""
    with stack.http() as http:
        for _ in range(5):
            with stack.connection() as connection:
                connection.sendall(attack)
                connection.settimeout(0.2)
                with suppress(TimeoutError):
                    assert b" 101 " not in connection.recv(200)
                answers = {http.get("/livez").text for _ in range(5)}
                assert answers == {'{"status":"ok"}'}


def test_an_oversized_head_is_refused(stack: Stack) -> None:
    with stack.connection() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 80_000 + b"\r\n\r\n")
        assert b" 431 " in connection.recv(100)


def test_who_sends_a_head_slowly_is_cut_off(stack: Stack) -> None:
    with stack.connection() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
        assert b" 200 " not in connection.recv(100)


def test_who_sends_a_body_slowly_is_refused_by_the_service(stack: Stack) -> None:
    head = (
        f"POST /datasets HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {stack.key}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="x.zip"\r\n\r\n'
    )
    with stack.connection() as connection:
        connection.sendall(head.encode())
        connection.settimeout(1)
        answer = b""
        for byte in b"-" * 90:
            connection.sendall(bytes([byte]))
            with suppress(TimeoutError):
                answer = connection.recv(100)
                break
    assert b"408" in answer


def test_what_env_names_is_used(tmp_path: Path) -> None:
    """As in an installation from before there were made secrets."""
    environment = {"POSTGRES_PASSWORD": r"a:b\c", "MASKTUNE_API_KEYS": "admin:operator"}
    with project(tmp_path, **environment) as stack:
        stack.up("api")
        whoami = ("exec", "-T", "--env", "MASKTUNE_KEY=operator", "api", "masktune", "keys", "whoami")
        assert "an operator's key may admin" in stack.compose(*whoami)
        keys = stack.compose(
            "exec", "-T", "--env", "MASKTUNE_KEY=operator", "api", "masktune", "keys", "list", "--json"
        )
        assert keys.strip() == "[]"
        told = stack.compose("exec", "-T", "api", "masktune", "keys", "first", succeeds=False)
        assert "MASKTUNE_API_KEYS" in told


def test_secrets_outlast_a_restart_and_their_loss_is_told(stack: Stack) -> None:
    key = stack.key
    stack.compose("down", "--timeout", "20")
    stack.up("api")
    assert stack.key == key
    stack.lose("password")
    assert "A lost volume" in stack.compose("run", "--rm", "migrate", succeeds=False)
    sql = (ROOT / "deploy/postgres/set-password.sql").read_text()
    stack.compose("exec", "-T", "postgres", "psql", "--username", "masktune", given=sql)
    stack.compose("run", "--rm", "migrate")
    stack.lose("postgres")
    assert "/key/first is the key of an earlier one" in stack.compose(
        "run", "--rm", "migrate", succeeds=False
    )
