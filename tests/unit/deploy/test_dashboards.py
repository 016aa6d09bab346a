"""The dashboards: what they ask for exists, and they can be read. Grafana itself cannot run here."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest

from .dashboards import NAMES, Asked, asked, dashboard, panels
from .promql import exposed, mistakes, selected
from .test_alerts import RUNBOOK

ASKED = list(asked())
WIDTH = 24


def area(panel: dict[str, Any]) -> set[tuple[int, int]]:
    """Return the cells of the grid that a panel covers."""
    at = panel["gridPos"]
    return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}


@pytest.mark.parametrize("query", ASKED, ids=[f"{each.dashboard}: {each.panel}" for each in ASKED])
def test_what_a_panel_asks_for_exists(query: Asked) -> None:
    text = query.filled("churn")
    assert "$" not in text
    assert mistakes(text) == []
    assert selected(text)


@pytest.mark.parametrize("name", NAMES)
def test_panels_do_not_overlap_and_leave_no_hole_at_the_left(name: str) -> None:
    every = dashboard(name)["panels"]
    assert all(not area(one) & area(other) for one, other in combinations(every, 2))
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= WIDTH for panel in every)
    rows = {y for panel in every for _, y in area(panel)}
    assert rows == set(range(max(rows) + 1))


@pytest.mark.parametrize("name", NAMES)
def test_panels_have_ids_units_thresholds_and_say_what_they_show(name: str) -> None:
    ids = [panel["id"] for panel in dashboard(name)["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels(name):
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"]
        assert defaults["thresholds"]["steps"][0]["value"] is None
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("name", NAMES)
def test_dashboards_lead_to_one_another_the_console_and_the_runbook(name: str) -> None:
    board = dashboard(name)
    assert board["uid"] == f"driftsonde-{name}"
    assert board["tags"] == ["driftsonde"]
    links = {link["title"]: link for link in board["links"]}
    assert links["driftsonde"]["tags"] == board["tags"]
    assert links["Console"]["url"] == "${console}"
    assert links["Runbook"]["url"].endswith("docs/runbook.md")
    assert RUNBOOK.exists()
    known = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", str(board)))
    assert used <= known | {"datasource"}


def test_one_monitor_is_chosen_by_its_label_and_its_history_is_marked() -> None:
    (variable,) = (each for each in dashboard("monitor")["templating"]["list"] if each["name"] == "monitor")
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]  # it matches
    assert label in exposed()[metric]
    marked = dashboard("monitor")["annotations"]["list"]
    assert {each["name"] for each in marked} >= {"Episodes", "Trainings", "Promotions"}
    assert all(each["useValueForTime"] == "on" and each["expr"].endswith("* 1000") for each in marked)  # Grafana counts milliseconds


def test_mistakes_in_queries_are_noticed() -> None:
    assert mistakes("driftsonde_detector_no_such_thing") == ["there is no metric driftsonde_detector_no_such_thing"]
    assert mistakes('driftsonde_detector_drops_total{kind="x"}') == ["driftsonde_detector_drops_total has no label kind"]
    assert mistakes("sum by (monitor) (driftsonde_detector_drops_total)") == ["nothing has the label monitor"]
    with pytest.raises(ValueError, match="unclosed"):
        mistakes("sum(")


def test_gauges_of_the_store_are_not_added_up_over_replicas() -> None:
    """Each replica tells the same of the store: a sum would count it once for each."""
    from driftsonde.detector.metrics import DetectorMetrics
    from driftsonde.retrainer.metrics import RetrainerMetrics

    stored = {metric.name for service in (DetectorMetrics(), RetrainerMetrics()) for metric in service.definitions if metric.stored}
    for query in ASKED:
        for name in stored & {each.name for each in selected(query.filled("churn"))}:
            assert re.search(rf"(max|count)( by \([^)]*\))? ?\((max[^(]*\()?{name}\b", query.query), (query, name)
