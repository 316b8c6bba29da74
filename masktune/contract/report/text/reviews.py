"""What a person said of the images that a report lists, in words."""

from __future__ import annotations

from datetime import UTC, datetime

from masktune.contract.report.review import ReportReview


def review_sentence(review: ReportReview) -> str:
    """Who confirmed the guess, or did not, when, and by how many images."""
    confirmed = "Confirmed" if review.gate == "open" else "Not confirmed"
    by = f" by {review.by}" if review.by else ""
    day = datetime.fromtimestamp(review.at, UTC)
    return (
        f"{confirmed}{by} on {day.day} {day:%B %Y}: {review.lacking} of {review.answered} images lack a "
        "pattern that the others of their class share."
    )
