"""F23 Thousands of drops of one monitor at once; then bus and database are cut in the middle of a backlog.

Promised: drops of other monitors do not wait for all of them; nothing is lost or doubled, and the detector is ready 10 s after both are back.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest
import yaml
from sqlalchemy.engine import make_url

from .conftest import MakeRig
from .harness import Rig, parquet, rows
from .proxies import TcpProxy

BACKLOG = int(os.environ.get("DRIFTSONDE_FAULT_BACKLOG", "300"))
"""`make fault` asks for 10,000."""
HOT = min(BACKLOG, 2_000)
CUT_SECONDS = 30.0 if BACKLOG >= 10_000 else 5.0


def test_others_do_not_wait_for_a_hot_monitor(make_rig: MakeRig) -> None:
    rig = make_rig(replicas=1)
    base = f"s3://{rig.bucket}/base/"
    monitors = [{"name": name, "drops": f"s3://{rig.bucket}/in/{name}/", "baseline": base} for name in ("hot", "calm")]
    rig.config.write_text(yaml.safe_dump({"monitors": monitors}))
    rig.start()
    assert rig.terminate() == 0  # else drops are counted as fast as a test can send them
    body = parquet(rows(1))
    hot = [rig.put(f"hot/{number:05d}.parquet", body) for number in range(HOT)]
    rig.send(*hot)
    for number in range(5):
        rig.drop(f"calm/{number}.parquet", body)
    rig.start()
    rig.until(lambda: len(counted(rig, "calm")) == 5, "the calm monitor's drops", 600)
    share = len(counted(rig, "hot")) / HOT
    assert share < 0.6, f"{share:.0%} of the hot monitor's drops came first"
    rig.settled(1200)
    assert len(counted(rig, "hot")) == HOT
    assert rig.letters() == []
    rig.verify()


@pytest.mark.slow
def test_backlog_outlives_a_cut_of_bus_and_database(
    make_rig: MakeRig, database: str, tmp_path: Path, tcp: Callable[[int | str], TcpProxy]
) -> None:
    cut, reached = _sqlite(tmp_path) if database.startswith("sqlite") else _postgres(database, tcp)
    rig = make_rig(environment={"DRIFTSONDE_DATABASE_URL": reached or database}).start()
    body = parquet(rows(1))
    rig.send(*[rig.put(f"{number:05d}.parquet", body) for number in range(BACKLOG)])
    rig.until(lambda: len(counted(rig)) > BACKLOG // 10, "a beginning", 600)
    rig.kill_bus()
    with cut():
        time.sleep(CUT_SECONDS)
        assert rig.get("detector0", "/livez")[0] == 200
    rig.start_bus()
    for name in rig.ports:
        rig.until(lambda name=name: rig.get(name, "/readyz")[0] == 200, f"{name} ready again", 10)  # type: ignore[misc]  # bound now
    rig.settled(3600)
    assert rig.outcomes() == {"counted": BACKLOG}
    assert rig.letters() == []
    rig.verify()


def counted(rig: Rig, below: str = "") -> list[str]:
    """Return the keys that were counted."""
    return [key for (key,) in rig.query(f"select key from object where outcome = 'counted' and key like 'in/{below}%'")]


Cut = tuple[Callable[[], AbstractContextManager[None]], str]


def _sqlite(folder: Path) -> Cut:
    """Return what keeps a file from being written; a file cannot be away."""

    @contextmanager
    def locked() -> Iterator[None]:
        with closing(sqlite3.connect(folder / "detector.sqlite", isolation_level=None, timeout=60)) as other:
            other.execute("begin immediate")
            yield
            other.execute("rollback")

    return locked, ""


def _postgres(database: str, tcp: Callable[[int | str], TcpProxy]) -> Cut:
    """Return what cuts every connection, and the URL that leads over it."""
    url = make_url(database)
    folder = url.query.get("host")
    wire = tcp(f"{folder}/.s.PGSQL.{url.port or 5432}" if folder else url.port or 5432)

    @contextmanager
    def away() -> Iterator[None]:
        wire.cut()
        yield
        wire.restore()

    return away, url.set(host="127.0.0.1", port=wire.port, query={}).render_as_string(hide_password=False)
