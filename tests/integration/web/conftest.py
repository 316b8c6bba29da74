"""The dashboard of an API that is not running: each page says that nothing answers. One per process."""

from __future__ import annotations

import pytest
from fastapi import FastAPI

from web.app import create_dashboard

NO_API = "http://127.0.0.1:9"


@pytest.fixture(scope="package")
def dashboard() -> FastAPI:
    return create_dashboard(NO_API)
