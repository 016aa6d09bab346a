"""The database that the stack makes: what its services are told, and that a password beside the URL is one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from driftsonde.core.store.engine import Database

from .conftest import network
from .support import ACCOUNT, REGION, SERVICES, Deployed, aws


@pytest.mark.parametrize("kind", ["rds", "aurora"])
def test_services_are_told_where_the_database_is(kind: str, emulator: str, tmp_path: Path) -> None:
    config = aws("secretsmanager", emulator).create_secret(Name=f"config-{kind}", SecretString="monitors: []")["ARN"]
    given = {
        **network(emulator), "ImageRegistry": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com", "ImageTag": "1", "ConfigSecret": config,
        "NewBucket": f"acme-{kind}", "ReadPaths": f"acme-{kind}/*", "OutputPath": f"acme-{kind}/out/", "Database": kind,
        "DetectorMinTasks": "1", "DetectorMaxTasks": "1",
    }  # fmt: skip
    stack = Deployed(emulator, given, f"drift-{kind}")
    secret = stack.client("secretsmanager").get_secret_value(SecretId=stack.resources["DatabasePassword"])["SecretString"]
    for service in SERVICES:
        found = stack.environment(service)
        url = make_url(found["DRIFTSONDE_DATABASE_URL"])
        assert (url.username, url.password, url.database) == ("driftsonde", None, "driftsonde")
        assert url.host
        assert dict(url.query) == {"sslmode": "require", "options": f"-csearch_path={service}"}
        assert found["PGPASSWORD"] == json.loads(secret)["password"]
        assert len(found["PGPASSWORD"]) == 40


def test_password_beside_the_url_is_used(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "beside")
    database = Database(make_url(postgres_url).set(password=None).render_as_string(hide_password=False))
    with database.read() as connection:
        assert connection.connection.dbapi_connection.info.password == "beside"  # type: ignore[union-attr]  # psycopg's
    database.close()
