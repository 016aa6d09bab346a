"""`driftsonde.yaml` is read in bounded time and memory, runs nothing, and says what is wrong without repeating the line."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from driftsonde.core.config import MAX_CONFIG_BYTES, Config, load_config
from driftsonde.core.errors import ConfigError

MONITOR = '{name: churn, drops: "s3://acme/in/", baseline: "s3://acme/base/"'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the configuration is."""
    return tmp_path / "driftsonde.yaml"


def read(path: Path, text: str) -> Config:
    """Read a configuration of this text."""
    path.write_text(text)
    return load_config(path)


def refused(path: Path, text: str) -> str:
    """Return why a text is refused."""
    with pytest.raises(ConfigError) as caught:
        read(path, text)
    return str(caught.value)


def laughs(levels: int, width: int) -> str:
    """Return a document that grows by `width` at each of `levels`."""
    lines = ["l0: &l0 lol"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(("levels", "width"), [(10, 9), (30, 2), (3, 2000)])
def test_billion_laughs_are_refused_in_little_memory(path: Path, levels: int, width: int) -> None:
    tracemalloc.start()
    try:
        message = refused(path, laughs(levels, width))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "with its aliases written out it is larger than 1,000,000 characters, line " in message
    assert peak < 60_000_000


def test_aliases_of_one_long_text_are_refused(path: Path) -> None:
    text = f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 20)}]"
    assert "with its aliases written out" in refused(path, text)


def test_alias_inside_what_it_stands_for_is_refused(path: Path) -> None:
    assert "the alias 'a' is part of what it stands for, line 1, column 15" in refused(path, "monitors: &a [*a]")


def test_few_aliases_and_merge_keys_are_fine(path: Path) -> None:
    config = read(
        path,
        f"monitors:\n- &one {MONITOR}, policy: &p {{alpha: 0.01}}}}\n- {{<<: *one, name: fraud}}\n- {{<<: *one, name: third, policy: *p}}",
    )
    assert [(monitor.name, monitor.policy.alpha) for monitor in config.monitors] == [("churn", 0.01), ("fraud", 0.01), ("third", 0.01)]


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system [touch {there}]",
        "!!python/object/new:os.system [touch {there}]",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/tuple [1]",
        "!<tag:yaml.org,2002:python/object/apply:subprocess.check_output> [[touch, {there}]]",
        "!include /etc/passwd",
        "!!java/x 1",
    ],
)
def test_tag_is_refused_and_nothing_is_run(path: Path, tmp_path: Path, tag: str) -> None:
    there = tmp_path / "there"
    message = refused(path, f"monitors: {tag.format(there=there)}")
    assert "could not determine a constructor for the tag" in message
    assert "line 1, column 11" in message
    assert not there.exists()


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 50_000], ids=["lists", "mappings", "dashes", "keys"]
)
def test_deep_nesting_is_a_configuration_error(path: Path, text: str) -> None:
    assert "is not YAML" in refused(path, text)


def test_file_over_a_megabyte_is_not_even_parsed(path: Path) -> None:
    assert "is larger than 1,000,000 bytes" in refused(path, "[" * (MAX_CONFIG_BYTES + 1))


@pytest.mark.parametrize(
    "text", ["é" * (MAX_CONFIG_BYTES // 2 + 1), "\U0001f600" * (MAX_CONFIG_BYTES // 4 + 1)], ids=["two bytes", "four bytes"]
)
def test_size_is_counted_in_bytes_not_characters(path: Path, text: str) -> None:
    assert "is larger than 1,000,000 bytes" in refused(path, f"#{text}")


def test_endless_file_is_read_no_further_than_the_limit() -> None:
    with pytest.raises(ConfigError, match="is larger than"):
        load_config(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("text", "key", "place"),
    [
        (f"monitors: [{MONITOR}}}]\nbudget: {{training_jobs_per_day: 1}}\nmonitors: []", "monitors", "line 3, column 1"),
        (f"monitors:\n- {MONITOR},\n   'name': fraud}}", "name", "line 3, column 4"),
        (f'monitors:\n- {MONITOR}, policy: {{alpha: 0.1, "alpha": 0.2}}}}', "alpha", "line 2, column "),
        (f"monitors:\n- &a {MONITOR}}}\n- {{<<: *a, <<: *a, name: b}}", "<<", "line 3, column 12"),
    ],
)
def test_key_given_twice_is_refused_with_its_place(path: Path, text: str, key: str, place: str) -> None:
    message = refused(path, text)
    assert f"the key {key!r} is given twice, {place}" in message


@pytest.mark.parametrize(
    "line",
    [
        "channels: {ops: {webhook: https://hooks.slack.com/services/CANARY",  # no end
        "- https://hooks.slack.com/services/CANARY: [",
        "x: 'https://hooks.slack.com/services/CANARY",
        "password: @CANARY",
        "\tCANARY: 1",
        "x: *CANARY https://hooks.example/CANARY ]",
        "https://u:p@hooks.example/CANARY: 1\nhttps://u:p@hooks.example/CANARY: 2",
    ],
)
def test_mistake_is_told_without_the_line_it_is_in(path: Path, line: str) -> None:
    message = refused(path, line).replace("undefined alias 'CANARY'", "")  # the name of an anchor is no secret
    assert "CANARY" not in message
