"""What several suites share: a PostgreSQL and an emulator of AWS, each started once."""

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
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from driftsonde.core.local.stack import free_port


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a running PostgreSQL."""
    with warnings.catch_warnings():  # platformdirs warns where no XDG_RUNTIME_DIR is set
        warnings.simplefilter("ignore")
        from pgserver.postgres_server import get_server
    # Not below pytest's folder, which is private: as root pgserver runs PostgreSQL as another user.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o777)
        server = get_server(folder)
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # nobody pulls the plug here, and it halves the time
            server.psql(f"alter system set {setting} = off")
        server.psql("select pg_reload_conf()")
        yield str(server.get_uri())
        server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a PostgreSQL database of this test alone."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    server = make_url(postgres_server).set(drivername="postgresql+psycopg")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"create database {name}"))
    yield server.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"drop database {name} with (force)"))
    engine.dispose()


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """The endpoint of a running ministack."""
    beside = Path(__file__).parents[1] / ".tools" / "ministack" / "bin" / "ministack"
    binary = os.environ.get("DRIFTSONDE_MINISTACK") or (str(beside) if beside.exists() else shutil.which("ministack"))
    if not binary:
        pytest.fail("ministack is not installed; `make setup` installs it")
    endpoint = f"http://127.0.0.1:{free_port()}"
    env = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": endpoint.rpartition(":")[2]}
    with subprocess.Popen([binary], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _wait(endpoint, process)
        yield endpoint
        process.terminate()


def _wait(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        try:
            urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=1).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"{endpoint} did not answer")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have what hostile names printed be text that one process can send to another."""
    report = yield
    report.sections = [(title, text.encode(errors="replace").decode()) for title, text in report.sections]
    return report
