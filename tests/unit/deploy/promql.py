"""What a PromQL expression asks for, and what the services expose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
from promql_parser import AggModifierType, MatchOp

from driftsonde.detector.metrics import DetectorMetrics
from driftsonde.notifier.metrics import NotifierMetrics
from driftsonde.retrainer.metrics import RetrainerMetrics

DEPLOY = Path(__file__).parents[3] / "deploy"
SCRAPED = frozenset({"job", "instance"})
"""Labels that Prometheus adds itself."""

_OWN = {"up": frozenset[str](), "ALERTS": frozenset({"alertname", "alertstate", "severity"})}
_SUFFIXES = ("_bucket", "_count", "_sum")


class Selected(NamedTuple):
    """A metric that is asked for, the labels it is selected by, and those of its values that are said exactly."""

    name: str
    labels: frozenset[str]
    exact: tuple[tuple[str, str], ...]


@cache
def exposed() -> Mapping[str, frozenset[str]]:
    """Return the labels of every metric of the three services, by the name of its series."""
    found = dict(_OWN)
    for service in (DetectorMetrics(), RetrainerMetrics(), NotifierMetrics([])):
        for metric in service.definitions:
            labels = frozenset(metric.labels)
            if metric.kind == "histogram":
                found |= {metric.name + suffix: labels | ({"le"} if suffix == "_bucket" else set()) for suffix in _SUFFIXES}
            else:
                found[metric.name] = labels
    return found


def selected(expression: str) -> list[Selected]:
    """Return what an expression selects.

    Raises:
        ValueError: if it is no PromQL.
    """
    found = []
    for node in _walk(promql_parser.parse(expression)):
        if isinstance(node, promql_parser.VectorSelector):
            matchers = node.matchers.matchers
            exact = tuple((matcher.name, matcher.value) for matcher in matchers if matcher.op == MatchOp.Equal)
            found.append(Selected(node.name or "", frozenset(matcher.name for matcher in matchers), exact))
    return found


def grouped(expression: str) -> set[str]:
    """Return the labels that an expression groups or joins by."""
    found: set[str] = set()
    for node in _walk(promql_parser.parse(expression)):
        modifier = getattr(node, "modifier", None)
        if isinstance(node, promql_parser.AggregateExpr) and modifier is not None and modifier.type == AggModifierType.By:
            found |= set(modifier.labels)
    return found


def mistakes(expression: str) -> list[str]:
    """Return what is asked for and does not exist."""
    found, known = [], set(SCRAPED)
    for each in selected(expression):
        if each.name not in exposed():
            found.append(f"there is no metric {each.name}")
            continue
        labels = exposed()[each.name]
        known |= labels
        found += [f"{each.name} has no label {label}" for label in each.labels - labels - SCRAPED]
    known |= {"service"} if "label_replace" in expression else set()
    return found + [f"nothing has the label {label}" for label in grouped(expression) - known]


def _walk(node: Any) -> Iterator[Any]:
    yield node
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        child = getattr(node, name, None)
        if child is not None and not isinstance(child, str):
            yield from _walk(child)
    for argument in getattr(node, "args", None) or ():
        yield from _walk(argument)
