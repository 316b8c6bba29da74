"""Times as the API writes them."""

from __future__ import annotations

from datetime import UTC, datetime

from masktune.contract.base import rfc3339


def test_times_are_utc() -> None:
    assert rfc3339(datetime.fromtimestamp(0.5, UTC)) == "1970-01-01T00:00:00.500Z"
