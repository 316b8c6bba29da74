"""Where a sender goes: by the address that it has checked, to the host whose name the webhook has."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core.session import Database, db_now
from tests.integration.app.webhooks.outbox import add, change, deliveries, publish, sending, wait_for
from tests.support.receiver import Receiver, receiver
from tests.support.waits import PATIENCE, wait_until


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as receiving:
        yield receiving


def test_where_it_may_go_is_checked_at_each_attempt(database: Database, hook: Receiver) -> None:
    add(database, hook.url)
    publish(database)
    with sending(database, allowed=""):
        row = wait_for(database, lambda row: row.last_error)
    assert row.last_error is not None
    assert row.last_error.startswith("the host 127.0.0.1 is not public")
    assert (hook.messages, row.last_status) == ([], None)


def test_the_environments_proxies_are_not_used(
    database: Database, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        add(database, hook.url)
        publish(database)
        with sending(database):
            wait_for(database, lambda row: row.delivered_at)
        assert (len(hook.messages), proxy.messages) == (1, [])


def certificate(folder: Path, name: str) -> Path:
    """A file with a key, and a certificate of its own for this host."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    kind = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, kind, plain)
    file.write_bytes(pem + signed.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.mark.parametrize(("owner", "is_delivered"), [("hooks.test", True), ("other.test", False)])
def test_the_certificate_must_be_for_the_name_and_not_for_the_address(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str, is_delivered: bool
) -> None:
    file = certificate(tmp_path, owner)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with receiver(context) as hook:
        add(database, f"https://hooks.test:{hook.port}/hook")
        publish(database)
        with sending(database, allowed="hooks.test", resolve=lambda name: ["127.0.0.1"]):
            row = wait_for(database, lambda row: row.last_error or row.delivered_at)
        assert bool(row.delivered_at) == is_delivered
        hosts = [message.headers["host"] for message in hook.messages]
        assert hosts == [f"hooks.test:{hook.port}"] * is_delivered
    if not is_delivered:
        assert "CERTIFICATE_VERIFY_FAILED" in str(row.last_error)


def test_a_name_that_leads_elsewhere_later_is_not_followed(database: Database, hook: Receiver) -> None:
    answers = [["127.0.0.2"], ["127.0.0.1"]]  # the second is not allowed
    add(database, f"http://hooks.test:{hook.port}/hook")
    publish(database)
    with sending(database, allowed="127.0.0.2", resolve=lambda name: answers.pop(0)):
        wait_for(database, lambda row: row.last_error)
        change(database, next_attempt_at=db_now())
        wait_for(database, lambda row: "the host hooks.test is not public" in str(row.last_error))
    assert (hook.messages, answers) == ([], [])


def test_a_name_server_that_does_not_answer_holds_no_thread_of_other_work(database: Database) -> None:
    """The sender's own queries run where all short work of the process does."""
    ended = threading.Event()

    def look_up(name: str) -> list[str]:
        ended.wait(PATIENCE)
        return []

    for number in range(40):  # more than there are threads for such work, on any machine
        add(database, f"http://{number}.test/hook")
    publish(database)
    with sending(database, lookup_timeout=0.1, resolve=look_up):
        try:
            wait_until(lambda: all(row.last_error for row in deliveries(database)))
        finally:
            ended.set()
    assert {row.last_error for row in deliveries(database)} == {"no address within 0.1 s"}
