"""Content negotiation: which of several representations a client prefers (RFC 9110, 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence


def preferred(accept: str, offers: Sequence[str]) -> str:
    """Return the offer that `Accept` rates highest; on a tie, or if none matches, the first."""
    rated = [(_quality(accept, offer), -place, offer) for place, offer in enumerate(offers)]
    return max(rated)[2]


def _quality(accept: str, offer: str) -> float:
    """Return the quality, 0..1, of the most specific range that covers the offer."""
    kind = offer.partition("/")[0]
    best, quality = 0, 0.0
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        specific = {offer: 3, f"{kind}/*": 2, "*/*": 1}.get(name, 0)
        if specific > best:
            best, quality = specific, _q(parameters)
    return quality


def _q(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, number = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(number)))
            except ValueError:
                return 0.0
    return 1.0
