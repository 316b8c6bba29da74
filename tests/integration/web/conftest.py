"""The dashboard of an API that is not running: each page says that nothing answers. One per process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from web.app import create_dashboard

NO_API = "http://127.0.0.1:9"
Browse = Callable[..., TestClient]


@pytest.fixture(scope="package")
def browse() -> Iterator[Browse]:
    """A function that returns a new browser of the dashboard, which is started once.

    As it starts, NiceGUI looks through all objects of the process: a quarter of a second where torch is.
    """
    with TestClient(create_dashboard(NO_API), "http://localhost") as started:

        def begin(**options: Any) -> TestClient:
            client = TestClient(started.app, "http://localhost", **options)
            client.portal = started.portal
            return client

        yield begin
