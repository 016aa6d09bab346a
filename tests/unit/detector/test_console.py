"""The console says what the store says, page by page, within bounds, and refuses what it must."""

from __future__ import annotations

import asyncio
import re
import time
from base64 import b64encode
from datetime import timedelta
from hashlib import sha256
from html import unescape
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from driftsonde.core.aws.queue import Counts
from driftsonde.core.cli.remote import Detector
from driftsonde.core.errors import RetryableError
from driftsonde.core.events import DecisionRecorded, PlanWaiting
from driftsonde.core.lifecycle import serve_http
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.report.compose import compose
from driftsonde.core.report.gather import gather_episode, gather_window
from driftsonde.core.text import clean
from driftsonde.detector.console import pages
from driftsonde.detector.console.queues import INTAKE, LETTERS, queue_watch
from driftsonde.detector.console.served import Console
from driftsonde.detector.console.source import Missing, StoreSource, material_of_episode, material_of_window
from unit.core.report.hostile import PAYLOADS
from unit.core.report.support import Page
from unit.detector.conftest import MakeRig
from unit.detector.consoles import MINUTE, add, browser, console_of, hear, many, page, stored_with, styles, window
from unit.detector.support import NOON, Rig, baseline_body
from unit.detector.test_facts import drifted, served

HARMLESS = tuple(f"name {number}" for number in range(len(PAYLOADS)))
WINDOW = "s3://acme/in/00?a b%"


class Queue:
    """A queue that has what it is told, or does not answer."""

    def __init__(self, counts: Counts | None = None, *, slow: bool = False) -> None:
        self.counted, self._slow = counts, slow

    async def counts(self) -> Counts:
        if self._slow:
            await asyncio.sleep(60)
        if self.counted is None:
            raise RetryableError("away")
        return self.counted


def rows_of(found: str) -> list[list[str]]:
    """Return the rows of a page's tables, as what their cells say."""
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", found)]
    return [[unescape(re.sub("<.*?>", "", cell)).strip() for cell in row] for row in cells]


def text_of(found: str) -> str:
    """Return what a page says, in one line."""
    return " ".join(" ".join(Page(found).texts).split())


async def test_fleet_shows_verdict_baseline_drops_windows_and_episode(make_rig: MakeRig) -> None:
    rig = make_rig(monitors=2)
    event = await drifted(rig)
    found = await page(rig, "/")
    said = text_of(found)
    assert event["data"]["summary"] in said
    assert "Baseline: version 1, 4,000 rows" in said
    assert "Drops: 4 counted · 1 unreadable" in said
    assert [title.rpartition(": ")[2] for title in re.findall(r'<li title="(.*?)">', found)] == list(rig.verdicts().values())
    assert {"/monitors/churn", "/monitors/fraud", "/reports/churn/1"} <= set(re.findall(r'href="(.*?)"', found))
    assert "No window was judged yet Baseline: version 1, 4,000 rows Drops: none yet" in said
    assert "Made 2026-03-01 12:00:00 UTC" in said


async def test_monitor_shows_windows_refusals_timeline_and_what_was_decided(make_rig: MakeRig) -> None:
    rig = make_rig()
    await drifted(rig)
    hear(
        rig,
        DecisionRecorded(
            monitor="churn", episode=1, kind="drift", answer="wait", reason="cooldown", text="Wait: the model is young.", until=NOON
        ),
        PlanWaiting(monitor="churn", episode=1, plan="churn-1", reason="cooldown", until=NOON, sequence=2),
    )
    found = await page(rig, "/monitors/churn")
    said = text_of(found)
    assert "What was done: training waits until 2026-03-01 12:00 UTC: cooldown." in said
    assert "answer wait (cooldown), again 2026-03-01 12:00 UTC why Wait: the model is young." in said
    rows = {row[4]: row for row in rows_of(found) if len(row) == 7}
    assert {f"s3://acme/in/{name}" for name in rig.verdicts()} <= set(rows)
    drift = next(row for row in rows.values() if row[0] == "drift")
    assert drift[3].startswith("x: ")
    refused = next(row for row in rows_of(found) if len(row) == 4 and row[1] == "unreadable")
    assert refused[2] == "s3://acme/in/01?a b%"
    assert [row[2] for row in rows_of(found) if len(row) == 4][-1] in ("baseline adopted", "episode opened")


