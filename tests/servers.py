"""Real servers that tests and measurements stand on: an emulator of AWS, and a PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from driftsonde.core.local.stack import free_port

_START_SECONDS = 20.0


@contextmanager
def running_postgres(*, durable: bool) -> Iterator[str]:
    """Run PostgreSQL; yields its URL.

    Args:
        durable: whether it waits for the disk. Nobody pulls the plug in a test, and without that it takes half the time.
    """
    with warnings.catch_warnings():  # platformdirs warns where no XDG_RUNTIME_DIR is set
        warnings.simplefilter("ignore")
        from pgserver.postgres_server import get_server
    # Not below pytest's folder, which is private: as root pgserver runs PostgreSQL as another user.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o777)
        server = get_server(folder)
        if not durable:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                server.psql(f"alter system set {setting} = off")
            server.psql("select pg_reload_conf()")
        yield str(server.get_uri())
        server.cleanup()


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """Create a database on a running PostgreSQL, and drop it at the end; yields its URL."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    address = make_url(server).set(drivername="postgresql+psycopg")
    engine = create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"create database {name}"))
    yield address.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"drop database {name} with (force)"))
    engine.dispose()


@contextmanager
def running_emulator() -> Iterator[tuple[str, int]]:
    """Run ministack; yields its endpoint and process id.

    Raises:
        FileNotFoundError: if it is not installed.
    """
    beside = Path(__file__).parents[1] / ".tools" / "ministack" / "bin" / "ministack"
    binary = os.environ.get("DRIFTSONDE_MINISTACK") or (str(beside) if beside.exists() else shutil.which("ministack"))
    if not binary:
        raise FileNotFoundError("ministack is not installed; `make setup` installs it")
    endpoint = f"http://127.0.0.1:{free_port()}"
    env = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": endpoint.rpartition(":")[2]}
    with subprocess.Popen([binary], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _wait(endpoint, process)
        yield endpoint, process.pid
        process.terminate()


def _wait(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        try:
            urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=1).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"{endpoint} did not answer")
