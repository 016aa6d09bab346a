"""The champion is taken back by hand: endpoint, packages, models and what is announced; and who may ask for it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from starlette.applications import Starlette

from driftsonde.core.cli.rollback import rollback
from driftsonde.core.errors import DriftsondeError
from driftsonde.core.events import DeploymentFinished, ModelPromoted
from driftsonde.retrainer import store
from driftsonde.retrainer.deploy import tables
from driftsonde.retrainer.deploy.http import routes
from driftsonde.retrainer.deploy.rollback import Impossible, request

ENDPOINT = "churn-live"


def ask(retrainer: Any, reason: str = "complaints") -> Any:
    with retrainer.database.write() as connection:
        return request(connection, retrainer.database, retrainer.clock, "churn-0", reason)


def models(retrainer: Any) -> dict[str, str]:
    with retrainer.database.read() as connection:
        rows = connection.execute(select(store.model.c.plan, store.model.c.state))
        return {row.plan: row.state for row in rows}


def requests(retrainer: Any) -> list[tuple[str, str]]:
    with retrainer.database.read() as connection:
        return [(row.state, row.detail) for row in connection.execute(select(tables.rollback))]


async def settled(retrainer: Any, **how: Any) -> None:
    retrainer.endpoints.settle(ENDPOINT, **how)
    await retrainer.rounds()


async def again(retrainer: Any, facts: Any) -> None:
    """A second episode leads to a second champion."""
    await retrainer.hear(facts.drift(2))
    retrainer.clock.advance(facts.later)
    await retrainer.rounds()
    for step in ("prepare", "train", "evaluate"):
        await retrainer.finish(step, episode=2)


async def test_rollback_returns_endpoint_packages_and_models(deploying: Any, facts: Any) -> None:
    retrainer = await deploying(strategy="single", batch=False)
    await settled(retrainer)
    first = retrainer.endpoints.states[ENDPOINT].config
    await again(retrainer, facts)
    await settled(retrainer)
    assert models(retrainer) == {"churn-0-1": "retired", "churn-0-2": "champion"}

    assert ask(retrainer).endpoint == ENDPOINT
    await retrainer.rounds()
    assert retrainer.endpoints.asked[-1] == (first, None)
    retrainer.restart()
    await settled(retrainer)
    assert retrainer.endpoints.states[ENDPOINT].config == first
    assert models(retrainer) == {"churn-0-1": "champion", "churn-0-2": "rolled_back"}
    assert list(retrainer.jobs.judged.values()) == ["Rejected", "Approved"]
    finished, promoted = retrainer.said()[-2:]
    assert isinstance(finished, DeploymentFinished)
    assert (finished.outcome, finished.reason, finished.endpoint) == ("rolled_back", "complaints", ENDPOINT)
    assert isinstance(promoted, ModelPromoted)  # the detector's baseline follows
    assert promoted.model != finished.model
    assert requests(retrainer) == [("done", "")]


async def test_rollback_can_go_back_to_a_model_made_by_hand(deploying: Any) -> None:
    retrainer = await deploying(strategy="single", batch=False)
    await settled(retrainer)
    ask(retrainer)
    await retrainer.rounds()
    await settled(retrainer)
    assert retrainer.endpoints.states[ENDPOINT].config == "by-hand"
    assert models(retrainer) == {"churn-0-1": "rolled_back"}
    assert retrainer.types()[-1] == "deployment.finished"


async def test_rollback_without_an_endpoint_moves_models_only(new_retrainer: Any, facts: Any) -> None:
    retrainer = new_retrainer()
    await retrainer.hear(facts.drift())
    await retrainer.rounds()
    await retrainer.whole_plan()
    with pytest.raises(Impossible, match="first model"):
        ask(retrainer)
    await again(retrainer, facts)
    await retrainer.finish("transform", episode=2)
    ask(retrainer)
    await retrainer.rounds()
    assert models(retrainer) == {"churn-0-1": "champion", "churn-0-2": "rolled_back"}
    assert retrainer.endpoints.asked == []
    assert retrainer.plans() == {"churn-0-1": "done", "churn-0-2": "done"}


async def test_rollback_asked_twice_happens_once(deploying: Any) -> None:
    retrainer = await deploying(strategy="single", batch=False)
    await settled(retrainer)
    assert ask(retrainer, "first") == ask(retrainer, "second")
    await retrainer.rounds()
    await settled(retrainer)
    assert retrainer.types().count("deployment.finished") == 2
    assert retrainer.said()[-1].reason == "first"
    with pytest.raises(Impossible, match="no model"):
        ask(retrainer)


async def test_rollback_that_sagemaker_rolls_back_has_failed_and_can_be_asked_again(deploying: Any) -> None:
    retrainer = await deploying(strategy="single", batch=False)
    await settled(retrainer)
    ask(retrainer)
    await retrainer.rounds()
    await settled(retrainer, rolled_back="no capacity")
    assert requests(retrainer)[0][0] == "failed"
    assert "no capacity" in requests(retrainer)[0][1]
    assert models(retrainer) == {"churn-0-1": "champion"}
    ask(retrainer)
    assert requests(retrainer) == [("wanted", "")]


@pytest.mark.parametrize("strategy", [{"strategy": "shadow", "for": "10d"}, {"strategy": "bandit", "labels": "s3://acme/labels/"}])
async def test_deployment_under_way_is_ended_by_hand(deploying: Any, strategy: dict[str, Any]) -> None:
    retrainer = await deploying(**strategy)
    await settled(retrainer)
    assert ask(retrainer).previous is None
    await retrainer.rounds()
    assert retrainer.endpoints.asked[-1] == ("by-hand", None)
    await settled(retrainer)
    assert (retrainer.plans(), models(retrainer)) == ({"churn-0-1": "rolled_back"}, {"churn-0-1": "rolled_back"})
    assert retrainer.said()[-1].reason == "complaints"
    assert requests(retrainer) == []


async def test_canary_under_way_is_ended_when_sagemaker_lets_go(deploying: Any) -> None:
    retrainer = await deploying(strategy="canary", alarms=["errors"])
    ask(retrainer)
    await retrainer.rounds()
    assert len(retrainer.endpoints.asked) == 1
    await settled(retrainer)
    await settled(retrainer)
    assert retrainer.endpoints.states[ENDPOINT].config == "by-hand"
    assert retrainer.plans() == {"churn-0-1": "rolled_back"}


async def test_endpoint_that_is_being_made_cannot_be_taken_back(deploying: Any) -> None:
    retrainer = await deploying(fresh=True, strategy="single", batch=False)
    with pytest.raises(Impossible, match="is being made"):
        ask(retrainer)
    await settled(retrainer)
    assert retrainer.plans() == {"churn-0-1": "done"}


async def test_endpoint_of_a_first_model_has_nothing_to_return_to(deploying: Any) -> None:
    retrainer = await deploying(fresh=True, strategy="single", batch=False)
    await settled(retrainer)
    with pytest.raises(Impossible, match="no configuration to return to"):
        ask(retrainer)


async def post(retrainer: Any, path: str = "churn-0", *, token: str = "", address: str = "127.0.0.1", **how: Any) -> httpx.Response:
    """Ask over HTTP, from an address."""
    app = Starlette(routes=routes(retrainer.database, retrainer.config, retrainer.clock, token, lambda: None))
    transport = httpx.ASGITransport(app, client=(address, 5000))
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{address}:8081") as client:
        return await client.post(f"/api/monitors/{path}/rollback", **how)


async def test_request_over_http_is_written_down(deploying: Any) -> None:
    retrainer = await deploying(strategy="single", batch=False)
    await settled(retrainer)
    answer = await post(retrainer, json={"reason": "complaints"})
    assert (answer.status_code, answer.json()["monitor"], answer.json()["endpoint"]) == (202, "churn-0", ENDPOINT)
    assert requests(retrainer) == [("wanted", "")]


@pytest.mark.parametrize(
    ("token", "address", "headers", "status"),
    [
        ("", "127.0.0.1", {}, 409),
        ("", "10.0.0.7", {}, 403),
        ("", "127.0.0.1", {"Origin": "https://evil.example"}, 403),
        ("", "127.0.0.1", {"Host": "evil.example"}, 403),
        ("", "127.0.0.1", {"X-Forwarded-For": "10.0.0.7"}, 403),
        ("secret", "127.0.0.1", {}, 401),
        ("secret", "10.0.0.7", {"Authorization": "Bearer wrong"}, 401),
        ("secret", "10.0.0.7", {"Authorization": "Bearer secret"}, 409),
    ],
)
async def test_only_who_may_can_ask(retrainer: Any, token: str, address: str, headers: dict[str, str], status: int) -> None:
    assert (await post(retrainer, token=token, address=address, headers=headers)).status_code == status


@pytest.mark.parametrize(
    "body", ["[]", "{", '{"reason": 1}', '{"reason": ""}', '{"because": "x"}', json.dumps({"reason": "x" * 501}), "x" * 10_001]
)
async def test_unusable_bodies_are_refused(retrainer: Any, body: str) -> None:
    assert (await post(retrainer, content=body)).status_code == 400


async def test_unknown_monitor_is_named_with_the_known(retrainer: Any) -> None:
    answer = await post(retrainer, "nobody")
    assert (answer.status_code, "churn-0" in answer.json()["error"]) == (404, True)


def test_command_says_what_the_retrainer_answers(capsys: pytest.CaptureFixture[str]) -> None:
    answers: list[tuple[int, dict[str, Any]]] = [
        (202, {"monitor": "churn", "model": "new", "previous": None, "endpoint": "web"}),
        (409, {"error": "no model"}),
    ]
    with answering(answers) as (url, asked):
        rollback("churn", reason="complaints", url=url, token="secret")
        assert capsys.readouterr().out == "new is taken back on web; the model before it is champion again\n"
        with pytest.raises(DriftsondeError, match="409: no model"):
            rollback("churn", url=url)
    assert asked[0] == ("/api/monitors/churn/rollback", "Bearer secret", {"reason": "complaints"})
    with pytest.raises(DriftsondeError, match="DRIFTSONDE_RETRAINER_URL"):
        rollback("churn", url=url)


@contextlib.contextmanager
def answering(answers: list[tuple[int, dict[str, Any]]]) -> Iterator[tuple[str, list[Any]]]:
    """A server that gives these answers in turn, and what it was asked."""
    asked: list[Any] = []
    coming = iter(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers.get("Authorization"), body))
            status, answer = next(coming)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()
