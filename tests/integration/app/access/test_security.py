"""What an attacker would try, one short test each: the door that is opened here is the real one.

docs/SECURITY.md says what is defended where. What belongs to one part alone is attacked at that part, in
more ways than here: archives, images, lists and weights by tests/corpus, keys of artifacts
(tests/unit/core/storage/test_artifacts.py), multipart bodies (tests/unit/app/http/test_multipart.py), bodies
over their limit (tests/unit/app/server/test_body_limit.py).
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import pickle
import re
import signal
import socket
import struct
import threading
import time
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote
from urllib.request import Request, urlopen

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from app.inference import Admission
from app.inference.engines import graph_store as graphs
from app.main import create_app
from app.operations.metrics import Metrics
from app.server.clock import TimeLimits
from app.server.connection import MAX_HEAD_BYTES, Connection
from app.server.edge import Edge
from app.server.guard import Guard
from app.server.proxies import Proxies
from app.server.server import make_server
from core.proxy_user import ProxyUser
from core.settings import Settings
from launcher.serve import _with_dashboard
from launcher.web import Dashboard, beside
from models.data.report import FileCode
from tests.integration.app.conftest import Front, Impatient, Listen, Listening, StartFront, rest
from tests.support.waits import wait_until

pytestmark = pytest.mark.anyio

HEAD = b"GET /livez HTTP/1.1\r\nHost: a\r\n"
CHUNKED_BODY = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
ADMIN = {"Authorization": "Bearer root"}


def code_of(answer: Any) -> str:
    """The code of the one fault of a 422."""
    assert answer.status_code == 422, answer.text
    code: str = answer.json()["errors"][0]["code"]
    return code


# --- addresses: the service must not fetch what the attacker cannot reach (SSRF) --------------


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was resolved or connected to by name or address: nothing may be."""
    asked: list[object] = []
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, lambda *a, **k: asked.append(a))
    return asked


REFUSED = {"not-allowed", "unknown-source", "unknown-builtin", "invalid-address", "not-found"}
SOURCES = [
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",  # the cloud's keys
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://127.0.0.1:6379/",  # the broker
    "https://localhost/x.zip",
    "http://0x7f000001/x.zip",  # loopback in another spelling
    "http://metadata.google.internal/x.zip",
    "http://rebind.attacker.example/x.zip",  # a name that turns to loopback between check and use
    "https://attacker.example/redirects-to-loopback.zip",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "ftp://attacker.example/x.zip",
    "simplecache::http://127.0.0.1/x.zip",  # how fsspec chains protocols
    "s3://sets.attacker.example/x.zip",
    "s3://sets/../other/x.zip",
    "s3://setsandmore/x.zip",  # begins like the bucket that is allowed
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "file://attacker.example/share/x.zip",
    "file://{allowed}/../secret.zip",
    "file://{allowed}/%2e%2e/secret.zip",
    "file://{allowed}andmore/x.zip",
    "file://{allowed}/link.zip",  # a link that leads out
    "builtin:../../etc/passwd",
]


def test_no_source_leads_to_where_the_operator_did_not_allow(
    start: StartFront, tmp_path: Path, network: list[object]
) -> None:
    """It would make the service read its own network, its host's files or its cloud's keys."""
    allowed = tmp_path / "allowed"
    for folder in (allowed, tmp_path / "allowedandmore"):
        folder.mkdir()
    for file in (tmp_path / "secret.zip", tmp_path / "allowedandmore" / "x.zip"):
        file.write_bytes(b"secret")
    (allowed / "link.zip").symlink_to(tmp_path / "secret.zip")
    front = start(allowed_sources=f"file://{allowed}/,s3://sets/")
    for source in SOURCES:
        answer = front.client.post("/datasets", json={"name": "d", "source": source.format(allowed=allowed)})
        assert code_of(answer) in REFUSED, source
    assert network == []
    assert front.client.get("/datasets").json()["data"] == []


# --- paths: nothing outside the data folder is read or written --------------------------------

CLIMBS = ["../../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd"]