async def test_every_link_leads_to_a_page(rig: Rig) -> None:
    await drifted(rig)
    seen, ahead = set[str](), ["/"]
    async with browser(console_of(rig)) as client:
        while ahead:
            address = ahead.pop()
            answer = await client.get(address)
            assert answer.status_code == 200, address
            seen.add(address)
            ahead += [link for link in map(unescape, re.findall(r'href="(/.*?)"', answer.text)) if link not in {*seen, *ahead}]
    assert {"/", "/monitors/churn", "/reports/churn/1"} < seen
    assert sum("?window=" in address for address in seen) == 5


async def test_reports_are_those_of_the_read_api(make_rig: MakeRig) -> None:
    rig = make_rig()
    await drifted(rig)
    ids = [row["id"] for row in rig.select("window")]
    async with served(rig) as url:
        with Detector(url) as detector:
            episodes = {number: await asyncio.to_thread(gather_episode, detector, "churn", number) for number in (1, 2)}
            windows = [await asyncio.to_thread(gather_window, detector, "churn", name) for name in ids]
    with rig.database.read() as connection:
        for number, asked in episodes.items():
            assert compose(material_of_episode(connection, rig.config, "churn", number)) == compose(asked)
        for name, found in zip(ids, windows, strict=True):
            assert compose(material_of_window(connection, rig.config, "churn", name)) == compose(found)


async def test_report_leads_back_and_its_style_is_allowed(rig: Rig) -> None:
    await drifted(rig)
    async with browser(console_of(rig)) as client:
        for address in ("/", "/monitors/churn", "/reports/churn/1", f"/reports/churn/windows?window={quote(WINDOW, safe='')}"):
            answer = await client.get(address)
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; style-src 'sha256-")
            assert "unsafe" not in policy
            for sheet in styles(answer.text):
                assert f"'sha256-{b64encode(sha256(sheet.encode()).digest()).decode()}'" in policy
            assert styles(answer.text)
            assert not re.search(r"\sstyle=|<script|\son\w+=", answer.text)
    assert '<a href="/monitors/churn">' in answer.text


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/monitors/none", "there is no monitor 'none'"),
        ("/monitors/%3Cscript%3Ealert(1)", "there is no monitor '<script>alert(1)'"),
        ("/monitors/churn?page=0", "there is no page '0'"),
        ("/monitors/churn?page=1e9", "there is no page '1e9'"),
        ("/?page=%C2%B2", "there is no page '²'"),
        ("/?page=" + "9" * 5_000, "there is no page '999"),
        ("/reports/none/1", "there is no monitor 'none'"),
        ("/reports/churn/9", "monitor churn has no episode 9"),
        ("/reports/churn/windows", "say which window: ?window=ID"),
        ("/reports/churn/windows?window=%3Cb%3E%0A", "monitor churn has no window '<b>\\n'"),
    ],
)
async def test_what_is_not_there_is_said_with_404(rig: Rig, address: str, said: str) -> None:
    async with browser(console_of(rig)) as client:
        answer = await client.get(address)
    assert answer.status_code == 404
    assert said in text_of(answer.text)
    assert len(answer.text) < 20_000
    assert not re.search("<script|<b>", answer.text)
    assert (answer.headers["x-frame-options"], answer.headers["x-content-type-options"]) == ("DENY", "nosniff")


async def test_pages_beyond_the_last_show_the_last(rig: Rig) -> None:
    await drifted(rig)
    assert await page(rig, "/?page=7") == await page(rig, "/")
    assert await page(rig, "/monitors/churn?page=7") == await page(rig, "/monitors/churn")


