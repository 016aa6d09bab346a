"""The buses of a fault test: NATS as a child process, and SNS → SQS on the emulator behind a wire that can be cut."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol
from unittest.mock import patch
from urllib.parse import urlsplit

import botocore.session
import nats

from driftsonde.core.bus.nats import DEAD_LETTERS, STREAM
from driftsonde.core.bus.sns import SnsAddress
from driftsonde.core.errors import PoisonError
from driftsonde.core.events import PREFIX, Event, parse_event
from driftsonde.core.local.stack import REGION, SERVICES, find_program, free_port
from driftsonde.core.local.topic import create_topic

from .proxies import TcpProxy

BusKind = Literal["nats", "sns"]
AUDIT = "audit"


class BusUnderTest(Protocol):
    """What a test does to a bus, and what it sees of it from outside."""

    url: str
    environment: Mapping[str, str]

    def start(self) -> None:
        """Be there, with what was stored before."""
        ...

    def kill(self) -> None:
        """Be gone, without warning."""
        ...

    def forget(self) -> None:
        """Lose all that was stored; the bus is gone when this is called."""
        ...

    def close(self) -> None:
        """End."""
        ...

    def events(self) -> list[Event]:
        """Return every event of ours that was published, oldest first."""
        ...

    def heard(self, service: str) -> bool:
        """Whether a service has settled every event that it asked for."""
        ...

    def shorten_ack_wait(self, service: str, seconds: float = 2.0) -> None:
        """Deliver soon what a service had in hand when it died, where the bus lets anybody but the service say so."""
        ...

    def dead_letters(self) -> list[dict[str, Any]]:
        """Return the events that were given up."""
        ...

    def publish_raw(self, subject: str, *bodies: bytes) -> None:
        """Publish what is no event of ours."""
        ...


def make_bus(kind: BusKind, emulator: str, folder: Path) -> BusUnderTest:
    """Return a bus of this test alone; it does not run yet."""
    return NatsServer(folder) if kind == "nats" else SnsTopic(emulator)


class NatsServer:
    """NATS with its store in a folder."""

    environment: Mapping[str, str] = {}

    def __init__(self, folder: Path) -> None:
        self._port, self._folder = free_port(), folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the server; a second start finds what it stored."""
        stored = {"store_dir": str(self._folder / "bus"), "sync_interval": "always"}
        config = self._folder / "bus.json"
        config.write_text(json.dumps({"listen": f"127.0.0.1:{self._port}", "jetstream": stored}))
        with (self._folder / "bus.log").open("ab") as log:
            program = find_program("nats-server", "DRIFTSONDE_NATS_SERVER")
            self._process = subprocess.Popen([program, "-c", str(config)], stdout=log, stderr=subprocess.STDOUT)

    def kill(self) -> None:
        """Kill the server."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def forget(self) -> None:
        """Delete its store."""
        shutil.rmtree(self._folder / "bus")

    def close(self) -> None:
        """End."""
        self.kill()

    def events(self) -> list[Event]:
        """Return every event that the stream holds."""
        return [event for body in self._stored(STREAM) if (event := _event(body)) is not None]

    def heard(self, service: str) -> bool:
        """Whether nothing waits for a service, and nothing is in its hands."""

        async def act() -> bool:
            client = await nats.connect(self.url)
            info = await client.jetstream().consumer_info(STREAM, service)
            await client.close()
            return bool(info.num_pending == 0 and info.num_ack_pending == 0)

        return asyncio.run(act())

    def dead_letters(self) -> list[dict[str, Any]]:
        """Return the events that were given up."""
        return [json.loads(body or b"{}") for body in self._stored(DEAD_LETTERS)]

    def publish_raw(self, subject: str, *bodies: bytes) -> None:
        """Publish what is no event of ours."""

        async def act() -> None:
            client = await nats.connect(self.url)
            for body in bodies:
                await client.jetstream().publish(f"{PREFIX}.{subject}", body)
            await client.close()

        asyncio.run(act())

    def shorten_ack_wait(self, service: str, seconds: float = 2.0) -> None:
        """Deliver soon what a service had in hand when it died; the service asks for half a minute."""

        async def act() -> None:
            client = await nats.connect(self.url)
            stream = client.jetstream()
            config = (await stream.consumer_info(STREAM, service)).config
            config.ack_wait = seconds
            await stream.add_consumer(STREAM, config)
            await client.close()

        asyncio.run(act())

    def _stored(self, stream: str) -> list[bytes]:
        async def act() -> list[bytes]:
            client = await nats.connect(self.url)
            jetstream = client.jetstream()
            state = (await jetstream.stream_info(stream)).state
            numbers = range(state.first_seq or 1, state.last_seq + 1)
            bodies = [(await jetstream.get_msg(stream, number)).data or b"" for number in numbers]
            await client.close()
            return bodies

        return asyncio.run(act())


class SnsTopic:
    """A FIFO topic, the services' queues, and one more queue that hears everything for the verifier.

    Services publish through a wire of ours; the queues hang on the emulator itself, where the intake queue is too.
    """

    def __init__(self, emulator: str) -> None:
        self._wire = TcpProxy(urlsplit(emulator).port or 0)
        self._emulator = emulator
        self.environment: Mapping[str, str] = {"AWS_ENDPOINT_URL_SNS": f"http://127.0.0.1:{self._wire.port}"}
        keys = {"AWS_ENDPOINT_URL": emulator, "AWS_REGION": REGION, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        with patch.dict(os.environ, keys):
            self.url = asyncio.run(create_topic(f"bus-{uuid.uuid4().hex[:10]}", (*SERVICES, AUDIT)))
        self._address = SnsAddress.parse(self.url)
        self._heard: dict[str, list[str]] = {}
        self._wire.cut()

    def start(self) -> None:
        """Mend the wire."""
        self._wire.restore()

    def kill(self) -> None:
        """Cut the wire."""
        self._wire.cut()

    def forget(self) -> None:
        """Empty every queue."""
        for service in (*SERVICES, AUDIT):
            self._client("sqs").purge_queue(QueueUrl=self._queue(service))
        self._heard.pop(self._queue(AUDIT), None)

    def close(self) -> None:
        """End."""
        self._wire.close()

    def events(self) -> list[Event]:
        """Return every event that the topic passed on."""
        return [event for body in self._received(self._queue(AUDIT)) if (event := _event(body.encode())) is not None]

    def heard(self, service: str) -> bool:
        """Whether a service's queue holds nothing, taken or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
        found = self._client("sqs").get_queue_attributes(QueueUrl=self._queue(service), AttributeNames=names)["Attributes"]
        return not any(int(found[name]) for name in names)

    def dead_letters(self) -> list[dict[str, Any]]:
        """Return the events that were given up."""
        return [json.loads(body) for body in self._received(self._address.dead_letters)]

    def publish_raw(self, subject: str, *bodies: bytes) -> None:
        """Publish what is no event of ours; SNS takes text only, and none that is empty."""
        for body in bodies:
            self._client("sns").publish(
                TopicArn=self._address.topic, Message=body.decode(errors="replace") or " ",
                MessageGroupId=subject.rpartition(".")[2], MessageDeduplicationId=uuid.uuid4().hex,
            )  # fmt: skip

    def shorten_ack_wait(self, service: str, seconds: float = 2.0) -> None:
        """Do nothing: a service names its lease whenever it receives, and the test waits for it."""

    def _queue(self, service: str) -> str:
        return self._address.queue.replace("{service}", service)

    def _received(self, url: str) -> list[str]:
        """Return all that a queue ever held; what is taken from it is kept here."""
        kept, sqs = self._heard.setdefault(url, []), self._client("sqs")
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                kept.append(message["Body"])
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return kept

    def _client(self, service: str) -> Any:
        return botocore.session.get_session().create_client(
            service, endpoint_url=self._emulator, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test"
        )


def _event(body: bytes) -> Event | None:
    try:
        return parse_event(body)
    except PoisonError:
        return None
