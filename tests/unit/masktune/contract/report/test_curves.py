"""The curves of a report: drawn in the page's colours, with all that was measured."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from masktune.contract.report import Report
from masktune.contract.report.charts import svg
from masktune.contract.report.curves import reliability_chart, risk_chart
from masktune.contract.vocabulary import Arm
from tests.support.reports import evidence, report


def _classes(drawn: str) -> list[str]:
    return [element.get("class", "") for element in ET.fromstring(drawn).iter()]


def test_the_risk_of_each_model_has_its_colour_and_all_but_the_control_have_bounds() -> None:
    curves = Report.model_validate(evidence(report())).risk_coverage["test"]
    drawn = svg(risk_chart(curves))
    classes = _classes(drawn)
    assert {f"curve {arm}" for arm in curves} == {name for name in classes if name.startswith("curve")}
    assert [name for name in classes if name.startswith("band")] == ["band erm", "band masktune"]
    line = ET.fromstring(drawn).find("path[@class='curve masktune']")
    assert line is not None
    assert line.get("d", "").count("L") == len(curves[Arm.MASKTUNE].points) - 1


def test_a_reliability_diagram_has_a_dot_and_an_interval_for_each_bin() -> None:
    measured = Report.model_validate(report()).reliability["test"][Arm.ERM]
    assert measured is not None
    classes = _classes(svg(reliability_chart(Arm.ERM, measured)))
    assert classes.count("point erm") == classes.count("interval erm") == len(measured.bins) > 0
