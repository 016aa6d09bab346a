"""Change the statistics a little, again and again, and see whether the unit tests notice: `make mutants`.

Every mutant runs in a fork of a process that has loaded everything but driftsonde: the tests that reach the changed lines, the
quickest first, until one fails. Properties get fewer examples than in `make test`, so that the rate is rather too low than too high.
No package does this here: mutmut takes sources from `src/` at the root only, and has no samples.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.machinery
import math
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from pathlib import Path
from types import CodeType
from typing import Any, Final

import coverage
import hypothesis
import pytest
from hypothesis import Phase

from .mutations import Mutant, mutants, mutated

_ROOT: Final = Path(__file__).parents[2]
_PACKAGES: Final = ("sketch", "drift")
_CORE: Final = Path("driftsonde/core")
_EQUIVALENT: Final = Path(__file__).with_name("equivalent.txt")
_EXAMPLES: Final = 40
_FORK: Final = multiprocessing.get_context("fork")


@dataclass(slots=True)
class Suite:
    """What a clean run of a package's tests tells: how long each takes, and the lines that it reaches."""

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[str, set[int]]] = field(default_factory=dict)
    status: int = 0

    def reaching(self, mutant: Mutant) -> list[str]:
        """Return the tests that reach a mutant, the quickest first; all for what runs on import.

        Those beside them in a file follow: a file's tests share results.
        """
        changed = set(range(mutant.line, mutant.end + 1))
        hit = {test for test, files in self.lines.items() if changed & files.get(str(mutant.path), set())}
        chosen = [test for test in self.seconds if test.split("::")[0] in {test.split("::")[0] for test in hit}]
        return sorted(chosen if mutant.function and hit else self.seconds, key=lambda test: (test not in hit, self.seconds[test]))


class _Watch:
    """A pytest plugin: takes the time and the lines of every test."""

    def __init__(self, sources: Path) -> None:
        self.suite = Suite()
        self._sources = sources
        self._coverage = coverage.Coverage(data_file=None, source=[str(sources)], config_file=False)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        _fewer_examples(items)
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._coverage.switch_context(item.nodeid)
        began = time.perf_counter()
        result = yield
        self.suite.seconds[item.nodeid] = time.perf_counter() - began
        return result

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        data = self._coverage.get_data()
        lines: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
        for file in data.measured_files():
            name = str(Path(file).relative_to(self._sources.resolve()))
            for line, tests in data.contexts_by_lineno(file).items():
                for test in tests:
                    lines[test][name].add(line)
        self.suite.lines = {test: dict(files) for test, files in lines.items() if test}


class _Choice:
    """A pytest plugin: runs some tests, in an order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._place = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((item for item in items if item.nodeid in self._place), key=lambda item: self._place[item.nodeid])
        _fewer_examples(items)


def _fewer_examples(items: Sequence[pytest.Item]) -> None:
    for item in items:
        test = getattr(item, "obj", None)
        chosen = getattr(test, "_hypothesis_internal_use_settings", None)
        if chosen is not None and chosen.max_examples > _EXAMPLES:
            setattr(test, "_hypothesis_internal_use_settings", hypothesis.settings(chosen, max_examples=_EXAMPLES))  # noqa: B010


def _pytest(package: str, sources: Path, plugin: object, log: str = os.devnull) -> int:
    """Run tests here, in a fork, against a copy of the sources."""
    silence = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os.chdir(sources.parent)
    sys.path.insert(0, str(sources))
    sys.dont_write_bytecode = True
    # Finding the smallest example of a failure takes most of a failure's time, and nobody reads it.
    hypothesis.settings.register_profile("mutants", phases=(Phase.explicit, Phase.reuse, Phase.generate), database=None)
    hypothesis.settings.load_profile("mutants")
    arguments = [
        "-x",
        "-q",
        "--assert=plain",
        "--tb=line",
        "-p",
        "no:cacheprovider",
        f"--rootdir={sources.parent}",
        f"tests/unit/core/{package}",
    ]
    return int(pytest.main(arguments, plugins=[plugin]))


def _watch(package: str, sources: Path, out: Queue[Suite]) -> None:
    plugin = _Watch(sources)
    plugin.suite.status = _pytest(package, sources, plugin, f"{sources.parent}/log")
    out.put(plugin.suite)


def _try(mutant: Mutant, sources: Path, source: str, tests: Sequence[str]) -> None:
    loader = importlib.machinery.SourceFileLoader
    real: Callable[[Any, str], CodeType | None] = loader.get_code
    file = sources / mutant.path
    code = compile(mutated(source, mutant.number), str(file), "exec")

    def get_code(self: importlib.machinery.SourceFileLoader, name: str) -> CodeType | None:
        return code if Path(self.path) == file else real(self, name)

    loader.get_code = get_code  # type: ignore[method-assign, assignment]
    os._exit(_pytest(mutant.path.parts[-2], sources, _Choice(tests)))


def _killed(mutant: Mutant, sources: Path, source: str, suite: Suite) -> str:
    """Return what noticed the mutant, or nothing."""
    tests = suite.reaching(mutant)
    process = _FORK.Process(target=_try, args=(mutant, sources, source, tests))
    process.start()
    process.join(5 + 3 * sum(suite.seconds[test] for test in tests))
    if process.exitcode is None:
        process.kill()
        process.join()
        return "time"
    return "" if process.exitcode == pytest.ExitCode.OK else "test"


def _warm_up() -> None:
    """Load what driftsonde needs, but not driftsonde: every fork loads its own, one module of it changed."""
    modules = [
        f"driftsonde.core.{package}.{path.stem}" for package in _PACKAGES for path in (_ROOT / "shared/src" / _CORE / package).glob("*.py")
    ]
    for name in ("scipy.special", "scipy.stats", "tests.conftest", "driftsonde.core.api", *modules):
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.split(".")[0] == "driftsonde" or name == "tests.conftest"]:
        del sys.modules[name]
    importlib.invalidate_caches()


def _interval(hits: int, of: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share."""
    z, share = 1.959964, hits / of
    middle, half = share + z * z / (2 * of), z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return (middle - half) / (1 + z * z / of), (middle + half) / (1 + z * z / of)