def test_no_name_in_a_path_leads_to_a_file(listen: Listen) -> None:
    """It would read any file that the service can. Clients tidy such paths up: they are sent as they are."""
    server = listen()
    ready = server.dataset()
    places = (
        f"/datasets/{ready}/samples/{{}}/image",
        "/datasets/{}",
        "/models/{}/download",
        "/jobs/{}/predictions",
        "/docs/static/{}",
    )
    for place, climb in itertools.product(places, CLIMBS):
        path = place.format(climb)
        answer = server.ask(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        assert answer[9:12] in (b"404", b"405", b"422"), path
        assert f'"instance": "{unquote(path)}"'.encode() in answer or b"404 Not Found" in answer, path
        assert b"root:" not in answer


CONTROLS = ["%00", "%09", "%0a", "%0D", "%1f", "%7F"]


def test_an_address_with_a_control_character_is_nowhere(listen: Listen) -> None:
    """A router that ignores a line break would answer where no bound is looked at, such as 300 predictions at
    once. Nothing else is looked at first: not the key, not the size, not how full the service is."""
    server = listen(api_keys="admin:root", predict_in_flight=1)
    admission = server.app.state.admission
    admission.in_flight = 1
    hangs = "POST {}?model=a HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n"
    places = ("/predict", "/saliency", "/jobs", "/keys", "/docs/static/x", "/nothing")
    asked = [
        (place + control, server.connect(hangs.format(place + control, length).encode()))
        for place, control, length in itertools.product(places, CONTROLS, (9_000, 10**12))
    ]
    for path, connection in asked:
        with connection:
            head, _, body = rest(connection).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 404 "), path
        assert b"content-type: application/problem+json" in head
        problem = json.loads(body or b"null")
        assert (problem["type"], problem["instance"]) == ("/problems/not-found", unquote(path))
    assert (admission.in_flight, admission.slow_bodies) == (1, 0)


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("path", ["/ui/predict\n", "/ui/\x00x", "/ui/_nicegui_ws/socket.io/\n"])
async def test_no_page_has_an_address_with_a_control_character(tmp_path: Path, kind: str, path: str) -> None:
    """The dashboard beside the API compares whole paths too, and its router does not."""
    sent: list[Any] = []

    class Unreached(FastAPI):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            raise AssertionError("not the API's")

    api = Unreached()
    api.state.admission, api.state.metrics = Admission(1, 1), Metrics()

    async def note(message: Any) -> None:
        sent.append(message)

    async def nothing() -> Any:
        return {"type": "http.request"}

    scope = {"type": kind, "method": "GET", "path": path, "headers": [(b"host", b"a.example")]}
    await _with_dashboard(api, Settings(data_dir=tmp_path), None)(scope, nothing, note)
    assert sent[0].get("status", sent[0].get("code")) == (404 if kind == "http" else 1008)


def zipped(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


# --- bombs: small files that grow -------------------------------------------------------------


PICTURE = {"Content-Type": "image/png"}


def test_an_image_larger_than_one_may_be_is_not_kept_in_memory(start: StartFront) -> None:
    """A few bodies, each as large as the images of a whole form, would fill it."""
    front = start(max_image_bytes=5_000)
    for path in ("/predict?model=a", "/saliency?model=a"):
        assert front.client.post(path, content=b"x" * 5_001, headers=PICTURE).status_code == 413
        assert front.client.post(path, content=iter([b"x" * 1_000] * 6), headers=PICTURE).status_code == 413
        assert front.client.post(path, content=b"x" * 5_000, headers=PICTURE).status_code == 404
        files = [("file", ("a.png", b"x" * 5_000)), ("file", ("b.png", b"x" * 5_001))]
        refused = front.client.post(path, files=files)
        assert code_of(refused) == FileCode.TOO_LARGE
        assert refused.json()["errors"][0]["pointer"] == "/images/1"


def test_a_model_is_not_built_before_its_file_could_hold_it(front: Front) -> None:
    """A few bytes would take the memory of a whole network, in the process that serves."""
    built: list[int] = []

    def note(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        if not parameter.is_meta and parameter.numel() > 1 << 20:  # the service warms up with a small one
            built.append(parameter.numel())

    tensor = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    form = {"backbone": "torchvision/resnet50", "classes": '["a", "b"]', "image_size": "224"}
    with register_module_parameter_registration_hook(note):
        file = ("model.safetensors", struct.pack("<Q", len(tensor)) + tensor + bytes(4))
        assert code_of(front.client.post("/models", files={"file": file}, data=form)) == "does-not-fit"
    assert built == []


class _Opens:
    """Unpickled, it would make the file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.path,))


def test_a_pickle_is_never_read(front: Front, tmp_path: Path) -> None:
    """It would run the attacker's code: a .pt file is a program."""
    mark = tmp_path / "ran"
    plain = pickle.dumps(_Opens(mark))
    for data in (plain, zipped("archive/data.pkl", plain), b"\x80\x02" + plain):
        answer = front.client.post(
            "/models",
            files={"file": ("model.safetensors", data)},
            data={"backbone": "small_cnn", "classes": '["a", "b"]', "image_size": "28"},
        )
        assert code_of(answer) == "not-safetensors"
    assert not mark.exists()


# --- injection: what is sent stays data ----------------------------------------------------------

INJECTIONS = ["' OR '1'='1", "x'; DROP TABLE keys; --", "${jndi:ldap://a/b}", "{{7*7}}", "%00", "<script>"]


def test_text_is_never_part_of_a_query_or_a_page(start: StartFront) -> None:
    """It would read or drop other people's rows, or run in a reader's browser."""
    front = start(api_keys="admin:root")
    front.client.headers.update(ADMIN)
    for text in INJECTIONS:
        made = front.client.post("/keys", json={"name": text, "scopes": ["read"]})
        assert made.json()["name"] == text
        for path, name in (("/jobs", "dataset"), ("/jobs", "kind"), ("/keys", "cursor"), ("/models", "job")):
            answer = front.client.get(path, params={name: text})
            assert answer.status_code == 422 or answer.json()["data"] == [], f"{path}?{name}={text}"
        assert front.client.get(f"/models/{text}").status_code in (404, 405)
    listed = front.client.get("/keys")
    assert [key["name"] for key in listed.json()["data"]] == INJECTIONS[::-1]
    assert listed.headers["Content-Type"] == "application/json"
    assert listed.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "header",
    [
        b"X-Request-ID: a\rSet-Cookie: evil=1",
        b"X-Request-ID: a%0d%0aSet-Cookie: evil=1",
        b"X-Request-ID: a\x00b",
        b"X-Request-ID: " + "a\u010d\u010aSet-Cookie:evil".encode(),
    ],
)
def test_no_header_of_a_request_becomes_one_of_the_answer(shared_server: Listen, header: bytes) -> None:
    """It would set cookies, or split the answer in two."""
    answer = shared_server().ask(HEAD + header + b"\r\nConnection: close\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))
    assert b"set-cookie" not in answer.lower()


AMBIGUOUS = {
    "two lengths": CHUNKED_BODY.replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\n") + b"0\r\n\r\nG",
    "two sizes": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "a space before the colon": b"GET /livez HTTP/1.1\r\nHost : a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a body behind CONNECT": b"CONNECT /limits HTTP/1.1\r\nHost: a\r\nContent-Length: 37\r\n\r\n"
    + HEAD
    + b"\r\n",
    "two encodings": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "two encodings apart": CHUNKED_BODY.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: gzip\r\n\r\n")
    + b"0\r\n\r\n",
    "identity": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
    "a sign": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
    "a folded header": b"GET /livez HTTP/1.1\r\nHost: a\r\nX-a: b\r\n c\r\n\r\n",
    "bare line feeds": b"GET /livez HTTP/1.1\nHost: a\n\r\n\r\n",
    "a bare carriage return": b"GET /livez HTTP/1.1\r\nHost: a\r\nX-a: b\rX-b: c\r\n\r\n",
    "a chunk that is cut": CHUNKED_BODY + b"2;\nxx\r\nab\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("request_", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_a_request_that_can_be_read_in_two_ways_is_not_read(shared_server: Listen, request_: bytes) -> None:
    """It would smuggle a second request past a proxy that reads it in the other way."""
    answer = shared_server().ask(request_)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("pieces", ["at once", "byte by byte"])
@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\nabcde",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nabcde\r\n0\r\nX-a: b\r\n\r\n",
    ],
    ids=["length", "chunked", "trailer"],
)
def test_what_follows_a_body_is_read_where_it_begins(shared_server: Listen, body: bytes, pieces: str) -> None:
    sent = (b"POST /jobs/erm HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" + body) * 2 + (
        b"\r\n\r\n" + CLOSING
    )
    server = shared_server()
    with server.connect() as connection:
        step = len(sent) if pieces == "at once" else 1
        for start in range(0, len(sent), step):
            connection.sendall(sent[start : start + step])
        answer = rest(connection)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"422", b"422", b"200"]


def test_a_request_behind_another_is_not_cut_off_as_idle(listen: Listen) -> None:
    server = listen()
    server.server.config.timeout_keep_alive = 0.1  # type: ignore[assignment]  # seconds; uvicorn takes any

    @server.app.get("/slow")
    async def slow() -> None:
        await asyncio.sleep(0.5)

    answer = server.ask(HEAD + b"\r\n" + CLOSING.replace(b"/livez", b"/slow"))
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"200"]


