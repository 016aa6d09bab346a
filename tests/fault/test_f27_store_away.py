"""F27 The state store is away, or stands still.

Promised: work waits, nothing is lost or doubled; no good drop becomes a dead letter.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from .conftest import MakeRig
from .harness import Rig, parquet, rows
from .proxies import TcpProxy

pytestmark = pytest.mark.slow


def test_store_that_is_away_is_waited_for(make_rig: MakeRig, database: str, tcp: Callable[[int | str], TcpProxy]) -> None:
    url = make_url(database)
    if url.get_backend_name() == "sqlite":
        pytest.skip("a file is not away; it is locked, below")
    socket_folder = url.query.get("host")
    wire = tcp(f"{socket_folder}/.s.PGSQL.{url.port or 5432}" if socket_folder else url.port or 5432)
    reached = url.set(host="127.0.0.1", port=wire.port, query={}).render_as_string(hide_password=False)
    rig = make_rig(environment={"DRIFTSONDE_DATABASE_URL": reached}).start()
    rig.drop("before.parquet", parquet(rows(1)))
    rig.settled()
    wire.cut()
    for number in range(10):
        rig.drop(f"{number}.parquet", parquet(rows(number)))
    rig.until(lambda: "message released" in rig.log(), "work that waits")
    wire.restore()
    _comes_to_rest(rig)


def test_locked_file_is_waited_for(make_rig: MakeRig, database: str, tmp_path: Path) -> None:
    if not database.startswith("sqlite"):
        pytest.skip("only a file is locked as a whole")
    rig = make_rig().start()
    rig.drop("before.parquet", parquet(rows(1)))
    rig.settled()
    with closing(sqlite3.connect(tmp_path / "detector.sqlite", isolation_level=None)) as other:
        other.execute("begin exclusive")
        for number in range(10):
            rig.drop(f"{number}.parquet", parquet(rows(number)))
        rig.until(lambda: "message released" in rig.log(), "work that waits", 120)
        other.execute("rollback")
    _comes_to_rest(rig)


def _comes_to_rest(rig: Rig) -> None:
    rig.until(lambda: len(rig.verdicts()) == 11, "every verdict", 120)
    rig.settled(120)
    assert rig.letters() == []
    rig.verify()
