"""Sends the messages of the outbox as Standard Webhooks has it: signed, at least once, again if they fail.

Every front does: a message is claimed in the database, so that of several one sends it.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx2
from prometheus_client import Counter
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.webhooks.destinations import Destinations
from core.errors import InvalidInput
from core.queries import webhooks
from core.session import Database
from core.tables import DeliveryRow, WebhookRow
from masktune.contract.base import rfc3339

logger = logging.getLogger(__name__)
T = TypeVar("T")

HOUR = 3600.0
WAITS = (5.0, 300.0, 1800.0, *(hours * HOUR for hours in (2, 5, 10, 14, 20, 24)))
"""Seconds before the second attempt, the third …; after the last the message is given up."""
MOST_LOOKUPS = 4
"""Names of hosts that are looked up at a time."""
MOST_READ = 64 << 10
"""Bytes that are read of an answer. Its head has some hundred, but any number of informational answers (1xx)
may come before it."""
_READ_AT_A_TIME = 4 << 10  # between two parts, the event loop serves requests
LONGEST_WAIT = 24 * HOUR  # that a receiver may ask for by `Retry-After`
_BUSY, _GONE = (429, 503), 410
_FAILURES: dict[type[Exception], str] = {
    httpx2.RemoteProtocolError: "the receiver sent no HTTP answer, or too long a one",
    httpx2.ReadError: "the connection broke off",
}
"""In our own words: those of the library have what the receiver sent, and it may be any service inside."""


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The signature of a message at this time, in seconds since 1970: `v1,` and base64 of HMAC-SHA256."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return "v1," + base64.b64encode(digest).decode()


def prepare(
    destinations: Destinations, webhook: WebhookRow, row: DeliveryRow
) -> tuple[httpx2.AsyncClient, httpx2.Request]:
    """The message as it is sent now, and a client for it alone: its connection is checked for this name, and
    the next message may be for another name at the same address.

    Raises `InvalidInput` if the webhook may not go there, or no longer.
    """
    url, connect_to = destinations.check(webhook.url)
    timestamp = rfc3339(datetime.fromtimestamp(row.created_at, UTC))
    message = {"type": row.type, "timestamp": timestamp, "data": row.data}
    body, now = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode(), int(time.time())
    secrets = [webhook.secret]
    if webhook.old_secret is not None and now < (webhook.old_secret_until or 0.0):
        secrets.append(webhook.old_secret)
    headers = {
        "Host": url.netloc.decode(),
        "Content-Type": "application/json",
        "User-Agent": "masktune",
        "webhook-id": row.id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(sign(secret, row.id, now, body) for secret in secrets),
    }
    # Whose certificate is expected, and what is called with the connection.
    extensions = {"sni_hostname": url.raw_host.decode(), "trace": bound_reading}
    verify = httpx2.create_ssl_context()  # with the authorities of SSL_CERT_FILE, if it is set
    # The sender has a timeout, for the whole of an attempt.
    http = httpx2.AsyncClient(verify=verify, trust_env=False, timeout=None)
    request = http.build_request("POST", connect_to, content=body, headers=headers, extensions=extensions)
    return http, request


async def bound_reading(event: str, info: dict[str, Any]) -> None:
    """Bound what is read of a connection: beyond `MOST_READ`, it is as if the receiver had hung up.
    For the extension `trace` of requests."""
    if event not in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
        return
    stream, left = info["return_value"], MOST_READ
    read = stream.read

    async def read_some(max_bytes: int, timeout: float | None = None) -> bytes:
        nonlocal left
        part: bytes = await read(min(max_bytes, _READ_AT_A_TIME), timeout) if left > 0 else b""
        left -= len(part)
        return part

    stream.read = read_some


@dataclass(frozen=True)
class Sender:
    """`attempts` counts them by their outcome: `delivered`, `failed` or `given_up`.
    `timeout` is in seconds, for all of an attempt from the host's name to the head of the answer, whose body
    is not read; `lookup_timeout` for the host's addresses alone."""

    database: Database
    destinations: Destinations
    attempts: Counter
    timeout: float = 15.0
    lookup_timeout: float = 5.0
    poll_seconds: float = 1.0
    _busy: set[str] = field(default_factory=set)
    """Ids of the webhooks that are being sent to: one that hangs delays no other."""
    _lookups: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(MOST_LOOKUPS, "webhook-lookups")
    )
    """Of their own: without an answer of the name server, each takes longer than anybody waits."""

    async def run(self) -> None:
        """Send until cancelled. Attempts that are cut short are made again, when their lease has ended."""
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs addresses, which may hold secrets
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    due = await asyncio.to_thread(self._due)
                except SQLAlchemyError as error:
                    logger.warning("the outbox could not be read and will be tried again: %s", error)
                    due = []
                for webhook_id in set(due) - self._busy:
                    self._busy.add(webhook_id)
                    tasks.create_task(self._send_all(webhook_id))
                await asyncio.sleep(self.poll_seconds)

    async def _send_all(self, webhook_id: str) -> None:
        """Send the webhook's messages that are due, one after the other."""
        try:
            while claimed := await self._query(lambda session: webhooks.claim(session, webhook_id)):
                await self._attempt(*claimed)
        except Exception:  # any error: a sender that stopped would silently lose messages
            logger.exception("webhook %s: its messages are tried again", webhook_id)
        finally:
            self._busy.discard(webhook_id)

    async def _attempt(self, webhook: WebhookRow, row: DeliveryRow) -> None:
        response, error = None, None
        try:
            async with asyncio.timeout(self.timeout):
                http, request = await self._prepare(webhook, row)
                async with http:
                    response = await http.send(request, stream=True)
                    await response.aclose()
        except InvalidInput as refusal:
            error = refusal.detail
        except TimeoutError as late:
            error = str(late) or f"no answer within {self.timeout:g} s"
        except httpx2.ConnectError as failure:
            error = f"no answer: {str(failure) or 'no connection'}"
        except Exception as failure:  # noqa: BLE001  # whatever it is, it counts as an attempt
            error = f"no answer: {_FAILURES.get(type(failure), type(failure).__name__)}"
        status = None if response is None else response.status_code
        if response is not None and not response.is_success:
            error = f"the answer was {status}" + (": redirects are not followed" * response.is_redirect)
        wait = _wait(row.attempts, response) if error else None
        self.attempts.labels("delivered" if not error else "failed" if wait else "given_up").inc()
        await self._query(
            lambda session: webhooks.settle(session, row, status=status, error=error, wait=wait)
        )

    async def _prepare(
        self, webhook: WebhookRow, row: DeliveryRow
    ) -> tuple[httpx2.AsyncClient, httpx2.Request]:
        loop = asyncio.get_running_loop()
        lookup = loop.run_in_executor(self._lookups, prepare, self.destinations, webhook, row)
        try:
            return await asyncio.wait_for(lookup, self.lookup_timeout)
        except TimeoutError:
            raise TimeoutError(f"no address within {self.lookup_timeout:g} s") from None

    def _due(self) -> list[str]:
        with self.database.read() as session:
            return webhooks.due(session)

    async def _query(self, query: Callable[[Session], T]) -> T:
        """Run it in a transaction, in a thread."""

        def run() -> T:
            with self.database.begin() as session:
                return query(session)

        return await asyncio.to_thread(run)


def _wait(attempts: int, response: httpx2.Response | None) -> float | None:
    """Seconds before the next attempt, with jitter, at least those that a busy receiver asks for; None after
    the last attempt."""
    status = None if response is None else response.status_code
    if attempts > len(WAITS) or status == _GONE:
        return None
    header = response.headers.get("Retry-After", "") if response is not None and status in _BUSY else ""
    least = min(float(header), LONGEST_WAIT) if header.isdecimal() else 0.0
    return max(WAITS[attempts - 1] * random.uniform(1.0, 1.1), least)  # noqa: S311  # nosec B311