async def test_head_has_the_headers_and_no_body_and_nothing_can_be_written(rig: Rig) -> None:
    await drifted(rig)
    async with (
        serve_http(console_of(rig).routes(), "127.0.0.1", 0) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        for address in ("/", "/monitors/churn", "/reports/churn/1"):
            answer, whole = await client.head(address), await client.get(address)
            assert (answer.status_code, answer.content) == (200, b"")
            assert answer.headers["content-security-policy"] == whole.headers["content-security-policy"]
            assert {(await client.request(method, address)).status_code for method in ("POST", "PUT", "DELETE", "PATCH")} == {405}
        assert (await client.head("/monitors/none")).status_code == 404


async def test_second_report_is_put_off_while_one_is_made(rig: Rig) -> None:
    await drifted(rig)
    console = console_of(rig)
    async with browser(console) as client:
        async with console._reports.taken():
            answer = await client.get("/reports/churn/1")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            assert "Another page is being made" in answer.text
            assert (await client.get("/monitors/churn")).status_code == 200
        assert (await client.get("/reports/churn/1")).status_code == 200


async def test_pages_wait_for_their_turn_and_only_so_many_do(rig: Rig) -> None:
    console = console_of(rig)
    async with browser(console) as client:
        async with console._pages.taken():
            waiting = [asyncio.create_task(client.get("/")) for _ in range(20)]
            async with asyncio.timeout(20):
                while sum(task.done() for task in waiting) < 4:
                    await asyncio.sleep(0.01)
        codes = sorted([(await task).status_code for task in waiting])
    assert codes == [200] * 16 + [503] * 4


async def test_database_that_is_away_is_said_with_503(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> str:
        raise RetryableError("database is away: password")

    monkeypatch.setattr(rig.database, "look", away)
    async with browser(console_of(rig)) as client:
        for address in ("/", "/monitors/churn", "/reports/churn/1"):
            answer = await client.get(address)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            assert "password" not in answer.text


async def test_episode_that_was_not_announced_yet_has_no_report(rig: Rig) -> None:
    await drifted(rig)
    with rig.database.write() as connection:
        connection.exec_driver_sql("delete from timeline where episode = 1")
    async with browser(console_of(rig)) as client:
        answer = await client.get("/reports/churn/1")
    assert answer.status_code == 404
    assert "has no episode 1" in text_of(answer.text)


async def test_report_on_an_episode_whose_counts_are_gone_is_made_of_its_event(rig: Rig) -> None:
    event = await drifted(rig)
    with rig.database.write() as connection:
        connection.exec_driver_sql("delete from part")
    said = text_of(await page(rig, f"/reports/churn/{event['data']['episode']}"))
    assert event["data"]["summary"].rstrip(".") in said
    assert "Some pictures are missing" in said


async def test_damaged_part_is_no_error_of_the_server(rig: Rig) -> None:
    event = await drifted(rig)
    with rig.database.write() as connection:
        connection.exec_driver_sql("update part set sketch = x'00'")
    assert "the windows are not stored any more: a window cannot be read" in text_of(
        await page(rig, f"/reports/churn/{event['data']['episode']}")
    )
    async with browser(console_of(rig)) as client:
        answer = await client.get(f"/reports/churn/windows?window={quote(WINDOW, safe='')}")
    assert (answer.status_code, "a window cannot be read" in answer.text) == (404, True)


@pytest.mark.parametrize(
    ("change", "said"), [("data = x'00'", "baseline 1 of churn cannot be read"), ("data = null", "monitor churn has no baseline 1")]
)
async def test_window_whose_baseline_is_gone_has_no_report_but_its_episode_has(rig: Rig, change: str, said: str) -> None:
    event = await drifted(rig)
    with rig.database.write() as connection:
        connection.exec_driver_sql(f"update baseline set {change}")
    async with browser(console_of(rig)) as client:
        answer = await client.get(f"/reports/churn/windows?window={quote(WINDOW, safe='')}")
        assert (answer.status_code, said in answer.text) == (404, True)
        report = await client.get(f"/reports/churn/{event['data']['episode']}")
    assert (report.status_code, f"the baseline is not stored any more: {said}" in report.text) == (200, True)


def test_link_that_leads_nowhere_is_no_look_back(rig: Rig) -> None:
    with rig.database.read() as connection:
        source = StoreSource(connection, rig.config, "w", None)
        for link in ("", "/api/monitors/churn/sketches", "/api/monitors/churn/sketches?window=w&lookback=many"):
            with pytest.raises(Missing, match="does not say where"):
                source.lookback(link, FrozenBaseline.from_bytes(baseline_body()))
        with pytest.raises(Missing, match="not stored any more"):
            source.lookback("/api/monitors/churn/sketches?window=w&lookback=3", FrozenBaseline.from_bytes(baseline_body()))
        with pytest.raises(Missing, match="there is no monitor 'none'"):
            source.monitor("none")


async def test_two_hundred_hostile_texts_change_no_tag_and_are_shown(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    hostile, harmless = stored_with(tmp_path / "a", PAYLOADS), stored_with(tmp_path / "b", HARMLESS)
    shown = set[str]()
    for address in ("/", *(f"/monitors/{monitor.name}" for monitor in hostile.config.monitors)):
        found = Page(text := await page(hostile, address))
        assert sorted(found.shape) == sorted(Page(await page(harmless, address)).shape), address
        assert all(value.startswith(("/", "data:,")) for name, value in found.attributes if name == "href")
        assert not {name for name, _ in found.attributes if name.startswith("on") or name in ("src", "action", "style")}
        assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\ufeff]", text)
        shown |= {part.strip() for part in found.texts}
    assert {clean(payload).strip() for payload in PAYLOADS} <= shown
    hostile.close()
    harmless.close()


async def test_a_thousand_monitors_are_shown_fifty_at_a_time_those_with_episodes_first(tmp_path: Path) -> None:
    rig = Rig(f"sqlite:///{tmp_path}/many.db", many(1_000))
    add(rig, "window", [window(f"m{number}", place) for number in range(1_000) for place in range(10)])
    add(rig, "object", [
        {"monitor": f"m{number}", "bucket": "b", "key": f"{key}", "event_time": NOON, "first_seen": NOON, "outcome": "counted", "updated_at": NOON}
        for number in range(1_000) for key in range(10)
    ])  # fmt: skip
    add(rig, "episode", [
        {"monitor": f"m{number}", "number": 1, "kind": "drift", "baseline": 1, "opened": "w", "is_open": True, "event_id": f"{number}", "summary": "x moved.", "opened_at": NOON + number * MINUTE}
        for number in range(900, 1_000)
    ])  # fmt: skip
    began = time.process_time()
    found = [await page(rig, f"/?page={number}") for number in range(1, 21)]
    spent = time.process_time() - began
    names = [re.findall(r'<h3><a href="/monitors/(m\d+)">m\d+</a></h3>', one) for one in found]
    assert sorted(name for one in names for name in one) == sorted(f"m{number}" for number in range(1_000))
    assert [len(one) for one in names] == [50] * 20
    assert {*names[0], *names[1]} == {f"m{number}" for number in range(900, 1_000)}
    assert "50 more are open and not listed" in text_of(found[0])
    assert "51 to 100 of 1,000 monitors" in text_of(found[1])
    assert max(map(len, found)) < 400_000
    assert spent / 20 < 1  # of CPU time; about 0.15 s on two slow cores
    rig.close()


async def test_ten_thousand_windows_are_shown_page_by_page(rig: Rig) -> None:
    add(rig, "window", [window("churn", place) for place in range(10_000)])
    found, address, pages_seen = await page(rig, "/monitors/churn?page=199"), "", 0
    assert "9,901 to 9,950 of 10,000 windows" in text_of(found)
    began = time.process_time()
    names, address = list[str](), "/monitors/churn"
    while address and pages_seen < 4:
        found = await page(rig, address)
        assert len(found) < 200_000
        names += [row[4] for row in rows_of(found) if len(row) == 7 and row[4].startswith("s3:")]
        address = next(iter(re.findall(r'<a href="([^"]*)" rel="next">', found)), "")
        pages_seen += 1
    assert names == [f"s3://acme/in/{place}" for place in range(9_999, 9_799, -1)]
    assert address == "/monitors/churn?page=5"
    assert (time.process_time() - began) / 4 < 1


async def test_queues_are_shown_as_they_were_counted_last(rig: Rig) -> None:
    watch = queue_watch(rig.clock)
    console = Console(rig.database, rig.config, rig.clock, watch)
    async with browser(console) as client:
        assert text_of((await client.get("/")).text).count("not known not asked yet") == 2
        intake, letters = Queue(Counts(1_200, 3, 0)), Queue(Counts(2, 0, 1))
        await watch.ask({INTAKE: intake, LETTERS: letters})
        rig.clock.advance(timedelta(seconds=7))
        found = (await client.get("/")).text
        assert "Intake queue 1,200 waiting, 3 being read counted 7 s ago" in text_of(found)
        assert "Dead letters Look at this: 2 waiting, 1 put off counted 7 s ago" in text_of(found)
        intake.counted = None
        await watch.ask({INTAKE: intake, LETTERS: letters})
        assert "1,200 waiting, 3 being read counted 7 s ago; SQS does not answer" in text_of((await client.get("/")).text)


async def test_queue_that_never_answers_is_given_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftsonde.core.aws.watch._PATIENCE", 0.01)
    watch = queue_watch(rig.clock)
    async with asyncio.timeout(5):
        await watch.ask({INTAKE: Queue(slow=True)})
    assert [seen.problem for seen in watch.seen] == ["SQS does not answer; the log says why", "not asked yet"]


async def test_what_waits_in_the_store_is_counted_with_its_age(rig: Rig) -> None:
    add(rig, "dirty", [{"monitor": "churn", "window": f"w{place}", "since": NOON - place * MINUTE, "marks": 1} for place in range(3)])
    add(rig, "outbox", [{"event_id": "e", "monitor": "churn", "body": "{}", "created_at": NOON - 5 * MINUTE, "attempt": 0}])
    said = text_of(await page(rig, "/"))
    assert "Windows to judge Look at this: 3, the oldest for 2 minutes" in said
    assert "Outbox Look at this: 1, the oldest for 5 minutes" in said
    assert "Pending drops 0 settled" in said
    assert "Windows to judge: 3, the oldest for 2 minutes" in said


@pytest.mark.parametrize(
    ("seconds", "said"), [(-3, "0 s"), (7, "7 s"), (119, "119 s"), (120, "2 minutes"), (7_200, "2 hours"), (200_000, "2 days")]
)
def test_age_is_told_in_its_largest_unit(seconds: float, said: str) -> None:
    assert pages.age(seconds) == said


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, ""),
        ({"a": {"status": "ok", "check": "ks", "score": 1.0, "critical": 0.1}}, ""),
        ({"a": {"status": "missing_column"}}, "a: missing column"),
        ({name: {"status": "drift", "check": "ks", "score": score, "critical": 0.1} for name, score in zip("abcd", (0.2, 0.5, 0.3, 0.4), strict=True)}, "b: ks 0.5, d: ks 0.4, c: ks 0.3, 1 more"),
    ],
)  # fmt: skip
def test_window_names_the_columns_that_alarm_worst_first(columns: dict[str, dict[str, object]], said: str) -> None:
    assert pages._found(columns) == said
