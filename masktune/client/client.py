"""The two clients. They differ only in how they wait."""

from __future__ import annotations

import os
import ssl
from types import TracebackType
from typing import Self

import httpx

from masktune.client.calls import call, get
from masktune.client.datasets import Datasets
from masktune.client.drivers import AsyncDriver, SyncDriver
from masktune.client.errors import NotSent
from masktune.client.jobs import Jobs
from masktune.client.keys import Audit, Keys
from masktune.client.models import Models
from masktune.client.predict import Predict, Saliency
from masktune.client.resource import D, Operation, Resource
from masktune.client.reviews import Reviews
from masktune.client.uploads import service_limits
from masktune.client.webhooks import Webhooks
from masktune.client.wire import Flow, Retry
from masktune.contract.deletion import Dependents
from masktune.contract.operations import Ready, Storage

DEFAULT_URL = "http://127.0.0.1:8000"
# The read timeout covers a cold model, which its first request loads. Streams send keep-alives more often.
TIMEOUT = httpx.Timeout(connect=5, read=60, write=60, pool=60)


def readiness() -> Flow[Ready]:
    """Check that each part of the service works. A 503 problem names the parts that do not."""
    return call(get("/readyz"), Ready)


def get_dependents(of: str) -> Flow[Dependents]:
    """Get what needs a data set, a job or a model, by id or alias, before it is deleted."""
    return call(get("/dependents", of=of), Dependents)


def get_storage() -> Flow[Storage]:
    """Get what fills the store, and what may go. Needs the scope admin."""
    return call(get("/storage"), Storage)


class _Resources(Resource[D]):
    """The operations of both clients."""

    def __init__(self, driver: D) -> None:
        super().__init__(driver)
        self.datasets: Datasets[D] = Datasets(driver)
        self.jobs: Jobs[D] = Jobs(driver)
        self.models: Models[D] = Models(driver)
        self.predict: Predict[D] = Predict(driver)
        self.saliency: Saliency[D] = Saliency(driver)
        self.reviews: Reviews[D] = Reviews(driver)
        self.keys: Keys[D] = Keys(driver)
        self.audit: Audit[D] = Audit(driver)
        self.webhooks: Webhooks[D] = Webhooks(driver)

    ready = Operation(readiness)
    limits = Operation(service_limits)
    dependents = Operation(get_dependents)
    storage = Operation(get_storage)


class Client(_Resources[SyncDriver]):
    """A blocking client. Use it in a `with` block, or call `close`.

    `key` is sent as a bearer token. A key that cannot be sent in a header, or an invalid `url`, raises
    `NotSent`. `ca_file`: see `authorities`. `transport` replaces the network, e.g. in tests.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        ca_file: str | None = None,
        timeout: httpx.Timeout | float = TIMEOUT,
        retry: Retry = Retry(),  # noqa: B008  # frozen
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        http = httpx.Client(
            base_url=_address(url),
            headers=_headers(key),
            timeout=timeout,
            transport=transport,
            verify=authorities(ca_file),
        )
        super().__init__(SyncDriver(http, retry))

    def close(self) -> None:
        self.driver.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Resources[AsyncDriver]):
    """The asyncio client: operations are awaited; lists and streams are iterated with `async for`."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        ca_file: str | None = None,
        timeout: httpx.Timeout | float = TIMEOUT,
        retry: Retry = Retry(),  # noqa: B008  # frozen
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        http = httpx.AsyncClient(
            base_url=_address(url),
            headers=_headers(key),
            timeout=timeout,
            transport=transport,
            verify=authorities(ca_file),
        )
        super().__init__(AsyncDriver(http, retry))

    async def aclose(self) -> None:
        await self.driver.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def authorities(ca_file: str | None = None) -> ssl.SSLContext | bool:
    """The certificate authorities that may vouch for an https address, for httpx's `verify`.

    Those in `ca_file` (PEM; default: the file that MASKTUNE_CA_FILE names) and no others; without a file,
    httpx's own. Raises `NotSent` if the file cannot be read or holds no certificate.
    """
    file = ca_file or os.environ.get("MASKTUNE_CA_FILE")
    if not file:
        return True
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:
        raise NotSent(f"MASKTUNE_CA_FILE: {file} holds no certificate: {error.strerror}") from error


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise NotSent(f"{url} is not an address: {error}") from error
    if address.scheme not in ("http", "https"):
        raise NotSent(f"{url} is not an address: it must begin with http:// or https://")
    if not address.host:
        raise NotSent(f"{url} is not an address: it has no host")
    return address


def _headers(key: str | None) -> dict[str, str]:
    if key and not (key.isascii() and key.isprintable() and key == key.rstrip()):
        raise NotSent("the key cannot be sent: it must be printable ASCII without a space at the end")
    headers = {"Accept": "application/json", "User-Agent": "masktune-client"}
    return headers | ({"Authorization": f"Bearer {key}"} if key else {})
