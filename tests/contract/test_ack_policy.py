"""FastStream's default policy loses a message whose handler raised: no subscriber may leave the policy to it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def subscriptions() -> Iterator[tuple[Path, ast.Call]]:
    """Every call of a method `subscriber` in the sources."""
    for path in [*ROOT.glob("shared/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "subscriber":
                yield path, node


def test_every_subscriber_names_manual_acknowledgement() -> None:
    found = list(subscriptions())
    assert found, "the bus subscribes somewhere"
    for path, call in found:
        policies = [ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == "ack_policy"]
        assert policies == ["AckPolicy.MANUAL"], f"{path}:{call.lineno}"
