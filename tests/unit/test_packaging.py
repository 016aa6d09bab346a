"""What a clone must be: one version, one namespace, hashed locks that name no registry and pull in no torch."""

from __future__ import annotations

import re
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
