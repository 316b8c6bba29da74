"""The sentences of a report. Pages, terminal and programs place them; nobody words them again.

Every function is pure: from a report, or a section of it, to text in plain English. Shares are printed as
percentages, differences of shares as percentage points.
"""

from masktune.contract.report.text.answers import Answer, answers
from masktune.contract.report.text.certificates import (
    coverage_statement,
    needs_erm,
    not_certifiable,
    promise_name,
    set_text,
    sets_statement,
    uncalibrated,
    uncertified,
    uncertified_promises,
    uncertified_table,
)
from masktune.contract.report.text.drift import (
    drift_name,
    drift_statement,
    drift_warning,
    job_drift_statement,
)
from masktune.contract.report.text.evaluations import evaluation_statement
from masktune.contract.report.text.formats import percent, points, whole_percent
from masktune.contract.report.text.judged_job import judged_job_notes
from masktune.contract.report.text.names import verdict_title
from masktune.contract.report.text.next_steps import Step, next_steps
from masktune.contract.report.text.promise import promise_statement
from masktune.contract.report.text.verdict import Verdict, other_verdicts, verdict

__all__ = [
    "Answer",
    "Step",
    "Verdict",
    "answers",
    "coverage_statement",
    "drift_name",
    "drift_statement",
    "drift_warning",
    "evaluation_statement",
    "job_drift_statement",
    "judged_job_notes",
    "needs_erm",
    "next_steps",
    "not_certifiable",
    "other_verdicts",
    "percent",
    "points",
    "promise_name",
    "promise_statement",
    "set_text",
    "sets_statement",
    "uncalibrated",
    "uncertified",
    "uncertified_promises",
    "uncertified_table",
    "verdict",
    "verdict_title",
    "whole_percent",
]