def _equivalent() -> set[str]:
    lines = _EQUIVALENT.read_text().splitlines() if _EQUIVALENT.exists() else []
    return {line for line in lines if " → " in line and not line.startswith((" ", "#"))}


def _choose(found: Sequence[Mutant], options: argparse.Namespace) -> list[Mutant]:
    some = [mutant for mutant in found if options.only in str(mutant.path)]
    if options.again:
        listed = options.again.read_text()
        some = [mutant for mutant in some if mutant.key in listed]
    return sorted(sorted(some, key=lambda mutant: mutant.rank(options.seed))[: options.sample or None], key=lambda m: (m.path, m.number))


def _clean(package: str, sources: Path) -> Suite:
    """Run a package's tests without a change."""
    out: Queue[Suite] = _FORK.Queue()
    process = _FORK.Process(target=_watch, args=(package, sources, out))
    process.start()
    suite = out.get(timeout=300)
    process.join()
    if suite.status != pytest.ExitCode.OK:
        sys.exit(f"{(sources.parent / 'log').read_text()[-2_000:]}\nthe tests of {package} fail without any mutant")
    return suite


def _snapshot(sources: Path) -> None:
    """Copy sources and tests, so that they may be edited while mutants run."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(_ROOT / "shared/src", sources, ignore=ignored)
    for package in _PACKAGES:
        shutil.copytree(_ROOT / "tests/unit/core" / package, sources.parent / "tests/unit/core" / package, ignore=ignored)
    for file in ("pyproject.toml", "tests/__init__.py", "tests/conftest.py"):
        shutil.copy(_ROOT / file, sources.parent / file)


def _run(chosen: Sequence[Mutant], sources: Path, texts: dict[Path, str]) -> dict[Mutant, str]:
    suites = {package: _clean(package, sources) for package in {mutant.path.parts[-2] for mutant in chosen}}
    results: dict[Mutant, str] = {}
    began = time.monotonic()
    for place, mutant in enumerate(chosen, 1):
        results[mutant] = _killed(mutant, sources, texts[mutant.path], suites[mutant.path.parts[-2]])
        if sys.stderr.isatty() or place % 25 == 0 or place == len(chosen):
            survived = sum(not result for result in results.values())
            spent = time.monotonic() - began
            print(
                f"  {place} of {len(chosen)}, {survived} survived, {spent:.0f} s",
                end="\r" if sys.stderr.isatty() else "\n",
                file=sys.stderr,
            )
    return results


def _report(results: dict[Mutant, str], found: int, equivalent: int, goal: float) -> bool:
    """Print survivors and rates; return whether enough were killed."""
    survivors = [mutant for mutant, result in results.items() if not result]
    print("\nsurvivors:" if survivors else "\nno survivors")
    for mutant in survivors:
        print(f"  shared/src/{mutant.path}:{mutant.line}\n    {mutant.key}")
    print("\nmodule                    killed  of")
    for path in sorted({mutant.path for mutant in results}):
        outcomes = [result for mutant, result in results.items() if mutant.path == path]
        print(f"  {'/'.join(path.parts[-2:]):22}  {sum(map(bool, outcomes)):6}  {len(outcomes):2}")
    killed, of = len(results) - len(survivors), len(results)
    low, high = _interval(killed, of)
    what = f"a sample of {of} out of {found} mutants" if of < found else f"all {of} mutants"
    print(f"\n{what} ({equivalent} known to change nothing are left out; see {_EQUIVALENT.relative_to(_ROOT)})")
    late = sum(result == "time" for result in results.values())
    print(
        f"killed: {killed} ({killed / of:.1%}; 95 % interval {low:.1%} to {high:.1%}), {late} of them by taking too long; goal: {goal:.0%}"
    )
    return killed / of >= goal


def main() -> int:
    """Return 0 if enough mutants were killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sample", type=int, default=250, help="how many mutants; 0: all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (default: %(default)s)")
    parser.add_argument("--only", default="", help="a part of a file's name, such as drift/ks")
    parser.add_argument("--goal", type=float, default=0.85, help="the share that must be killed (default: %(default)s)")
    parser.add_argument("--again", type=Path, help="an earlier output: only the survivors that it names")
    parser.add_argument("--list", action="store_true", help="list the mutants of the sample and stop")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder).resolve() / "src"
        _snapshot(sources)
        paths = [path.relative_to(sources) for package in _PACKAGES for path in sorted((sources / _CORE / package).glob("*.py"))]
        texts = {path: (sources / path).read_text() for path in paths}
        every = [mutant for path in paths for mutant in mutants(path, texts[path])]
        equivalent = _equivalent()
        for stale in sorted(equivalent - {mutant.key for mutant in every}):
            print(f"no longer a mutant, so remove it from {_EQUIVALENT.name}: {stale}", file=sys.stderr)
        found = [mutant for mutant in every if mutant.key not in equivalent]
        chosen = _choose(found, options)
        if options.list:
            print(*(f"{mutant.path.name}:{mutant.line} {mutant.key}" for mutant in chosen), sep="\n")
            return 0
        _warm_up()
        results = _run(chosen, sources, texts)
        return 0 if _report(results, len(found), len(every) - len(found), options.goal) else 1


if __name__ == "__main__":
    sys.exit(main())
