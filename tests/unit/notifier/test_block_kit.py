"""Payloads against the limits that Slack documents for Block Kit and chat.postMessage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from driftsonde.core.events import MAX_CHECKS, DataUntrusted, Event
from driftsonde.core.ports import Occasion
from driftsonde.notifier.render import slack_payload

from .support import detected, event, rejected

HOSTILE: Final = {
    "plain": "age", "long": "x" * 3000, "entities": "<&>" * 300, "mentions": "<!channel> @here <@U012AB3CD> " * 20,
    "markup": "*b* _i_ ~s~ `c` <https://evil.example|ok>", "bidi": "abc\u202egpj.exe\u2066" * 30, "lines": "a\nb\r\nc\u2028" * 40,
    "emoji": ":rotating_light: \U0001f6a8" * 60, "wide": "漢" * 800,
}  # fmt: skip
TEXT_LIMITS: Final = {"header": 150, "section": 3000, "context": 3000, "field": 2000, "button": 75}


def violations(payload: dict[str, Any]) -> Iterator[str]:
    """Yield each documented limit that a payload breaks."""
    blocks = payload.get("blocks", [])
    if not 1 <= len(payload.get("text", "")) <= 40_000:
        yield f"text of {len(payload.get('text', ''))} characters"
    if not 1 <= len(blocks) <= 50:
        yield f"{len(blocks)} blocks"
    for block in blocks:
        yield from CHECKS.get(block["type"], _unknown)(block)
        if len(block.get("block_id", "")) > 255:
            yield "block_id over 255 characters"


def _unknown(block: dict[str, Any]) -> Iterator[str]:
    yield f"a block of type {block['type']}"


def _header(block: dict[str, Any]) -> Iterator[str]:
    if block["text"]["type"] != "plain_text":
        yield "a header that is not plain_text"
    yield from _text(block["text"], "header")


def _section(block: dict[str, Any]) -> Iterator[str]:
    if "text" not in block and not block.get("fields"):
        yield "a section with neither text nor fields"
    if "text" in block:
        yield from _text(block["text"], "section")
    if len(block.get("fields", [])) > 10:
        yield f"{len(block['fields'])} fields"
    for field in block.get("fields", []):
        yield from _text(field, "field")


def _context(block: dict[str, Any]) -> Iterator[str]:
    if not 1 <= len(block["elements"]) <= 10:
        yield f"{len(block['elements'])} elements of a context"
    for element in block["elements"]:
        yield from _text(element, "context")


def _divider(_block: dict[str, Any]) -> Iterator[str]:
    return iter(())


def _actions(block: dict[str, Any]) -> Iterator[str]:
    if not 1 <= len(block["elements"]) <= 25:
        yield f"{len(block['elements'])} elements of actions"
    for element in block["elements"]:
        yield from _text(element["text"], "button")
        if element["type"] != "button" or len(element.get("url", "")) > 3000:
            yield f"an element {element['type']} with a URL of {len(element.get('url', ''))} characters"


def _text(text: dict[str, Any], where: str) -> Iterator[str]:
    if not 1 <= len(text["text"]) <= TEXT_LIMITS[where]:
        yield f"{where} of {len(text['text'])} characters"
    if text["type"] not in ("plain_text", "mrkdwn"):
        yield f"{where} of type {text['type']}"
    if "emoji" in text and text["type"] != "plain_text":
        yield "emoji in a text that is not plain_text"


CHECKS: Final = {"header": _header, "section": _section, "context": _context, "divider": _divider, "actions": _actions}


def alarm(columns: int, name: str, *, untrusted: bool = False) -> Event:
    """Return an alarm of so many columns whose names contain `name`."""
    fact = detected(columns=[f"{number} {name}" for number in range(columns)], label=name, summary=f"{columns} columns: {name}")
    return event(DataUntrusted(**fact.model_dump(exclude={"drops", "trainable"})) if untrusted else fact)


@pytest.mark.parametrize("columns", [1, MAX_CHECKS, 500])
@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("occasion", [Occasion(), Occasion(reminder=99), Occasion(sample=True)], ids=["first", "reminder", "test"])
@pytest.mark.parametrize("untrusted", [False, True], ids=["drift", "untrusted"])
def test_payload_of_any_number_of_columns_is_valid(columns: int, name: str, occasion: Occasion, untrusted: bool) -> None:
    payload = slack_payload(alarm(columns, name, untrusted=untrusted), occasion)
    assert list(violations(payload)) == []


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_payload_of_a_rejected_drop_is_valid(name: str) -> None:
    assert list(violations(slack_payload(event(rejected(name, name))))) == []


def test_message_of_500_columns_shows_the_worst_and_counts_the_rest() -> None:
    body = str(slack_payload(alarm(500, "age")))
    assert "500 columns moved" in body
    assert all(f"• {number} age" in body for number in range(20))
    assert "Also moved (480 columns)" in body
    assert "What is done" in body


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"text": "x"}, "0 blocks"),
        ({"text": "x", "blocks": [{"type": "divider"}] * 51}, "51 blocks"),
        ({"text": "x" * 40_001, "blocks": [{"type": "divider"}]}, "text of 40001 characters"),
        ({"text": "x", "blocks": [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}]}, "header of 151 characters"),
        ({"text": "x", "blocks": [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}]}, "a header that is not plain_text"),
        ({"text": "x", "blocks": [{"type": "section", "text": {"type": "plain_text", "text": ""}}]}, "section of 0 characters"),
        ({"text": "x", "blocks": [{"type": "section", "text": {"type": "plain_text", "text": "x" * 3001}}]}, "section of 3001 characters"),
        ({"text": "x", "blocks": [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x"}] * 11}]}, "11 fields"),
        ({"text": "x", "blocks": [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2001}]}]}, "field of 2001 characters"),
        ({"text": "x", "blocks": [{"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 11}]}, "11 elements of a context"),
        ({"text": "x", "blocks": [{"type": "marquee"}]}, "a block of type marquee"),
    ],
)  # fmt: skip
def test_validator_finds_what_slack_would_refuse(payload: dict[str, Any], said: str) -> None:
    assert said in list(violations(payload))
