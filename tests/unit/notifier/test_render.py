"""What people read, and the limits of the other side."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftsonde.core.events import (
    ApprovalRequested,
    BaselineAdopted,
    BaselineRef,
    BatchFinished,
    DataUntrusted,
    DeploymentFinished,
    DriftDetected,
    Estimate,
    Event,
    Fact,
    ModelHeld,
    ModelPromoted,
    PlanRefused,
    PlanWaiting,
    Problem,
    Scores,
    TrainingFailed,
)
from driftsonde.notifier.render import TEXT_BUDGET, escape, plain_text, slack_payload, subject

from .support import NOON, detected, event, rejected, resolved

SCORES = Scores(metric="auc", direction="max", challenger=0.91, champion=0.88, margin=0.01, rows=2000)
PLAN: dict[str, Any] = {"monitor": "churn", "episode": 7, "plan": "p"}
COST = Estimate(seconds=1800, amount=1.5, currency="USD", at_most=False)
LINK = "https://retrain.example/approve/churn/7?until=1&by=ab"
ENDPOINT: dict[str, Any] = {"endpoint": "churn-live", "strategy": "canary", "model": "m"}
UNTRUSTED = DataUntrusted(**detected().model_dump(exclude={"drops", "trainable"}))
FACTS: list[tuple[Fact, list[str]]] = [
    (detected(), ["churn", "1 column moved", "age", "0.312", "12.0% → 31.0%", "2025-12-31 12:00 UTC", "baseline 3", "retrainer decides"]),
    (detected(trainable=False), ["nothing is trained", "Fix the data"]),
    (detected(trainable=False).model_copy(update={"problems": (Problem(kind="volume", text="9 rows"),)}), ["nothing is trained", "9 rows"]),
    (UNTRUSTED, ["Broken data", "age", "nothing is trained on this data"]),
    (resolved(), ["Resolved", "quiet again"]),
    (rejected("in/a b.csv"), ["s3://acme/in/a b.csv", "unreadable", "truncated", "dead letter"]),
    (PlanWaiting(**PLAN, reason="cooldown", until=NOON), ["waits", "cooldown", "2026-01-01 12:00 UTC"]),
    (
        ApprovalRequested(**PLAN, until=NOON, cost=COST),
        ["Train a new model?", "driftsonde approve churn/7", "about 1.50 USD", "12:00 UTC is a no"],
    ),
    (ApprovalRequested(**PLAN, until=NOON, link=LINK), [LINK]),
    (DeploymentFinished(**PLAN, **ENDPOINT, outcome="live"), ["Live", "churn-live", "canary"]),
    (DeploymentFinished(**PLAN, **ENDPOINT, outcome="rolled_back", reason="alarm p99"), ["Rolled back", "alarm p99", "former model"]),
    (PlanRefused(**PLAN, reason="untrusted data"), ["No retraining", "untrusted data", "champion stays"]),
    (TrainingFailed(**PLAN, job="ds-churn-train-1", reason="AlgorithmError"), ["ds-churn-train-1", "AlgorithmError"]),
    (ModelPromoted(**PLAN, model="m", package="arn:p", model_data="s3://a", scores=SCORES, drops=()), ["New champion", "0.91", "0.88"]),
    (ModelHeld(**PLAN, model="m", scores=SCORES.model_copy(update={"champion": None})), ["Champion stays", "no champion before"]),
    (BatchFinished(**PLAN, job="j", state="succeeded", output="s3://out/"), ["refreshed", "s3://out/"]),
    (BatchFinished(**PLAN, job="j", state="failed", output="s3://out/"), ["Predictions failed", "no reason given"]),
    (BaselineAdopted(monitor="churn", baseline=BaselineRef(version=1, digest="d", rows=1)), ["baseline.adopted: churn"]),
]
HOSTILE = [
    "../../etc/passwd", "a%00b", "line\nbreak\r\n", "\x1b[31mred\x1b[0m", "abc\u202egpj.exe", "<!channel> <!here> <@U123>", "@channel @HERE @everyone",
    "*bold* _it_ ~no~ `code`", "&lt;!channel&gt;", "<https://evil.example|click>", "\u2028\u2029", "zero\u200bwidth", "\ufffe\uffff", "&" * 5000, "é" * 5000,
]  # fmt: skip


def texts(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every text object of a payload's blocks."""
    blocks = payload["blocks"]
    elements = [element for block in blocks for element in block.get("elements", ())]
    return [block["text"] for block in blocks if "text" in block] + [e["text"] if e["type"] == "button" else e for e in elements]


