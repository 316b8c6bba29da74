"""Every query of the dashboard and of the alerts is PromQL, and asks for metrics and labels that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.operations.metrics import Metrics
from masktune.contract.vocabulary import JobState, UsageKind

DEPLOY = Path(__file__).parents[3] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "masktune.json").read_text())
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
FROM_PROMETHEUS = {"instance", "job"}
"""Labels that a scrape adds."""


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> dict[str, str]:
    asked = {rule["alert"]: rule["expr"] for rule in RULES}
    for panel in panels():
        for target in panel["targets"]:
            asked[f"{panel['id']}-{panel['title']}-{target['refId']}"] = target["expr"]
    return asked


@pytest.fixture(scope="module")
def told() -> dict[str, set[str]]:
    """Every series that a front tells, with its labels: one that has served each kind of thing once."""
    metrics = Metrics("1.2.3")
    metrics.requests.labels("GET", "/jobs", "200").inc()
    metrics.seconds.labels("GET", "/jobs").observe(0.1)
    metrics.upload_bytes.inc()
    metrics.served("mdl_1", {UsageKind.ANSWERED: 1, UsageKind.PAIRS: 1})
    metrics.loaded.labels("torch").set(1)
    metrics.set_jobs({JobState.QUEUED: 1}, oldest_queued=1.0)
    metrics.set_drifted(1)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def nodes(expression: promql_parser.Expr) -> Iterator[Any]:
    """The expression and all that it is made of."""
    yield expression
    for name in dir(expression):
        value = getattr(expression, name)
        for one in value if isinstance(value, list) else [value]:
            if not name.startswith("_") and isinstance(one, promql_parser.Expr):
                yield from nodes(one)


def parsed(query: str) -> promql_parser.Expr:
    return promql_parser.parse(query.replace("$__rate_interval", "5m").replace("$instance", ".*"))


@pytest.mark.parametrize("query", queries().values(), ids=queries())
def test_a_query_asks_for_what_is_told(query: str, told: dict[str, set[str]]) -> None:
    selectors = [node for node in nodes(parsed(query)) if isinstance(node, promql_parser.VectorSelector)]
    assert selectors
    for selector in selectors:
        assert selector.name is not None
        assert selector.name in told
        labels = {matcher.name for matcher in selector.matchers.matchers}
        assert labels <= told[selector.name] | FROM_PROMETHEUS


@pytest.mark.parametrize("query", queries().values(), ids=queries())
def test_a_query_groups_by_labels_that_are_there(query: str, told: dict[str, set[str]]) -> None:
    every = set().union(*told.values()) | FROM_PROMETHEUS | {"class"}  # the one that `label_replace` makes
    for labels in re.findall(r"\bby \(([^)]*)\)", query):
        assert {label.strip() for label in labels.split(",")} <= every


def test_the_states_and_outcomes_that_are_asked_for_exist() -> None:
    words = {state.value for state in JobState} | {what.value for what in UsageKind}
    asked = re.findall(r'(?:state|outcome)=~?"([^"]*)"', " ".join(queries().values()))
    assert {word for words in asked for word in words.split("|")} <= words
    assert asked


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    names = {family.name for family in Metrics().registry.collect()}
    assert {name for name in names if name.startswith("masktune_") and name not in shown} == set()


def test_names_keep_to_the_conventions() -> None:
    metrics = Metrics()
    for family in text_string_to_metric_families(metrics.render().decode()):
        if family.name.startswith("masktune_"):
            assert family.documentation
            assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent)(_|$)", family.name)
            assert family.type != "counter" or all(
                sample.name.endswith(("_total", "_created")) for sample in family.samples
            )
            assert family.type != "gauge" or not family.name.endswith("_total")


def test_the_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_every_alert_says_what_to_do() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_prometheus_reads_the_alerts_that_are_there() -> None:
    settings = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    for name in settings["rule_files"]:
        assert (DEPLOY / "prometheus" / name).is_file()
