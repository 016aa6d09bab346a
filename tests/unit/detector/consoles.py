"""A console over a rig, and a fleet whose every text means harm."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from starlette.applications import Starlette

from driftsonde.core.building import BuildOptions, build
from driftsonde.core.config import Config, parse_config
from driftsonde.core.events import (
    DecisionRecorded,
    DeliveryFinished,
    DriftedColumn,
    DropRef,
    DropRejected,
    Event,
    Fact,
    PlanRefused,
    Problem,
)
from driftsonde.detector import store
from driftsonde.detector.console.queues import queue_watch
from driftsonde.detector.console.served import Console
from unit.detector.support import BUCKET, NOON, Rig

Rows = Mapping[str, Any]
MINUTE = timedelta(minutes=1)


def console_of(rig: Rig) -> Console:
    """Return a console over a rig's database, whose queues were not asked yet."""
    return Console(rig.database, rig.config, rig.clock, queue_watch(rig.clock))


def browser(console: Console) -> httpx.AsyncClient:
    """Return what asks a console, without a network."""
    transport = httpx.ASGITransport(app=Starlette(routes=console.routes()))
    return httpx.AsyncClient(transport=transport, base_url="http://console.test")


async def page(rig: Rig, path: str) -> str:
    """Return a page that is there."""
    async with browser(console_of(rig)) as client:
        answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def many(count: int) -> Config:
    """Return a configuration of monitors that are called m0, m1, ... and have prefixes of their own."""
    return parse_config(
        {
            "monitors": [
                {
                    "name": f"m{number}", "drops": f"s3://{BUCKET}/in{number}/", "baseline": f"s3://{BUCKET}/base{number}/",
                    "policy": {"lookback": 4, "clear_after": 2},
                }
                for number in range(count)
            ]
        },
        source="test",
    )  # fmt: skip


def add(rig: Rig, table: str, rows: Sequence[Rows]) -> None:
    """Put rows into a table."""
    with rig.database.write() as connection:
        connection.execute(store.metadata.tables[table].insert(), list(rows))


def hear(rig: Rig, *facts: Fact) -> None:
    """Have the timeline know of some facts, a minute apart."""
    events = [Event.of(fact, time=NOON + place * MINUTE) for place, fact in enumerate(facts)]
    add(rig, "timeline", [
        {"event_id": event.id, "monitor": event.subject, "episode": event.data.episode, "type": event.data.TYPE, "at": event.time, "body": event.to_json().decode()}
        for event in events
    ])  # fmt: skip


def window(monitor: str, place: int, **changes: Any) -> dict[str, Any]:
    """Return the row of a window that was judged."""
    return {
        "monitor": monitor, "id": f"s3://{BUCKET}/in/{place}", "position": f"{place:08}", "baseline": 1, "rows": 500,
        "first_drop": NOON + place * MINUTE, "verdict": "ok", "revision": 1, "judged_at": NOON + place * MINUTE, **changes,
    }  # fmt: skip


def stored_with(folder: Path, texts: Sequence[str], per_monitor: int = 20) -> Rig:
    """Return a detector whose store has each text in a window's name, columns, an episode's summary, decisions, refusals, and baselines."""
    rig = Rig(f"sqlite:///{folder}/stored.db", many(len(texts) // per_monitor))
    for monitor, first in zip(rig.config.monitors, range(0, len(texts), per_monitor), strict=True):
        _store(rig, monitor.name, texts[first : first + per_monitor])
    return rig


def _store(rig: Rig, name: str, texts: Sequence[str]) -> None:
    columns = [{text: {"status": "drift", "check": "ks", "score": 0.5, "critical": 0.1, "lookback": 1}} for text in texts]
    add(rig, "window", [
        window(name, place, id=f"s3://{BUCKET}/{text}", verdict="drift", detail=json.dumps({"columns": columns[place]}))
        for place, text in enumerate(texts)
    ])  # fmt: skip
    add(rig, "episode", [
        {
            "monitor": name, "number": place + 1, "kind": "drift", "baseline": 1, "opened": f"s3://{BUCKET}/{text}", "is_open": place > 17, "cause": text[:16],
            "event_id": f"{name}-{place}", "summary": text, "opened_at": NOON, "closed_at": None,
        }
        for place, text in enumerate(texts)
    ])  # fmt: skip
    base = {"monitor": name, "source": "{}", "rows": 9, "created_at": NOON}
    add(rig, "baseline", [
        {**base, "version": 1, "state": "adopted", "model": texts[0][:64], "error": None}, {**base, "version": 2, "state": "building", "model": None, "error": texts[1]},
    ])  # fmt: skip
    hear(rig, *(fact for place, text in enumerate(texts) for fact in _facts(name, place + 1, text)))


def _facts(name: str, episode: int, text: str) -> list[Fact]:
    about: dict[str, Any] = {"monitor": name, "episode": episode}
    return [
        DropRejected(monitor=name, drop=DropRef(bucket=BUCKET, key=f"in/{text}", etag="e"), reason=text, message=text),
        DecisionRecorded(
            **about, kind="drift", answer="wait", reason=text, text=text, drifted=(DriftedColumn(column=text, check=text, score=0.5, threshold=0.1),),
            problems=(Problem(kind="nulls", text=text),), labels=text,
        ),
        PlanRefused(**about, plan=f"{name}-{episode}", reason=text, sequence=3),
        DeliveryFinished(**about, channel="ml-oncall", event_id=f"{name}-{episode}".ljust(32, "f")[:32], outcome="refused", detail=text),
    ]  # fmt: skip


async def measured_with(folder: Path, names: Sequence[str], per_monitor: int = 20) -> Rig:
    """Return a detector that judged drops whose keys, columns and values have these names; each monitor has an episode, and a refused drop."""
    rig = Rig(f"sqlite:///{folder}/measured.db", many(len(names) // per_monitor))
    groups = [names[first : first + per_monitor] for first in range(0, len(names), per_monitor)]
    for number, group in enumerate(groups):
        frozen, _ = build(_table(group, 600, 0).to_batches, BuildOptions(bins=32))
        rig.objects.put(BUCKET, f"base{number}/frozen.dsk", frozen.data)
    await rig.database.run(rig.builder._request_configured)
    while await rig.builder.build_one():
        pass
    for number, (monitor, group) in enumerate(zip(rig.config.monitors, groups, strict=True)):
        for place, body in enumerate([_parquet(_table(group, 300, 0)), _parquet(_table(group, 300, 6))]):
            await rig.ingest.drop(monitor, rig.put(f"in{number}/{place}{group[place]}", body))
            await rig.database.run(rig.evaluate, monitor)
    await rig.say()
    return rig


def _table(names: Sequence[str], count: int, shift: int) -> pa.Table:
    random = np.random.default_rng(shift)
    shares = np.roll(np.arange(12, 0, -1.0), shift)
    return pa.table({name: [names[value % len(names)] for value in random.choice(12, count, p=shares / shares.sum())] for name in names})


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def styles(text: str) -> list[str]:
    """Return the style sheets of a page."""
    return re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
