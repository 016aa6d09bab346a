"""What a clone must be: one version, one namespace, hashed locks that name no registry and pull in no torch."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEMBERS = ("shared", "services/detector", "services/retrainer", "services/notifier")
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def project(member: str) -> dict[str, object]:
    return tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]  # type: ignore[no-any-return]  # TOML


def test_all_distributions_have_the_same_version() -> None:
    assert len({project(member)["version"] for member in MEMBERS}) == 1


def test_services_pin_the_core_of_their_version() -> None:
    version = project("shared")["version"]
    for member in MEMBERS[1:]:
        dependencies = project(member)["dependencies"]
        assert isinstance(dependencies, list)
        assert any(re.fullmatch(rf"driftsonde-core(\[tables\])?=={re.escape(str(version))}", item) for item in dependencies)


def test_namespace_has_no_init_that_would_break_siblings() -> None:
    assert list(ROOT.glob("*/src/driftsonde/__init__.py")) == []
    assert list(ROOT.glob("services/*/src/driftsonde/__init__.py")) == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_line_is_hashed_and_names_no_host(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    for requirement in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in requirement, requirement.splitlines()[0]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_no_lock_contains_torch_or_cuda(lock: Path) -> None:
    assert not re.search(r"^(torch|nvidia-|triton|cuda-)", lock.read_text(), re.MULTILINE)


def test_demo_does_without_the_sagemaker_sdk() -> None:
    assert not re.search(r"^sagemaker", (ROOT / "requirements/demo.txt").read_text(), re.MULTILINE)


def test_hot_path_needs_neither_pandas_nor_scipy_stats() -> None:
    """The detector's image has no pandas, and Arrow imports it wherever it finds it."""
    program = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name in ("pandas", "scipy.stats"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Without())
import numpy as np, pyarrow as pa
from driftsonde.core.api import Baseline, judge
kinds = [pa.float16(), pa.float32(), pa.float64(), pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(),
         pa.uint64(), pa.bool_(), pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.decimal128(25, 2), pa.date32(),
         pa.timestamp("us"), pa.null()]
whole = pa.array([None, *range(100)] * 3)
table = pa.table([pa.nulls(303) if kind == pa.null() else whole.cast(pa.int32()).cast(kind) if pa.types.is_date(kind) else
                  whole.cast(pa.string()).cast(kind) if pa.types.is_dictionary(kind) else whole.cast(kind) for kind in kinds],
                 names=[str(kind) for kind in kinds])
baseline = Baseline.build(table)
sketch = baseline.sketch()
sketch.update(table.to_batches()[0])
print(judge(baseline, sketch).word)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "ok"
