"""A job's before/after report: one typed, versioned object, and the sentences that it is told in (`text`)."""

from __future__ import annotations

from masktune.contract.report.report import Report
from masktune.contract.report.upgrade import VERSION, read_report, upgrade

__all__ = ["VERSION", "Report", "read_report", "upgrade"]
