"""Two hundred names that mean harm change no tag of the page, and each is shown as the text it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow as pa
import pytest

from driftsonde.core.text import clean
from unit.core.report.hostile import PAYLOADS
from unit.core.report.support import Page, answered, material, page_of

AT_ONCE = 20
HARMLESS = tuple(f"name {number}" for number in range(len(PAYLOADS)))


@cache
def columns(count: int, shift: int) -> tuple[list[int], ...]:
    """Return numbers of categories, whose shares fall off, the same in each column."""
    random = np.random.default_rng(shift)
    shares = np.arange(12, 0, -1.0)
    return tuple(random.choice(12, count, p=np.roll(shares, shift) / shares.sum()).tolist() for _ in range(AT_ONCE))


def page_with(names: Sequence[str]) -> str:
    """Return the page of columns, categories, keys, models, reasons with these names; all columns drift."""

    def table(count: int, shift: int) -> pa.Table:
        given = zip(names, columns(count, shift), strict=True)
        return pa.table({name: [names[value] for value in values] for name, values in given})

    return page_of(
        material(table(600, 0), [table(300, 6)], key=f"in/{names[0].replace('{', '(').replace('}', ')')}{{}}", after=answered(names[1]))
    )


def test_there_are_two_hundred_payloads() -> None:
    assert len(set(PAYLOADS)) == 200
    assert sum("<" in payload for payload in PAYLOADS) > 150


@pytest.mark.parametrize("first", range(0, len(PAYLOADS), AT_ONCE))
def test_hostile_names_change_no_tag_and_are_shown(first: int) -> None:
    names, plain = PAYLOADS[first : first + AT_ONCE], HARMLESS[first : first + AT_ONCE]
    page, harmless = page_with(names), page_with(plain)
    found = Page(page)
    assert sorted(found.shape) == sorted(Page(harmless).shape)
    assert len(re.findall("<article", page)) == AT_ONCE
    assert {clean(name).strip() for name in names} <= {text.strip() for text in found.texts}
    assert not {name for name, _ in found.attributes if name.startswith("on") or name in ("src", "href", "action")}
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(drawing)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\ufeff]", page)
