"""Which representation a client would rather have."""

from __future__ import annotations

import pytest

from app.http.negotiation import preferred

OFFERS = ("application/json", "text/html", "image/png")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html", "text/html"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", "text/html"),
        ("application/json, text/html;q=0.9", "application/json"),
        ("text/html;q=0.5, application/json;q=0.4", "text/html"),
        ("image/*", "image/png"),
        ("*/*, application/json;q=0.1", "text/html"),
        ("text/html;q=0", "application/json"),
        ("text/html;q=high", "application/json"),
        ("IMAGE/PNG; Q=1", "image/png"),
        ("application/xml", "application/json"),
        (",;,=", "application/json"),
    ],
)
def test_the_highest_rated_offer_wins(accept: str, chosen: str) -> None:
    assert preferred(accept, OFFERS) == chosen
