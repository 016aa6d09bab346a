"""What is stored or sent is data: reading it runs nothing, lands nowhere else, and fails in one known way."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import random
import tarfile
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from driftsonde.core.local.sagemaker.objects import _unpack
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.sketch.codec import SketchError, decode_table, encode_table, pack, unpack
from driftsonde.core.sketch.table import TableSketch
from driftsonde.retrainer.steps import evaluate
from unit.detector.support import baseline_body

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path for folder in ("shared/src", "services") for path in (ROOT / folder).rglob("*.py"))
MUTATIONS = 3_000
# Modules that run what they read, and functions that do.
MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle", "code", "runpy", "imp"}
CALLS = {
    "eval", "exec", "compile", "__import__", "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "numpy.load", "np.load", "np.fromfile", "pd.read_pickle",
    "pa.deserialize", "pa.read_serialized", "os.system", "os.popen", "ctypes.CDLL",
}  # fmt: skip
RULES = {
    "S102",
    "S202",
    "S301",
    "S302",
    "S307",
    "S308",
    "S313",
    "S314",
    "S317",
    "S323",
    "S324",
    "S501",
    "S506",
    "S602",
    "S604",
    "S605",
    "S701",
}


def findings(source: str) -> list[str]:
    """Return what in a source would run or unpack what it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [node.module] if node.module.split(".")[0] in MODULES else []
        elif isinstance(node, ast.Call):
            name, keywords = ast.unparse(node.func), {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if name in CALLS or "allow_pickle" in keywords or keywords.get("shell") == "True":
                found.append(name)
            if name.endswith((".extractall", ".extract", ".unpack_archive")) and keywords.get("filter") != "'data'":
                found.append(name)
    return found


def test_shipped_code_has_nothing_that_runs_what_it_reads() -> None:
    assert len(SHIPPED) > 100
    assert {str(path.relative_to(ROOT)): found for path in SHIPPED if (found := findings(path.read_text()))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import marshal as m", "eval(x)", "exec(x)", "yaml.load(x)", "yaml.unsafe_load(x)", "np.load(x)", "np.loadtxt(x, allow_pickle=True)",
        "subprocess.run(x, shell=True)", "tar.extractall(x)", "tar.extract(x, filter='fully_trusted')", "os.system(x)", "__import__(x)",
    ],
)  # fmt: skip
def test_walk_finds_what_it_looks_for(source: str) -> None:
    assert findings(source)


def test_linter_refuses_them_too() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert set(lint["select"]) >= RULES
    assert not [rule for rule in lint["ignore"] if rule.startswith("S") and not rule.startswith("SIM")]
    assert [pattern for pattern, rules in lint["per-file-ignores"].items() if "S" in rules] == ["tests/**"]


def test_imports_by_name_come_from_closed_lists() -> None:
    """`import_module` of a name that came with data would run it: every call has a constant, or a module of one of our services."""
    calls = {
        (path.name, ast.unparse(node.args[-1]))
        for path in SHIPPED
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and {"import_module", "service_module"} & set(map(ast.unparse, (node.func, *node.args)))
    }
    assert calls <= {
        ("app.py", "'scipy.special'"), ("__init__.py", "f'driftsonde.{service}.{module}'"), ("__init__.py", "'__main__'"), ("replay.py", "'again'"), ("notify.py", "'sample'"),
    }  # fmt: skip


