"""The two clients. They differ only in how they wait."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Self

import httpx2

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
from masktune.client.transfers import service_limits
from masktune.client.webhooks import Webhooks
from masktune.client.wire import Flow, Retry
from masktune.contract.deletion import Dependents
from masktune.contract.operations import Ready, Storage
from masktune.environment import CA_FILE, DEFAULT_URL, KEY, URL, setting

TIMEOUT = 60.0
"""Seconds: it covers a cold model, which its first request loads. Streams send keep-alives more often."""


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

    @classmethod
    def over(cls, driver: D) -> Self:
        """The client of this driver, whose connections it may share with others."""
        client = cls.__new__(cls)
        _Resources.__init__(client, driver)
        return client

    ready = Operation(readiness)
    limits = Operation(service_limits)
    dependents = Operation(get_dependents)
    storage = Operation(get_storage)


class Client(_Resources[SyncDriver]):
    """A blocking client. Use it in a `with` block, or call `close`.

    Without `url` or `key` it takes those of MASKTUNE_URL and MASKTUNE_KEY, as the command does; `key=""` is
    none. The key is sent as a bearer token. One that cannot be sent in a header, or an invalid `url`, raises
    `NotSent`. `ca_file`: see `authorities`. `timeout`: seconds without a byte sent or received, of which a
    connection gets at most 5.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        ca_file: str | None = None,
        timeout: float = TIMEOUT,
        retry: Retry = Retry(),  # noqa: B008  # frozen
    ) -> None:
        http = httpx2.Client(
            base_url=_address(setting(url, URL, DEFAULT_URL)),
            headers=headers(setting(key, KEY)),
            timeout=timeouts(timeout),
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
        url: str | None = None,
        key: str | None = None,
        *,
        ca_file: str | None = None,
        timeout: float = TIMEOUT,
        retry: Retry = Retry(),  # noqa: B008  # frozen
    ) -> None:
        http = httpx2.AsyncClient(
            base_url=_address(setting(url, URL, DEFAULT_URL)),
            headers=headers(setting(key, KEY)),
            timeout=timeouts(timeout),
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
    """The certificate authorities that may vouch for an https address.

    Those in `ca_file` (PEM; default: the file that MASKTUNE_CA_FILE names) and no others; without a file,
    True: the system's. Raises `NotSent` if the file cannot be read or holds no certificate.
    """
    file = setting(ca_file, CA_FILE)
    if not file:
        return True
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:
        raise NotSent(f"{CA_FILE}: {file} holds no certificate: {error.strerror}") from error


def _address(url: str) -> httpx2.URL:
    try:
        address = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise NotSent(f"{url} is not an address: {error}") from error
    if address.scheme not in ("http", "https"):
        raise NotSent(f"{url} is not an address: it must begin with http:// or https://")
    if not address.host:
        raise NotSent(f"{url} is not an address: it has no host")
    return address


def timeouts(seconds: float = TIMEOUT) -> httpx2.Timeout:
    """How long a request may go without a byte, and how long it may take to connect."""
    return httpx2.Timeout(seconds, connect=min(seconds, 5.0))


def headers(key: str | None) -> dict[str, str]:
    """The headers of each request. Raises `NotSent` for a key that none can hold."""
    if key and not (key.isascii() and key.isprintable() and key == key.rstrip()):
        raise NotSent("the key cannot be sent: it must be printable ASCII without a space at the end")
    bearer = {"Authorization": f"Bearer {key}"} if key else {}
    return {"Accept": "application/json", "User-Agent": "masktune-client"} | bearer
