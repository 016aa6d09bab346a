"""The decision record: one answer for each episode, why, what it costs, and what people say to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from starlette.applications import Starlette

from driftsonde.core.config import Budget, Recipe, RetrainPolicy, parse_config
from driftsonde.core.events import ApprovalRequested, DriftConfirmed, Problem
from driftsonde.core.testing.fakes import FakeClock
from driftsonde.retrainer import store
from driftsonde.retrainer.approvals import Approvals, Links, routes
from driftsonde.retrainer.costs import estimate
from driftsonde.retrainer.planner import Proceed, Refuse, Situation, Wait, decide
from driftsonde.retrainer.situation import look

from .conftest import Retrainer, make_config

NOW = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)
RECIPE = Recipe.model_validate({"role": "arn:aws:iam::123456789012:role/jobs", "output": "s3://acme/out/"})


def situation(**changes: Any) -> Situation:
    plain: dict[str, Any] = {
        "trainable": True, "episode_open": True, "untrusted": False, "in_flight": False, "last_training": None, "trainings": (),
        "all_trainings": (),
    }  # fmt: skip
    return Situation(**plain | changes)


def policy(**keys: Any) -> RetrainPolicy:
    return RetrainPolicy.model_validate({"recipe": "xgb", **keys})


async def test_each_episode_has_one_record_and_repeats_are_no_news(retrainer: Any, facts: Any) -> None:
    for _ in range(3):
        await retrainer.hear(facts.drift())
        await retrainer.rounds()
    (record,) = retrainer.decisions()
    assert (record.answer, record.kind, record.episode, record.sequence) == ("retrain", "drift", 1, 1)
    assert record.policy
    assert record.cost is not None


async def test_what_changes_is_a_revision(retrainer: Any, facts: Any) -> None:
    await retrainer.hear(facts.drift(1))
    await retrainer.rounds()
    await retrainer.whole_plan()
    await retrainer.hear(facts.drift(2))
    await retrainer.rounds()
    retrainer.clock.advance(facts.later)
    await retrainer.rounds()
    second = [record for record in retrainer.decisions() if record.episode == 2]
    assert [(record.answer, record.reason, record.sequence) for record in second] == [("wait", "cooldown", 1), ("retrain", "drift", 2)]


async def test_episode_of_broken_data_says_fix_the_data(retrainer: Any, facts: Any) -> None:
    broken = facts.untrusted().model_copy(update={"problems": (Problem(kind="schema", text="the schema broke: missing y"),)})
    await retrainer.hear(broken)
    (record,) = retrainer.decisions()
    assert (record.kind, record.answer, record.plan if hasattr(record, "plan") else None) == ("untrusted", "fix_data", None)
    assert "missing y" in record.text


async def test_too_few_labels_say_collect_labels(retrainer: Any, facts: Any) -> None:
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    await retrainer.finish("prepare", holdout=3)
    assert retrainer.decisions()[-1].answer == "collect_labels"


async def test_drift_is_weighted_by_what_the_champion_looks_at(new_retrainer: Any, facts: Any) -> None:
    retrainer = new_retrainer(1, min_importance=0.3)
    await retrainer.hear(facts.drift(1))
    await retrainer.rounds()
    assert retrainer.decisions()[0].importance is None
    for step in ("prepare", "train"):
        await retrainer.finish(step)
    await retrainer.finish("evaluate", importance={"x": 0.2, "y": 0.8})
    await retrainer.finish("transform")
    retrainer.clock.advance(facts.later)
    await retrainer.hear(facts.drift(2))
    await retrainer.rounds()
    record = retrainer.decisions()[-1]
    assert (record.answer, record.reason, record.importance) == ("ignore", "unimportant", pytest.approx(0.2))
    assert len(retrainer.jobs.names("prepare")) == 1


class TestWhatIsDecided:
    def test_quiet_hours_end_by_the_clocks_of_their_zone(self) -> None:
        berlin = policy(quiet={"from": "22:00", "to": "07:00", "tz": "Europe/Berlin"})
        assert decide(berlin, Budget(), situation(), NOW) == Wait("quiet_hours", datetime(2026, 3, 3, 6, 0, tzinfo=UTC))
        assert decide(berlin, Budget(), situation(), NOW + timedelta(hours=8)) == Proceed()

    def test_drift_must_go_on_where_that_is_asked_for(self) -> None:
        asked = policy(confirm={"windows": 2, "of": 3})
        assert isinstance(decide(asked, Budget(), situation(), NOW), Wait)
        assert decide(asked, Budget(), situation(confirmed=True), NOW) == Proceed()

    def test_money_is_not_spent_twice(self) -> None:
        budget = Budget(spend_per_month=10, prices={"ml.m5.large": 1.0})
        assert decide(policy(), budget, situation(spent=7.0, expected=3.0), NOW) == Proceed()
        assert decide(policy(), budget, situation(spent=7.1, expected=3.0), NOW) == Wait("spend", NOW + timedelta(hours=1))

    def test_what_has_no_price_does_not_fit_into_any_budget(self) -> None:
        assert isinstance(decide(policy(), Budget(spend_per_month=10), situation(expected=None), NOW), Wait)

    @pytest.mark.parametrize(
        ("said", "decided"), [("approved", Proceed()), ("rejected", Refuse("rejected")), ("expired", Refuse("expired"))]
    )
    def test_people_have_the_last_word(self, said: Any, decided: Any) -> None:
        assert decide(policy(approval="ask"), Budget(), situation(approval=said), NOW) == decided

    def test_nobody_is_asked_what_the_budget_forbids(self) -> None:
        full = situation(all_trainings=(NOW - timedelta(hours=1),))
        assert isinstance(decide(policy(approval="ask"), Budget(training_jobs_per_day=1), full, NOW), Wait)
        assert decide(policy(approval="ask"), Budget(training_jobs_per_day=1), full, NOW) != Wait("approval", NOW + timedelta(days=1))

    def test_a_yes_does_not_make_broken_data_good(self) -> None:
        broken = situation(approval="approved", trainable=False, problems=(Problem(kind="volume", text="few rows"),))
        assert decide(policy(approval="ask"), Budget(), broken, NOW) == Refuse("fix_data")

    def test_tolerating_one_problem_does_not_excuse_another(self) -> None:
        two = (Problem(kind="volume", text="few rows"), Problem(kind="nulls", text="nulls"))
        assert decide(policy(tolerate=["volume"]), Budget(), situation(trainable=False, problems=two), NOW) == Refuse("fix_data")


class TestCosts:
    def test_past_jobs_say_how_long_it_takes(self) -> None:
        past = {"prepare": [60.0], "train": [600.0, 1200.0, 1800.0], "evaluate": [60.0], "transform": [120.0]}
        found = estimate(RECIPE, past, Budget(prices={"ml.m5.large": 3.0}))
        assert (found.seconds, found.at_most, found.unpriced) == (1440.0, False, ())
        assert found.amount == pytest.approx(1440 / 3600 * 3)

    def test_without_past_jobs_their_limit_counts(self) -> None:
        found = estimate(RECIPE, {}, Budget(prices={"ml.m5.large": 1.0}))
        assert found.at_most
        assert found.amount == pytest.approx(4.0)

    def test_missing_price_is_named_not_guessed(self) -> None:
        found = estimate(RECIPE, {}, Budget())
        assert (found.amount, found.unpriced) == (None, ("ml.m5.large",))


class TestConfirmation:
    async def test_plan_begins_when_the_drift_is_confirmed(self, new_retrainer: Any, facts: Any) -> None:
        retrainer = new_retrainer(1, confirm={"windows": 2, "of": 3})
        await retrainer.hear(facts.drift())
        await retrainer.rounds()
        assert retrainer.jobs.created == {}
        await retrainer.hear(DriftConfirmed(monitor="churn-0", episode=1))
        await retrainer.rounds()
        assert len(retrainer.jobs.names("prepare")) == 1


class TestApproval:
    async def test_question_is_asked_once_and_yes_begins_the_training(self, new_retrainer: Any, facts: Any) -> None:
        retrainer = new_retrainer(1, approval="ask")
        await retrainer.hear(facts.drift())
        for _ in range(3):
            await retrainer.rounds()
            retrainer.clock.advance(timedelta(minutes=10))
        assert [fact.TYPE for fact in retrainer.said()].count(ApprovalRequested.TYPE) == 1
        assert retrainer.jobs.created == {}
        approvals = Approvals(retrainer.database, retrainer.clock)
        assert await approvals.answer("churn-0", 1, "approve", "ada") == "approved"
        await retrainer.rounds()
        assert len(retrainer.jobs.names("prepare")) == 1

    async def test_first_answer_holds(self, new_retrainer: Any, facts: Any) -> None:
        retrainer = new_retrainer(1, approval="ask")
        await retrainer.hear(facts.drift())
        await retrainer.rounds()
        approvals = Approvals(retrainer.database, retrainer.clock)
        assert await approvals.answer("churn-0", 1, "reject", "ada") == "rejected"
        assert await approvals.answer("churn-0", 1, "approve", "bob") == "rejected"
        await retrainer.rounds()
        assert retrainer.plans() == {"churn-0-1": "refused"}

    async def test_no_answer_is_a_no(self, new_retrainer: Any, facts: Any) -> None:
        retrainer = new_retrainer(1, approval="ask", approval_expires="2h")
        await retrainer.hear(facts.drift())
        await retrainer.rounds()
        retrainer.clock.advance(timedelta(hours=2, seconds=1))
        assert await Approvals(retrainer.database, retrainer.clock).answer("churn-0", 1, "approve", "late") == "expired"
        await retrainer.rounds()
        assert retrainer.plans() == {"churn-0-1": "refused"}
        assert retrainer.decisions()[-1].reason == "expired"

    async def test_unknown_question_has_no_answer(self, retrainer: Any) -> None:
        assert await Approvals(retrainer.database, retrainer.clock).answer("churn-0", 1, "approve", "eve") == "unknown"


class TestLinks:
    @pytest.fixture
    async def asked(self, new_retrainer: Any, facts: Any) -> Any:
        retrainer = new_retrainer(1, approval="ask")
        await retrainer.hear(facts.drift())
        await retrainer.rounds()
        return retrainer

    def client(self, retrainer: Any, links: Links, *, token: str = "") -> httpx.AsyncClient:
        told: list[None] = []
        app = Starlette(
            routes=routes(Approvals(retrainer.database, retrainer.clock), links, retrainer.clock, token, lambda: told.append(None))
        )
        transport = httpx.ASGITransport(app=app, client=("203.0.113.9", 1))
        return httpx.AsyncClient(transport=transport, base_url="https://retrain.example")

    async def test_page_is_looked_at_without_saying_anything(self, asked: Any) -> None:
        links = Links("https://retrain.example", "s" * 32)
        link = links.make("churn-0", 1, asked.clock.now() + timedelta(hours=1)) or ""
        async with self.client(asked, links) as client:
            page = await client.get(link)
            assert (page.status_code, page.headers["Cache-Control"]) == (200, "no-store")
            await asked.rounds()
            assert asked.jobs.created == {}
            said = await client.post(link, data={"word": "approve"})
            assert (said.status_code, "will be trained" in said.text) == (200, True)
        await asked.rounds()
        assert len(asked.jobs.names("prepare")) == 1

    @pytest.mark.parametrize("change", ["churn-0/2?", "until=9999999999&", "by=00"])
    async def test_changed_link_is_refused(self, asked: Any, change: str) -> None:
        links = Links("https://retrain.example", "s" * 32)
        link = links.make("churn-0", 1, asked.clock.now() + timedelta(hours=1)) or ""
        if change.startswith("until"):
            link = link.replace(link[link.index("until=") : link.index("&") + 1], change)
        else:
            link = link.replace("churn-0/1?", change) if "?" in change else link[: link.index("by=")] + change
        async with self.client(asked, links) as client:
            for answer in (await client.get(link), await client.post(link, data={"word": "approve"})):
                assert (answer.status_code, "<form" in answer.text) == (403, False)

    async def test_link_expires(self, asked: Any) -> None:
        links = Links("https://retrain.example", "s" * 32)
        link = links.make("churn-0", 1, asked.clock.now() + timedelta(hours=1)) or ""
        asked.clock.advance(timedelta(hours=1))
        async with self.client(asked, links) as client:
            assert (await client.post(link, data={"word": "approve"})).status_code == 403

    async def test_api_needs_the_token(self, asked: Any) -> None:
        async with self.client(asked, Links("", ""), token="secret") as client:
            path = "/api/plans/churn-0/1/approve"
            assert (await client.post(path)).status_code == 401
            assert (await client.post(path, headers={"Authorization": "Bearer wrong"})).status_code == 401
            right = await client.post(path, headers={"Authorization": "Bearer secret"})
            assert right.json()["said"] == "approved"

    async def test_without_a_token_only_this_machine_answers(self, asked: Any) -> None:
        async with self.client(asked, Links("", "")) as client:
            assert (await client.post("/api/plans/churn-0/1/approve")).status_code == 403

    def test_without_a_secret_there_are_no_links(self) -> None:
        clock = FakeClock()
        assert Links("https://retrain.example", "").make("churn", 1, clock.now()) is None
        assert not Links("https://retrain.example", "").is_ours("churn", 1, "9999999999", "", clock.now())


class TestFiguresOfAnOwnStep:
    @pytest.mark.parametrize("importance", [{"x": 153.2, "y": 51.0}, {"x": 1e300, "y": 1.0}])
    async def test_gains_that_are_no_shares_become_shares(self, retrainer: Any, facts: Any, importance: dict[str, float]) -> None:
        await retrainer.hear(facts.drift(1))
        await retrainer.rounds()
        for step in ("prepare", "train"):
            await retrainer.finish(step)
        await retrainer.finish("evaluate", importance=importance)
        await retrainer.finish("transform")
        retrainer.clock.advance(facts.later)
        await retrainer.hear(facts.drift(2))
        await retrainer.rounds()
        record = retrainer.decisions()[-1]
        assert record.importance == pytest.approx(importance["x"] / sum(importance.values()))

    @pytest.mark.parametrize("wrong", [{"challenger": float("nan")}, {"importance": {"x": -1.0}}, {"importance": {"x": float("nan")}}])
    async def test_figures_that_are_none_fail_the_plan_and_nothing_else(self, retrainer: Any, facts: Any, wrong: dict[str, Any]) -> None:
        await retrainer.hear(facts.drift(1))
        await retrainer.rounds()
        for step in ("prepare", "train"):
            await retrainer.finish(step)
        await retrainer.finish("evaluate", **wrong)
        assert retrainer.plans() == {"churn-0-1": "failed"}
        assert next(iter(wrong)) in retrainer.said()[-1].reason


class TestLabelsThatDoNotCome:
    async def test_each_look_costs_a_job_so_they_become_rare(self, retrainer: Any, facts: Any) -> None:
        await retrainer.hear(facts.drift())
        waits = []
        for _ in range(7):
            await retrainer.rounds()
            await retrainer.finish("prepare", holdout=3)
            until = retrainer.said()[-1].until
            waits.append((until - retrainer.clock.now()) / timedelta(hours=1))
            retrainer.clock.advance(until - retrainer.clock.now() + timedelta(seconds=1))
        assert waits == [1, 2, 4, 8, 16, 24, 24]

    async def test_what_they_cost_is_spent(self, database: Any, facts: Any) -> None:
        raw = make_config().model_dump(mode="json", by_alias=True, exclude_defaults=True)
        raw["budget"] = {"prices": {"ml.m5.large": 1.0}, "spend_per_month": 6.0}
        retrainer = Retrainer(database, parse_config(raw, source="test"))
        await retrainer.hear(facts.drift())
        for _ in range(3):
            await retrainer.rounds()
            await retrainer.finish("prepare", holdout=3)
            retrainer.clock.advance(timedelta(days=1))
        with database.read() as connection:
            seconds = connection.scalars(select(store.job.c.seconds)).all()
            known = look(connection, retrainer.config, connection.execute(select(store.plan)).one(), retrainer.clock.now())
        assert known.situation.spent == pytest.approx(sum(second or 0.0 for second in seconds) / 3600)
        assert len(seconds) == 3
