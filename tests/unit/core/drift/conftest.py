"""Fixtures of the drift tests: the inputs of the conformance file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

_HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def inputs() -> ModuleType:
    """The module `inputs.py` beside this file."""
    spec = importlib.util.spec_from_file_location("conformance_inputs", _HERE / "inputs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
