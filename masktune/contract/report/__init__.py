"""A job's before/after report: one typed, versioned object, and the sentences that it is told in (`text`)."""

from masktune.contract.report.report import VERSION, Report

__all__ = ["VERSION", "Report"]
