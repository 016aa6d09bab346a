"""The workflows: every action is pinned by a commit, no job has more rights than it says, and each command exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        yield from job["steps"]


def commands(path: Path) -> str:
    """All that a workflow runs, that of its matrix too."""
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    included = [entry["run"] for job in jobs for entry in job.get("strategy", {}).get("matrix", {}).get("include", []) if "run" in entry]
    return "\n".join([*included, *(step.get("run", "") for step in steps(path))])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_action_is_pinned_by_commit_and_says_which_version_that_is(path: Path) -> None:
    uses = [line.strip().removeprefix("- ") for line in path.read_text().splitlines() if re.match(r"\s*(- )?uses:", line)]
    assert uses
    for line in uses:
        assert re.fullmatch(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_may_only_read_but_where_a_job_says_more(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}
    for step in steps(path):
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_text_from_outside_is_never_put_into_a_script(path: Path) -> None:
    for step in steps(path):
        assert not re.search(r"\$\{\{\s*(github|inputs|steps)\.", step.get("run", "")), step


def test_every_make_target_that_a_workflow_runs_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wanted = {name for path in WORKFLOWS for name in re.findall(r"\bmake ([a-z0-9-]+)", commands(path))}
    assert {"check", "demo", "bench", "fuzz"} <= wanted <= targets


def test_release_builds_every_service_and_signs_by_digest() -> None:
    release = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    files = {str(path.relative_to(ROOT)) for path in ROOT.glob("services/*/*Dockerfile")}
    images = yaml.safe_load(release)["jobs"]["images"]["strategy"]["matrix"]["include"]
    assert {image["file"] for image in images} == files
    assert "sbom: true" in release
    assert release.count("cosign sign") == 2
    assert "@${{ steps.build.outputs.digest }}" in release
