"""What settings name by its place: a file, a variable, a text in a variable's JSON."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from driftsonde.core.config import load_config
from driftsonde.core.errors import ConfigError
from driftsonde.core.given import read_given


def test_variable_is_read_like_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("gr\u00fcn und blau")
    monkeypatch.setenv("TEXT", "gr\u00fcn und blau")
    monkeypatch.setenv("SECRETS", '{"slack": "gr\u00fcn und blau", "other": "x"}')
    for most in (5, 1000):
        expected = "gr\u00fcn und blau".encode()[:most]
        for place in (str(tmp_path / "file"), "env:TEXT", "env:SECRETS/slack"):
            assert read_given(Path(place), most) == expected


@pytest.mark.parametrize(
    ("held", "number", "says"),
    [
        (None, errno.ENOENT, "the variable is not set"),
        ("hunter2", errno.EINVAL, "the variable holds no JSON"),
        ("[" * 100_000, errno.EINVAL, "the variable holds no JSON"),
        ('["hunter2"]', errno.EINVAL, "has no such text"),
        ('{"slack": 5, "hunter2": "x"}', errno.EINVAL, "has no such text"),
    ],
)
def test_missing_text_names_no_content(held: str | None, number: int, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRETS", raising=False)
    if held is not None:
        monkeypatch.setenv("SECRETS", held)
    with pytest.raises(OSError, match=says) as caught:
        read_given(Path("env:SECRETS/slack"), 100)
    assert caught.value.errno == number
    assert "hunter2" not in str(caught.value)


def test_configuration_is_read_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXT", "monitors: [{name: churn, drops: s3://acme-ml/in/, baseline: s3://acme-ml/base/}]")
    assert load_config(Path("env:TEXT")).monitors[0].name == "churn"
    monkeypatch.setenv("TEXT", "monitors: 3")
    with pytest.raises(ConfigError, match=r"^env:TEXT: monitors"):
        load_config(Path("env:TEXT"))
    monkeypatch.delenv("TEXT")
    with pytest.raises(ConfigError, match="cannot read env:TEXT: the variable is not set"):
        load_config(Path("env:TEXT"))
