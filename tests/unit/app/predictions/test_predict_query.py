"""Which queries of `POST /predict` go past FastAPI's solver, and which it must have a word about."""

from __future__ import annotations

import pytest

from app.predictions.routes import parsed
from app.predictions.schemas import PredictQuery


def test_a_well_formed_query_is_what_fastapi_would_make_of_it() -> None:
    query = parsed(b"model=champion&max_risk=0.02&risk_confidence=.99&top_k=3&explain=true&score=minimum")
    assert query == PredictQuery(
        model="champion", max_risk=0.02, risk_confidence=0.99, top_k=3, explain=True, score="minimum"
    )
    assert parsed(b"model=a%2Db") == PredictQuery(model="a-b")
    assert parsed(b"model=a") is parsed(b"model=a")


@pytest.mark.parametrize(
    "query",
    [
        b"",
        b"model=",
        b"model=a&model=b",
        b"model=a&coverage=",
        b"model=a&coverage=2",
        b"model=a&coverage=nan",
        b"model=a&policy=coverage",
        b"model=a b",
        b"model=a%00",
        b"model=%ff",
        b"model=a&explain=perhaps",
        b"model=a&top_k=1.5",
        b"\xff=\xfe",
    ],
)
def test_everything_else_is_fastapis(query: bytes) -> None:
    assert parsed(query) is None