OFFERED = b"%s %s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\n"
DIGITS = b'{"name": "d", "source": "builtin:digits"}'
CLOSING = HEAD + b"Connection: close\r\n\r\n"
WAITING = (
    b"POST %s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
)


@pytest.mark.parametrize("apart", [False, True], ids=["at once", "apart"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("protocol", [b"h2c", b"foo", b"h2c, websocket"])
def test_a_request_that_offers_another_protocol_is_read_like_any_other(
    shared_server: Listen, protocol: bytes, chunked: bool, apart: bool
) -> None:
    """Its body would be lost, or be taken for a second request that a proxy never saw (smuggling)."""
    server = shared_server(api_keys="admin:root")
    for path, body, status in (
        (b"/datasets", DIGITS, b"202"),
        (b"/predict?model=a", b"GET /limits HTTP/1.1\r\nHost: a\r\n\r\n", b"404"),
        (b"/predict?model=a", HEAD * 2_000 + b"\r\n", b"404"),
    ):
        head = OFFERED % (b"POST", path, protocol)
        head += b"X-API-Key: root\r\nContent-Type: " + (
            b"application/json" if status == b"202" else b"image/png"
        )
        sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
        length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
        head += b"\r\nHTTP2-Settings: \r\n" + length + b"\r\n\r\n"
        with server.connect(head if apart else head + sent) as connection:
            if apart:
                time.sleep(0.05)
                connection.sendall(sent)
            connection.sendall(CLOSING)  # what follows is read where it begins
            answer = rest(connection)
        assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [status, b"200"], answer
        assert b'"status":"ok"' in answer


def test_no_offer_of_another_protocol_costs_more_than_a_request(shared_server: Listen) -> None:
    """Many in one segment: each is read again without its offer."""
    answer = shared_server().ask((OFFERED % (b"GET", b"/livez", b"h2c") + b"\r\n") * 500 + CLOSING)
    assert answer.count(b"HTTP/1.1 200 ") == 501


@pytest.mark.parametrize(
    ("path", "kind", "length", "status"),
    [
        (b"/keys", b"application/json", len(CLOSING), b"401"),
        (b"/datasets", b"multipart/form-data; boundary=b", len(CLOSING), b"401"),
        (b"/predict?model=a", b"image/png", len(CLOSING), b"503"),
        (b"/keys", b"application/json", 10**9, b"413"),
    ],
)
def test_who_was_not_told_to_send_its_body_sends_nothing_more(
    listen: Listen, path: bytes, kind: bytes, length: int, status: bytes
) -> None:
    """What comes next may be the body or another request, and a proxy may take it for the other one."""
    server = listen(api_keys="admin:root", predict_in_flight=1)
    server.app.state.admission.in_flight = 1
    answer = server.ask(WAITING % (path, kind, length) + CLOSING)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [status]
    assert b"\r\nconnection: close\r\n" in answer


def test_who_is_told_to_send_its_body_goes_on(shared_server: Listen) -> None:
    head = WAITING.replace(b"Host: a", b"Host: a\r\nX-API-Key: root")
    with shared_server(api_keys="admin:root").connect(
        head % (b"/datasets", b"application/json", len(DIGITS))
    ) as connection:
        assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(DIGITS + CLOSING)
        assert re.findall(rb"HTTP/1.1 (\d+)", rest(connection)) == [b"202", b"200"]


# --- other sites: a page must not drive the service of whoever looks at it -----------------------

NOT_OURS = ["http://evil.example", "http://127.0.0.1:3000", "http://localhost.evil.example", "null", "x"]
REBOUND = [
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "10.0.0.5",
]
ITSELF = ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "127.8.9.1", "[::1]:8000", "localhost.:8000"]


@pytest.mark.parametrize("keys", ["", "admin:root"])
def test_no_page_of_another_site_changes_anything(start: StartFront, keys: str) -> None:
    """Browsers send such a form without asking: it would fill the disk, and train for days."""
    front = start(api_keys=keys)
    for origin in NOT_OURS:
        asked = {**ADMIN, "Origin": origin}
        sent = front.client.post("/datasets", data={"name": "d"}, files={"file": b"x"}, headers=asked)
        plain = asked | {"Content-Type": "text/plain"}
        started = front.client.post("/jobs/erm", content=b"{}", headers=plain)
        for refused in (sent, started):
            assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden"), origin
    assert front.client.get("/datasets", headers=asked).json()["data"] == []


def test_its_own_pages_are_heard(start: StartFront) -> None:
    """Behind a proxy that hands on `Host`, and behind one that does not."""
    front = start(api_keys="admin:root", allowed_hosts="named.example")
    for origin, host in (
        ("http://localhost:8000", "localhost:8000"),
        ("http://localhost", "localhost:80"),
        ("https://masktune.example", "masktune.example"),
        ("https://masktune.example:8443", "masktune.example:8443"),
        ("https://named.example", "127.0.0.1:8000"),
    ):
        headers = {**ADMIN, "Origin": origin, "Host": host}
        assert front.client.post("/jobs/erm", json={}, headers=headers).status_code == 422, origin


def test_no_page_whose_name_became_loopback_reads_anything(shared_front: Front) -> None:
    """To its browser it would be one site with the service: it could read every image and delete it (DNS
    rebinding)."""
    client = shared_front.client
    for host in REBOUND:
        headers = {"Host": host}
        for path in ("/datasets", "/openapi.json", "/metrics"):
            refused = client.get(path, headers=headers)
            assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden"), host
        assert client.get("/livez", headers=headers).status_code == 200
    assert client.get("/readyz", headers=headers).status_code in (200, 503)


def test_a_service_answers_to_its_names(start: StartFront) -> None:
    """Loopback by any of its names; what the operator named; any, with keys: a rebound page has none."""
    front = start(allowed_hosts="api, masktune.example:443")
    for host in (*ITSELF, "api:8000", "masktune.example"):
        assert front.client.get("/jobs", headers={"Host": host}).status_code == 200, host
    assert start(allowed_hosts="*").client.get("/jobs", headers={"Host": "evil.example"}).status_code == 200
    with_keys = start(api_keys="admin:root").client
    assert with_keys.get("/jobs", headers={**ADMIN, "Host": "api:8000"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"host": "localhost:8000", "origin": "http://localhost:8000"}, "opened"),
        ({"host": "localhost:8000"}, "opened"),
        ({"host": "localhost:8000", "origin": "http://evil.example"}, "websocket.close"),
        ({"host": "evil.example", "origin": "http://evil.example"}, "websocket.close"),
    ],
)
async def test_no_page_of_another_site_opens_a_web_socket(headers: dict[str, str], told: str) -> None:
    """It would press the buttons of the dashboard beside the API."""
    sent: list[Message] = []

    async def pages(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "opened"})

    async def note(message: Message) -> None:
        sent.append(message)

    async def api(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("not the API's")

    async def nothing() -> Message:
        return {"type": "websocket.connect"}

    both = beside(api, Pages(pages), guarded)
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await both({"type": "websocket", "path": "/ui/ws", "headers": raw}, nothing, note)
    assert [message["type"] for message in sent] == [told]


def guarded(app: ASGIApp) -> Edge:
    """Pages of an open service."""
    return Edge(app, proxies=Proxies("", ProxyUser()), guard=Guard(allowed="", is_open=True))


class Pages(Dashboard):
    """A dashboard that is loaded already."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(lambda: "")
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


# --- slow and endless: a connection that is held costs the attacker nothing --------------------


def test_a_head_that_never_ends_is_cut_off(shared_server: Listen) -> None:
    """A few thousand of them would take every connection that the process may have (slowloris)."""
    with shared_server().connect(HEAD) as connection:
        assert trickled(connection, b"X-a: b\r\n") == b""


@pytest.mark.parametrize("first", [b"", b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"], ids=["new", "kept alive"])
def test_a_connection_without_a_request_is_cut_off(shared_server: Listen, first: bytes) -> None:
    """Empty lines before a request are no request: they would keep it open for ever."""
    with shared_server().connect(first) as connection:
        # Read first: a server that closes while we still send takes what was not read along.
        assert not first or connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 200 " not in trickled(connection, b"\r\n")


def test_a_silent_connection_is_closed_in_silence(shared_server: Listen) -> None:
    """A 408 would be taken for the answer of the request that comes late."""
    with shared_server().connect() as connection:
        assert connection.recv(100) == b""


def test_the_service_is_served_with_these_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests here lower the times only."""
    monkeypatch.setattr(uvicorn.Config, "configure_logging", lambda self: None)  # not this process'
    settings = Settings(data_dir=tmp_path)
    app = create_app(settings)
    config = make_server(app, settings).config
    assert config.http is Connection
    assert MAX_HEAD_BYTES == 65_536
    assert isinstance(app.middleware_stack, Edge)
    assert config.app is app
    assert Connection.limits == TimeLimits()


def test_a_body_that_trickles_is_cut_off_and_leaves_nothing(listen: Listen, tmp_path: Path) -> None:
    """It would hold a connection, a place in memory and a scratch file for months."""
    server = listen()
    head = b"POST /datasets HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n"
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'

    def trickle(kind: bytes, begun: bytes) -> bytes:
        with server.connect(head + b"Content-Type: " + kind + b"\r\n\r\n" + begun) as connection:
            return trickled(connection, b" ")

    bodies = {b"application/json": b"[", b"multipart/form-data; boundary=b": form}
    with ThreadPoolExecutor(len(bodies)) as threads:
        for answer in threads.map(trickle, bodies, bodies.values()):
            assert answer.startswith(b"HTTP/1.1 408 ")
    wait_until(lambda: not list((tmp_path / "scratch").rglob("uploads/*")))


def test_a_body_that_nobody_waits_for_is_cut_off_too(shared_server: Listen) -> None:
    """After a 401 the rest of the body is thrown away: that must not go on for ever either."""
    head = b"GET /jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
    with shared_server(api_keys="read:r").connect(head) as connection:
        answer = trickled(connection, b" ")
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert answer.count(b"HTTP/1.1 ") == 1  # another would be taken for the next request's


def thin_line(server: Listening) -> socket.socket:
    """A connection whose kernel holds little of an answer."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(server.address)
    return connection


def with_large_answer(server: Listening) -> Listening:
    """Give the server an answer that fills all buffers on the way."""
    server.app.get("/large")(lambda: PlainTextResponse("x" * 200_000))
    return server


@pytest.mark.parametrize("last", [b"", b"Connection: close\r\n"], ids=["kept open", "closing"])
def test_who_does_not_read_the_answer_is_cut_off(listen: Listen, last: bytes) -> None:
    """It would keep every answer in the server's memory, for as long as it likes."""
    server = with_large_answer(listen())
    with thin_line(server) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n" + last + b"\r\n")
        held = server.server.server_state.connections
        wait_until(lambda: bool(held))
        wait_until(lambda: not held)


CHUNKED = (
    b"POST /keys HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
NEW_KEY = b'{"name": "mine", "scopes": ["admin"]}'
WHOLE = b"%x\r\n%s\r\n" % (len(NEW_KEY), NEW_KEY)


@pytest.mark.parametrize(
    ("begun", "more"),
    [
        (HEAD + b"X-a: ", b"a"),
        (CHUNKED + WHOLE + b"0\r\n", b"X-a: b\r\n"),
        (CHUNKED + WHOLE + b"0\r\nX-a: ", b"a"),
        (CHUNKED + b"1;", b"a"),
    ],
    ids=["header", "trailers", "trailer", "chunk extension"],
)
def test_a_header_without_an_end_does_not_fill_the_memory(
    shared_server: Listen, begun: bytes, more: bytes
) -> None:
    """The parser keeps a header until it has all of it, one behind a body too."""
    with shared_server(api_keys="admin:root").connect(begun) as connection:
        sent, piece = 0, more * (65_536 // len(more))
        try:
            while sent < 64 << 20:
                connection.sendall(piece)
                sent += len(piece)
            pytest.fail("64 MiB were taken")
        except OSError:
            pass
    assert sent < 16 << 20  # what the sockets hold in between


def test_requests_do_not_gather_behind_one_that_is_answered(shared_server: Listen) -> None:
    """100 MB of the shortest there are would take 7 GB, without a key."""
    server = shared_server(api_keys="admin:root")
    with server.connect() as connection, ThreadPoolExecutor(1) as threads:
        threads.submit(connection.sendall, b"GET /jobs HTTP/1.1\r\nHost: a\r\n\r\n" * 600)
        answer, running = b"", 0
        while piece := connection.recv(65_536):
            answer += piece
            running = max(running, len(server.server.server_state.tasks))
    assert answer.count(b"HTTP/1.1 401 ") == 600
    assert running <= 10  # a few whose end is being tidied up, of 600
    many = server.ask((HEAD + b"\r\n") * 300 + CLOSING)  # who sends some together is answered
    assert re.findall(rb"HTTP/1.1 (\d+)", many) == [b"200"] * 301


@pytest.mark.parametrize("trailers", [b"X-a: " + b"a" * 99_000, b"X-a: b\r\n" * 12_000], ids=["long", "many"])
def test_oversized_trailers_are_refused(shared_server: Listen, trailers: bytes) -> None:
    with shared_server().connect(CHUNKED + WHOLE + b"0\r\n") as connection:
        time.sleep(0.1)  # the body is there, and read
        connection.sendall(trailers)
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_trailer_is_no_header(shared_server: Listen) -> None:
    """What stands in front looks at headers alone: a key, an origin or an address would come past it."""
    server = shared_server(api_keys="admin:root")
    secret = b"Authorization: Bearer root\r\n"
    with server.connect(
        CHUNKED + WHOLE + b"0\r\n" + secret + b"X-API-Key: root\r\n\r\n" + CLOSING
    ) as connection:
        answer = rest(connection)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"401", b"200"]
    made = server.ask(
        CHUNKED.replace(b"\r\n\r\n", b"\r\n" + secret + b"Connection: close\r\n\r\n") + WHOLE + b"0\r\n\r\n"
    )
    assert made.startswith(b"HTTP/1.1 201 ")


@pytest.mark.parametrize("head", [b"X-a: " + b"a" * 80_000, b"X-a: b\r\n" * 10_000], ids=["long", "many"])
def test_oversized_headers_are_refused(shared_server: Listen, head: bytes) -> None:
    """Each would be parsed, copied and logged before anybody asks for a key."""
    server = shared_server()
    answer = server.ask(HEAD + head + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"code": "head-too-large"' in answer
    assert server.ask(HEAD + b"X-a: " + b"a" * 30_000 + b"\r\nConnection: close\r\n\r\n")[9:12] == b"200"


@pytest.mark.parametrize("pieces", [1, 10])
def test_an_oversized_request_line_is_refused(shared_server: Listen, pieces: int) -> None:
    server = shared_server()
    with server.connect() as connection:
        line = b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
        step = -(-len(line) // pieces)
        for start in range(0, len(line), step):
            with suppress(OSError):  # it may be closed by then
                connection.sendall(line[start : start + step])
        assert rest(connection).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "hosts",
    [
        [b"localhost]evil.com"],
        [b"a b"],
        [b"a", b"b"],
        [b"a@b"],
        [],
        [b"127.0.0.1:80:evil"],
        [b"127.0.0.1:evil"],
        [b"a<b>"],
        [b"a:800000"],
    ],
)
def test_a_request_without_one_well_formed_host_is_refused(shared_server: Listen, hosts: list[bytes]) -> None:
    lines = b"".join(b"Host: " + host + b"\r\n" for host in hosts)
    answer = shared_server().ask(b"GET /livez HTTP/1.1\r\n" + lines + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code": "bad-request"' in answer


@pytest.mark.parametrize("host", ["127.0.0.1:80:evil", "localhost:evil.com", "127.0.0.1:80@evil.com"])
def test_a_host_that_is_none_reaches_no_page_either(host: str) -> None:
    """The dashboard alone has the guard, and another server than ours."""

    async def pages(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("it got through")

    refused = TestClient(guarded(pages)).get("/", headers={"Host": host})
    assert (refused.status_code, refused.json()["code"]) == (400, "bad-request")


@pytest.mark.parametrize("host", [b"a", b"a:80", b"127.0.0.1:80", b"[::1]:80", b"my_host.local"])
def test_well_formed_hosts_are_accepted(shared_server: Listen, host: bytes) -> None:
    head = b"GET /livez HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
    assert shared_server().ask(head).startswith(b"HTTP/1.1 200 ")


def test_a_compressed_body_is_refused_instead_of_read_as_if_it_were_plain(shared_server: Listen) -> None:
    answer = shared_server().ask(
        b"POST /jobs/erm HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: 2\r\nConnection: close\r\n\r\n{}"
    )
    assert answer.startswith(b"HTTP/1.1 415 ")


def test_an_unknown_method_is_not_allowed(shared_server: Listen) -> None:
    asked = b"FOO /models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert shared_server().ask(asked)[9:12] == b"405"


def test_no_answer_is_shown_inside_a_page_of_another_site(shared_front: Front) -> None:
    assert shared_front.client.get("/docs").headers["X-Frame-Options"] == "DENY"


PREDICT = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: %d\r\n%s\r\n%s"


def test_beyond_its_bound_a_prediction_is_refused_at_once_and_the_connection_goes_on(listen: Listen) -> None:
    server = listen(predict_in_flight=1)
    admission = server.app.state.admission
    admission.in_flight = 1
    with server.connect() as connection:
        for path in (b"/predict?model=a", b"/saliency?model=a"):
            connection.sendall(PREDICT % (path, 9_000, b"", b"x" * 4_000))
            answer = b""
            while not answer.endswith(b"}"):  # before its body is there
                answer += connection.recv(65_536)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1\r\n" in head
            assert re.search(rb"x-request-id: [0-9a-f]{16}\b", head)
            problem = json.loads(body)
            assert (problem["type"], problem["status"]) == ("/problems/overloaded", 503)
            assert problem["instance"] == path.partition(b"?")[0].decode()
            connection.sendall(b"x" * 5_000)  # the rest, which nobody keeps
        connection.sendall(HEAD + b"\r\n")
        alive = b""
        while not alive.endswith(b"}"):  # head and body may come one after the other
            alive += connection.recv(65_536)
        assert alive.startswith(b"HTTP/1.1 200 ")
        admission.in_flight = 0
        connection.sendall(PREDICT % (b"/predict?model=a", 1, b"Connection: close\r\n", b"x"))
        assert b" 404 " in rest(connection)[:20]
    told = server.ask(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").decode()
    for route in ("/predict", "/saliency"):
        assert f'masktune_requests_total{{method="POST",route="{route}",status="503"}} 1.0' in told
    assert 'masktune_requests_total{method="POST",route="/predict",status="404"} 1.0' in told


CLOSE = b"Connection: close\r\n"
HUGE_HEAD = b"".join(b"X-%d: " % n + b"a" * 8_000 + b"\r\n" for n in range(9))


PLACES: dict[str, tuple[bytes, bytes | None]] = {
    "answered": (PREDICT % (b"/predict?model=a", 1, CLOSE, b"x"), b"404"),
    "refused": (PREDICT % (b"/predict?model=%20", 1, CLOSE, b"x"), b"422"),
    "body too large": (PREDICT % (b"/predict?model=a", 10**12, b"", b""), b"413"),
    "head too large": (PREDICT % (b"/predict", 1, HUGE_HEAD, b"x"), b""),
    "upgrade": (PREDICT % (b"/predict", 0, b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b""), b""),
    "pipelined": (
        2 * (PREDICT % (b"/predict?model=a", 1, b"", b"x")) + HEAD + b"Connection: close\r\n\r\n",
        b"404",
    ),
    "no port": (PREDICT % (b"http://a:99999/predict", 1, CLOSE, b"x"), b"404"),
    "whole address": (PREDICT % (b"http://a/predict?model=a", 1, CLOSE, b"x"), b"404"),
    "fragment": (PREDICT % (b"/livez#/predict", 1, CLOSE, b"x"), b"404"),
    "leaves": (PREDICT % (b"/predict?model=a", 9_000, b"", b"x"), None),
}


def test_a_place_comes_back_whatever_becomes_of_its_request(listen: Listen) -> None:
    server = listen(predict_in_flight=2)
    admission = server.app.state.admission
    for name, (request_, status) in PLACES.items():
        for _ in range(3):  # more than there are places
            if status is None:
                with server.connect(request_):
                    wait_until(lambda: admission.in_flight + admission.slow_bodies == 1)
            else:
                assert server.ask(request_)[9:12] == status or not status, name
            wait_until(lambda: admission.in_flight + admission.slow_bodies == 0)


def test_bodies_that_trickle_leave_their_places_to_others(listen: Listen) -> None:
    """One key would keep everybody else from predictions, by a few bytes a second for hours."""
    server = listen(predict_in_flight=1)
    admission = server.app.state.admission
    begun = PREDICT % (b"/predict?model=a", 20_000, CLOSE, b"x" * 10_000)
    with server.connect(begun) as slow:
        wait_until(lambda: (admission.in_flight, admission.slow_bodies) == (0, 1))
        assert server.ask(PREDICT % (b"/predict?model=a", 1, CLOSE, b"x"))[9:12] == b"404"
        wait_until(lambda: admission.in_flight == 0)
        refused = server.ask(begun)  # as many as have places may be slow
        assert refused[9:12] == b"503"
        assert re.search(rb"\r\nretry-after: [1-9]\d*\r\n", refused)
        slow.sendall(b"x" * 10_000)
        assert rest(slow)[9:12] == b"404"
    wait_until(lambda: (admission.in_flight, admission.slow_bodies) == (0, 0))


def test_who_answers_in_front_of_the_api_keeps_no_place(listen: Listen) -> None:
    """As the dashboard does for `/ui/predict`: 64 such requests, without a key, would end all predictions."""

    def wrapped(api: ASGIApp) -> ASGIApp:
        async def both(scope: Scope, receive: Receive, send: Send) -> None:
            front = scope["type"] == "http" and scope["path"] in ("/ui/predict", "/predict")
            await (PlainTextResponse("ours") if front else api)(scope, receive, send)

        return both

    server = listen(wrap=wrapped, predict_in_flight=1)
    admission = server.app.state.admission
    for path, status in ((b"/ui/predict", b"200"), (b"/predict", b"200"), (b"/jobs/predict", b"422")):
        assert server.ask(PREDICT % (path, 1, CLOSE, b"x"))[9:12] == status
        wait_until(lambda: admission.in_flight == 0)
    admission.in_flight = 1  # a job is no prediction, and is not told of its bound
    assert server.ask(PREDICT % (b"/jobs/predict", 1, CLOSE, b"x"))[9:12] == b"422"


def test_who_is_refused_has_no_more_time_than_others(listen: Listen) -> None:
    server = listen(predict_in_flight=1)
    server.app.state.admission.in_flight = 1
    with server.connect(PREDICT % (b"/predict", 9_000, b"", b"")) as connection:
        answer = trickled(connection, b"x")
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.count(b"HTTP/1.1") == 1  # it is closed without another answer
    closing = server.ask(PREDICT % (b"/predict", 0, b"Connection: close\r\n", b""))
    assert b"connection: close" in closing.lower()
    assert server.ask(b"POST /predict HTTP/1.0\r\nContent-Length: 0\r\n\r\n").startswith(b"HTTP/1.1 503 ")


def test_honest_clients_are_not_slow(listen: Listen, tmp_path: Path) -> None:
    """The limits must not hit a stream that waits for news, a pause within a body, or a kept connection."""
    server = listen()
    stream = (
        f"GET /jobs/{server.job()}/events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n".encode()
    )
    body = b'{"name": "d", "source": "builtin:digits"}'
    head = (
        b"POST /datasets HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    with server.connect(stream) as streaming, server.connect(head % len(body)) as paused:
        assert streaming.recv(65_536).startswith(b"HTTP/1.1 200 ")
        time.sleep(Impatient.limits.body * 0.4)
        paused.sendall(body)
        assert paused.recv(65_536).startswith(b"HTTP/1.1 202 ")
        time.sleep(Impatient.limits.head * 2)
        assert len(server.services.event_feed) == 1


def test_who_reads_slowly_gets_it_all(listen: Listen) -> None:
    """A download over a thin line is longer than any limit, and no attack."""
    with thin_line(with_large_answer(listen())) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        found, begun = b"", time.monotonic()
        while piece := connection.recv(4096):
            found += piece
            time.sleep(0.01)
    assert time.monotonic() - begun > Impatient.limits.answer
    assert found.partition(b"\r\n\r\n")[2] == b"x" * 200_000


def trickled(connection: socket.socket, piece: bytes) -> bytes:
    """What the server says, until it closes, to a client that sends this every 30 ms."""
    connection.settimeout(0.03)
    deadline, found = time.monotonic() + 20, b""
    while time.monotonic() < deadline:
        try:
            connection.sendall(piece)
            heard = connection.recv(65_536)
        except TimeoutError:
            continue
        except OSError:  # closed while we sent
            return found
        if not heard:
            return found
        found += heard
    raise AssertionError(f"still open after 20 s; it said {found!r}")


POSTED = b"POST /datasets HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("path", "kind", "settings", "status"),
    [
        ("/datasets", "application/json", {"max_body_bytes": 1 << 20}, 413),
        ("/datasets", "multipart/form-data; boundary=b", {"api_keys": "admin:root"}, 401),
        ("/predict?model=a", "image/png", {"predict_in_flight": 1}, 503),
    ],
)
def test_who_sends_before_it_reads_hears_why_it_is_refused(
    listen: Listen, path: str, kind: str, settings: dict[str, Any], status: int
) -> None:
    """Closed with unread bytes, a connection is reset, and the answer is lost on the way."""
    server = listen(**settings)
    server.app.state.admission.in_flight = 1
    url = "http://{}:{}".format(*server.address)
    headers = {"Content-Type": kind, "Host": "a"}
    for _ in range(3):
        asked = Request(url + path, data=bytes(8 << 20), headers=headers, method="POST")
        with pytest.raises(HTTPError) as refused:
            urlopen(asked, timeout=30)
        assert (refused.value.code, json.load(refused.value)["status"]) == (status, status)
    held = server.server.server_state.connections
    wait_until(lambda: not held)


@pytest.mark.parametrize("piece", [b"", b"x", b"x" * 65_536], ids=["silent", "trickles", "pours"])
def test_who_was_refused_cannot_hold_the_connection(shared_server: Listen, piece: bytes) -> None:
    """It is read from for a moment, so that its answer is not lost, and no longer."""
    server = shared_server(max_body_bytes=1 << 20)
    deadline = time.monotonic() + 30
    with server.connect(POSTED + b"Content-Length: %d\r\n\r\n" % 10**12) as connection:
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")
        held = server.server.server_state.connections
        while held:
            assert time.monotonic() < deadline
            try:
                connection.sendall(piece)
            except OSError:
                break
            time.sleep(0.01)
        wait_until(lambda: not held)


def test_nothing_behind_a_refusal_is_done(listen: Listen) -> None:
    """What follows on a connection that ends is no request: a proxy has sent it elsewhere."""
    server = listen(predict_in_flight=1)
    server.app.state.admission.in_flight = 1
    behind = POSTED + b"Content-Length: %d\r\n\r\n" % len(DIGITS) + DIGITS
    for apart in (False, True):
        with server.connect(
            PREDICT % (b"/predict", 1, CLOSE, b"x") + (b"" if apart else behind)
        ) as connection:
            answer = connection.recv(65_536) if apart else b""
            if apart:
                connection.sendall(behind)
            # What comes after the connection was closed is answered by a reset: nobody reads it.
            with suppress(ConnectionResetError) if apart else nullcontext():
                answer += rest(connection)
        assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"503"]
    listed = server.ask(b"GET /datasets HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b'"data":[]' in listed


# --- many: idle event streams ---------------------------------------------------------------------


def test_idle_event_streams_are_bounded(listen: Listen) -> None:
    """Thousands of them would take the process' connections from everybody else."""
    server = listen(max_event_streams=2)
    stream = f"GET /jobs/{server.job()}/events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n".encode()
    open_ = [server.connect(stream + b"\r\n") for _ in range(2)]
    assert all(connection.recv(65_536).startswith(b"HTTP/1.1 200 ") for connection in open_)
    wait_until(lambda: len(server.services.event_feed) == 2)
    refused = server.ask(stream + b"Connection: close\r\n\r\n")
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 5" in refused
    assert b"/problems/overloaded" in refused
    assert server.ask(HEAD + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    open_.pop().close()
    wait_until(lambda: len(server.services.event_feed) == 1)
    open_.append(server.connect(stream + b"\r\n"))
    assert open_[-1].recv(65_536).startswith(b"HTTP/1.1 200 ")
    for connection in open_:
        connection.close()


def test_who_left_keeps_no_stream_by_a_request_behind_it(listen: Listen) -> None:
    """It would keep the places of streams from everybody else, without a connection to show for it.

    Nothing is read behind the request in progress: the second heartbeat finds nobody there.
    """
    server = listen(max_event_streams=3)
    stream = (
        f"GET /jobs/{server.job()}/events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n".encode()
    )
    open_ = [server.connect(stream) for _ in range(3)]
    assert all(connection.recv(65_536).startswith(b"HTTP/1.1 200 ") for connection in open_)
    wait_until(lambda: len(server.services.event_feed) == 3)
    for connection in open_:
        connection.sendall(HEAD + b"\r\n")
        time.sleep(0.05)  # it has arrived
        connection.close()
    wait_until(lambda: not len(server.services.event_feed), seconds=40)


def test_those_who_wait_for_an_export_hold_up_nobody(listen: Listen) -> None:
    """One key that asks for graphs would take all threads and all connections of the database."""
    server = listen()
    url = "http://{}:{}".format(*server.address)
    graph = f"{url}/models/{server.model(None)}/download?format=onnx"
    client = httpx2.Client(timeout=120, limits=httpx2.Limits(max_connections=None))
    exports, finish = server.services.inference.exports, threading.Event()
    exports._thread.submit(finish.wait, 60)  # an export that goes on
    with client, ThreadPoolExecutor(60) as threads:
        asked = [threads.submit(client.get, graph) for _ in range(60)]
        wait_until(lambda: sum(one.done() for one in asked) == 60 - graphs.MOST_WAITING)
        refused = [one.result() for one in asked if one.done()]
        assert {(one.status_code, one.json()["type"]) for one in refused} == {(503, "/problems/overloaded")}
        assert all(int(one.headers["Retry-After"]) > 0 for one in refused)
        assert httpx2.get(f"{url}/models", timeout=60).status_code == 200
        server.server.handle_exit(signal.SIGTERM, None)
        wait_until(exports._stop.is_set)
        finish.set()
        ended = Counter(one.result().json()["type"] for one in asked)
        assert ended["/problems/unavailable"] == graphs.MOST_WAITING


# --- the end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [None, RuntimeError("closed while a thread uses it")], ids=["ends", "fails"]
)
def test_what_cannot_be_done_in_time_is_told_when_the_service_ends(
    listen: Listen, fault: Exception | None
) -> None:
    """A bare 500 says that the service is broken, and not that another replica would do it."""
    server, begun = listen(), threading.Event()

    @server.app.get("/slow")
    async def slow() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise fault or asyncio.CancelledError from None  # as a session of the database fails then

    server.server.config.timeout_graceful_shutdown = 0
    with server.connect(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n") as connection:
        assert begun.wait(30)
        server.server.handle_exit(signal.SIGTERM, None)
        head, _, body = rest(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert {b"connection: close", b"content-type: application/problem+json"} <= set(head.split(b"\r\n"))
    assert re.search(rb"\r\nretry-after: \d+\r\n", head)
    assert re.search(rb"\r\nx-request-id: [0-9a-f]{16}\b", head)
    problem = json.loads(body)
    assert (problem["type"], problem["instance"]) == ("/problems/unavailable", "/slow")
    assert server.app.state.services.metrics.inside == 0