def test_arrow_has_no_known_way_to_run_code() -> None:
    """CVE-2023-47248: before 14.0.1 an IPC or Parquet file could hold a pickle."""
    assert tuple(map(int, version("pyarrow").split(".")[:3])) >= (14, 0, 1)
    dependencies = tomllib.loads((ROOT / "shared/pyproject.toml").read_text())["project"]["optional-dependencies"]["tables"]
    floor = next(item for item in dependencies if item.startswith("pyarrow")).partition(">=")[2].partition(",")[0]
    assert tuple(map(int, floor.split("."))) >= (14, 0, 1)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return bytes with a few of them flipped, cut, doubled or replaced."""
    body = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(body) + 1)
        match chance.randrange(4):
            case 0 if body:
                body[place % len(body)] ^= 1 << chance.randrange(8)
            case 1:
                del body[place : place + chance.randint(1, 20)]
            case 2:
                body[place:place] = body[place : place + chance.randint(1, 20)]
            case _:
                body[place : place + 4] = chance.randbytes(chance.randint(0, 8))
    return bytes(body)


def sketch() -> tuple[FrozenBaseline, bytes]:
    """Return a baseline and a sketch over it."""
    baseline = FrozenBaseline.from_bytes(baseline_body())
    table = TableSketch.empty(baseline.layout)
    table.counts += 7
    table.new = frozenset({"column", "é"})
    return baseline, encode_table(table)


def test_mutated_sketch_is_refused_or_read_never_more() -> None:
    (baseline, data), chance = sketch(), random.Random(1)
    payload, refused = unpack(data), 0
    for turn in range(MUTATIONS):
        # Half of them with a checksum that is right, as somebody would write who wants to get further.
        bad = mutated(data, chance) if turn % 2 else pack(mutated(payload, chance))
        try:
            decode_table(bad, baseline.layout)
        except SketchError:
            refused += 1
    assert refused > MUTATIONS * 0.7


def test_mutated_baseline_is_refused_or_read_never_more() -> None:
    data, chance, refused = baseline_body(), random.Random(2), 0
    payload = unpack(data)
    for turn in range(MUTATIONS):
        bad = mutated(data, chance) if turn % 2 else pack(mutated(payload, chance))
        try:
            FrozenBaseline.from_bytes(bad)
        except SketchError:
            refused += 1
    assert refused > MUTATIONS * 0.7


@pytest.mark.parametrize("data", [b"", b"DSK", b"\x80\x04\x95", b"PK\x03\x04", b"\x1f\x8b", b"cos\nsystem\n(S'id'\ntR."], ids=repr)
def test_other_formats_are_no_sketches(data: bytes) -> None:
    baseline, _ = sketch()
    with pytest.raises(SketchError):
        decode_table(data, baseline.layout)
    with pytest.raises(SketchError):
        FrozenBaseline.from_bytes(data)


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", body: bytes = b"evil", mode: int = 0o644
) -> tuple[tarfile.TarInfo, bytes]:
    """Return a member of an archive."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    info.size = len(body) if kind == tarfile.REGTYPE else 0
    return info, body if kind == tarfile.REGTYPE else b""


EVIL = {
    "parent": [member("../evil")],
    "parents": [member("a/../../evil")],
    "absolute": [member("/tmp/driftsonde-evil")],
    "symlink": [member("link", tarfile.SYMTYPE, "../outside"), member("link/evil")],
    "absolute symlink": [member("link", tarfile.SYMTYPE, "/tmp"), member("link/driftsonde-evil")],
    "hard link": [member("link", tarfile.LNKTYPE, "../../../../../../etc/passwd")],
    "device": [member("dev", tarfile.CHRTYPE)],
    "block device": [member("dev", tarfile.BLKTYPE)],
    "pipe": [member("xgboost-model", tarfile.FIFOTYPE)],
}


def archive(members: list[tuple[tarfile.TarInfo, bytes]], path: Path) -> None:
    """Write a tar.gz."""
    with tarfile.open(path, "w:gz") as tar:
        for info, body in members:
            tar.addfile(info, io.BytesIO(body))


@pytest.fixture(params=EVIL)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder with an evil model.tar.gz; afterwards nothing may lie beside it."""
    mine = tmp_path / "around" / "inside"
    mine.mkdir(parents=True)
    archive(EVIL[request.param], mine / "model.tar.gz")
    yield mine
    outside = {path.name for path in tmp_path.rglob("*") if mine / "unpacked" not in path.parents}
    assert outside <= {"around", "inside", "model.tar.gz", "unpacked"}
    assert not Path("/tmp/driftsonde-evil").exists()


async def test_local_sagemaker_unpacks_nothing_outside(folder: Path) -> None:
    with contextlib.suppress(tarfile.FilterError):  # an absolute name is only made relative
        await asyncio.to_thread(_unpack, folder / "model.tar.gz", folder / "unpacked")


def test_evaluate_step_unpacks_nothing_outside(folder: Path) -> None:
    with pytest.raises((tarfile.FilterError, StopIteration)):
        evaluate._load(folder)


def test_set_uid_and_foreign_write_bits_are_taken_off(tmp_path: Path) -> None:
    archive([member("tool", mode=0o6777)], tmp_path / "model.tar.gz")
    _unpack(tmp_path / "model.tar.gz", tmp_path / "unpacked")
    assert (tmp_path / "unpacked" / "tool").stat().st_mode & 0o7777 == 0o755
