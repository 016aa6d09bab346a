"""What is changed, what is not, and that each change is one change."""

from __future__ import annotations

import ast
from pathlib import Path

from .mutations import mutants, mutated

SOURCE = '''"""Texts are left alone."""

def clamp(x: "int | None", low: int = 0) -> int:
    """So are these."""
    if x < low and not x:
        raise ValueError(f"{x + 1} is too small")
    return max(x - 1, low)
'''


def test_every_change_is_named_and_texts_stay_as_they_are() -> None:
    assert [mutant.key for mutant in mutants(Path("core/drift/clamp.py"), SOURCE)] == [
        f"drift/clamp.py clamp: {change}"
        for change in (
            "0 → 1",
            "x < low and (not x) → x < low or not x",
            "x < low and (not x) → x <= low and (not x)",
            "x < low and (not x) → x >= low and (not x)",
            "x < low and (not x) → x < low and x",
            "return max(x - 1, low) → return None",
            "max(x - 1, low) → min(x - 1, low)",
            "max(x - 1, low) → max(x + 1, low)",
            "x - 1 → x - 2",
        )
    ]


def test_each_number_gives_its_own_change() -> None:
    found = list(mutants(Path("core/drift/clamp.py"), SOURCE))
    texts = {ast.unparse(mutated(SOURCE, mutant.number)) for mutant in found}
    assert len(texts) == len(found)
    assert ast.unparse(ast.parse(SOURCE)) not in texts


def test_place_in_a_sample_does_not_depend_on_lines() -> None:
    path = Path("core/drift/clamp.py")
    first, again = list(mutants(path, SOURCE)), list(mutants(path, "\n\n" + SOURCE))
    assert [mutant.rank(1) for mutant in first] == [mutant.rank(1) for mutant in again]
    assert [mutant.rank(1) for mutant in first] != [mutant.rank(2) for mutant in first]