def assert_within_limits(payload: dict[str, Any]) -> None:
    """Check what Slack checks."""
    blocks = payload["blocks"]
    assert len(blocks) <= 50
    assert 0 < len(payload["text"]) <= 3000
    for block in blocks:
        if block["type"] == "header":
            assert len(block["text"]["text"]) <= 150
        if block["type"] == "section":
            assert len(block["text"]["text"]) <= 3000
    assert all(text["type"] == "plain_text" and text["text"] for text in texts(payload))
    assert len(payload["text"]) + sum(len(text["text"]) for text in texts(payload)) <= TEXT_BUDGET


def assert_harmless(text: str) -> None:
    """Check that nothing in a text is markup, a mention, or invisible."""
    assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Cn") and c != "\n"]
    assert not set(text) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\u2028\u2029")


@pytest.mark.parametrize(("fact", "words"), FACTS)
def test_message_says_what_happened_and_what_follows(fact: Fact, words: list[str]) -> None:
    text = plain_text(event(fact))
    assert [word for word in words if word not in text] == []
    assert_within_limits(slack_payload(event(fact)))


@pytest.mark.parametrize("number", [0, 1, 20, 21, 500])
@pytest.mark.parametrize("name", ["age", "&" * 200, "<!channel>\u202e" * 30])
def test_payload_stays_within_limits_of_slack(number: int, name: str) -> None:
    columns = [f"{name}{n}" if len(name) < 10 else f"{n}{name}" for n in range(number)]
    told = event(detected(columns=columns, label=name, summary=name * 50))
    assert_within_limits(slack_payload(told))
    assert len(plain_text(told)) <= TEXT_BUDGET


def test_many_columns_are_counted_and_worst_shown() -> None:
    text = plain_text(event(detected(columns=[f"c{n}" for n in range(500)])))
    assert "500 columns moved" in text
    assert "Also moved (480 columns): c20, " in text
    assert text.count("•") == 20


def test_shortened_message_says_so_and_keeps_action() -> None:
    payload = slack_payload(event(detected(columns=[f"{n}{'&' * 200}" for n in range(500)], label="&" * 100)))
    body = "\n".join(text["text"] for text in texts(payload))
    assert "… shortened" in body
    assert "What is done:" in body
    assert "Since: window" in body


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_harmless_everywhere(name: str) -> None:
    told = [
        event(detected(columns=[name], label=name, summary=name)),
        event(rejected(name, name)),
        event(TrainingFailed(**PLAN, job=name, reason=name)),
    ]
    for one in told:
        payload = slack_payload(one)
        assert_within_limits(payload)
        for text in [payload["text"], *(found["text"] for found in texts(payload))]:
            assert_harmless(text)
            assert "<" not in text
            assert ">" not in text
            assert "@channel" not in text.lower()
            assert "@here" not in text.lower()
        assert_harmless(plain_text(one))
        line = subject(one)
        assert len(line) < 100
        assert line.isascii()
        assert line.isprintable()


def test_escape_never_cuts_an_entity() -> None:
    for limit in range(2, 30):
        shown = escape("<&>" * 10, limit)
        assert len(shown) <= limit
        assert shown.replace("&lt;", "").replace("&amp;", "").replace("&gt;", "") == "…"


def test_payload_is_never_parsed_as_markup() -> None:
    payload = slack_payload(event(detected(columns=["*a*"])))
    assert payload["mrkdwn"] is False
    assert "mrkdwn" not in json.dumps(payload["blocks"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=120), max_size=30), st.text(max_size=1000))
def test_any_text_renders_within_limits(columns: list[str], summary: str) -> None:
    fact = DriftDetected.model_construct(**{**dict(detected(columns=columns, label=summary)), "summary": summary})
    told = Event.model_construct(**{**dict(event(detected())), "data": fact})
    assert_within_limits(slack_payload(told))
    assert_harmless(plain_text(told))


def test_question_with_a_link_has_a_button_and_one_without_has_none() -> None:
    asked = slack_payload(event(ApprovalRequested(**PLAN, until=NOON, link=LINK)))
    assert [element["url"] for block in asked["blocks"] for element in block.get("elements", ()) if element["type"] == "button"] == [LINK]
    for link in (None, "javascript:alert(1)", "https://" + "x" * 3000):
        blocks = slack_payload(event(ApprovalRequested(**PLAN, until=NOON, link=link)))["blocks"]
        assert "actions" not in [block["type"] for block in blocks]
