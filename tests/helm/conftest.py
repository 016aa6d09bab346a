"""The chart, loaded once; what it renders, once for each value set."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from .support import VALUE_SETS, Manifest, copy_chart, objects, render, value_set


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart's folder, with stand-ins for what is not its own."""
    return copy_chart(tmp_path_factory.mktemp("chart"))


@pytest.fixture(scope="session")
def rendered(chart: Path) -> Callable[[str], list[Manifest]]:
    """What a value set renders to."""

    @cache
    def look(name: str) -> list[Manifest]:
        return objects(render(chart, value_set(name)))

    return look


@pytest.fixture(params=VALUE_SETS)
def name(request: pytest.FixtureRequest) -> str:
    """Each of the value sets."""
    chosen: str = request.param
    return chosen


@pytest.fixture
def manifests(rendered: Callable[[str], list[Manifest]], name: str) -> list[Manifest]:
    """What each of the value sets renders to."""
    return rendered(name)


@pytest.fixture
def update() -> bool:
    """Whether to write what is compared: `HELM_UPDATE=1 pytest tests/helm`."""
    return bool(os.environ.get("HELM_UPDATE"))
