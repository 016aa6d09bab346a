"""What several suites share: a PostgreSQL and an emulator of AWS, each started once."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from servers import new_database, running_emulator, running_postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a running PostgreSQL."""
    with running_postgres(durable=False) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a PostgreSQL database of this test alone."""
    with new_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """The endpoint of a running ministack."""
    with running_emulator() as (endpoint, _):
        yield endpoint


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have what hostile names printed be text that one process can send to another."""
    report = yield
    report.sections = [(title, text.encode(errors="replace").decode()) for title, text in report.sections]
    return report
