"""E-mail against a scripted SMTP server."""

from __future__ import annotations

import base64
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from driftsonde.core.config import EmailChannel
from driftsonde.core.ports import Delivery, Occasion
from driftsonde.core.testing.fakes import FakeClock
from driftsonde.notifier.channels.email import Email

from .smtp import MailServer, mail_server
from .support import NOON, Rig, detected, event, rejected, resolved

PASSWORD = "hunter2SECRET"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=mail"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key"), "-out", str(folder / "cert")]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return folder / "cert", folder / "key"


@pytest.fixture
def served(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """What the server proves itself with."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture
async def smtp(served: ssl.SSLContext) -> AsyncIterator[MailServer]:
    """A server with STARTTLS."""
    async with mail_server(served) as server:
        yield server


def section(server: MailServer, **extra: Any) -> EmailChannel:
    """Return a channel's configuration."""
    raw = {
        "type": "email",
        "host": "127.0.0.1",
        "port": server.port,
        "from": "drift@acme.example",
        "to": ["ml@acme.example", "ops@acme.example"],
    }
    return EmailChannel.model_validate(raw | extra)


def channel(server: MailServer, certificate: tuple[Path, Path], password: str | None = None, **extra: Any) -> Email:
    """Return a channel that trusts the server's certificate."""
    trust = ssl.create_default_context(cafile=certificate[0])
    return Email(section(server, **extra), password, FakeClock(NOON), trust)


async def test_mail_has_text_and_html_and_is_encrypted(smtp: MailServer, certificate: tuple[Path, Path]) -> None:
    assert await channel(smtp, certificate).send(event(detected())) == Delivery("delivered")
    (mail,) = smtp.mails
    assert smtp.encrypted == [True]
    assert (mail["From"], mail["To"]) == ("drift@acme.example", "ml@acme.example, ops@acme.example")
    assert mail["Subject"] == "Drift: churn, 1 column moved"
    assert (mail["X-Driftsonde-Monitor"], mail["X-Driftsonde-Severity"], mail["Auto-Submitted"]) == ("churn", "warning", "auto-generated")
    text, page = (part.get_content() for part in mail.iter_parts())
    assert "0.312" in text
    assert "<h3>Drift: churn, 1 column moved</h3>" in page


async def test_password_is_sent_over_tls_only(smtp: MailServer, certificate: tuple[Path, Path]) -> None:
    assert await channel(smtp, certificate, PASSWORD, username="drift", password_file="x").send(event(detected())) == Delivery("delivered")
    auth = next(n for n, command in enumerate(smtp.commands) if command.startswith("AUTH"))
    assert base64.b64decode(smtp.commands[auth].split()[2]) == f"\0drift\0{PASSWORD}".encode()
    assert smtp.commands.index("STARTTLS") < auth


async def test_tls_from_the_beginning_is_possible(served: ssl.SSLContext, certificate: tuple[Path, Path]) -> None:
    async with mail_server(served, at_once=True) as server:
        assert await channel(server, certificate, security="tls").send(event(detected())) == Delivery("delivered")
        assert server.encrypted == [True]


async def test_unencrypted_relay_has_to_be_asked_for() -> None:
    async with mail_server() as server:
        assert await Email(section(server, security="none"), None, FakeClock(NOON)).send(event(detected())) == Delivery("delivered")
        answer = await Email(section(server), None, FakeClock(NOON)).send(event(detected()))
        assert answer == Delivery("refused", "the server does not offer what is asked for")
        assert len(server.mails) == 1


async def test_server_with_a_foreign_certificate_gets_nothing(smtp: MailServer) -> None:
    answer = await Email(section(smtp), None, FakeClock(NOON)).send(event(detected()))
    assert answer.outcome == "retry"
    assert smtp.mails == []


async def test_mails_of_an_episode_are_one_conversation(smtp: MailServer, certificate: tuple[Path, Path]) -> None:
    mailer = channel(smtp, certificate)
    told = [
        (detected(), Occasion()),
        (detected(), Occasion(reminder=1)),
        (detected(), Occasion(reminder=2)),
        (resolved(), Occasion()),
        (detected(8), Occasion()),
    ]
    for fact, occasion in told:
        assert await mailer.send(event(fact), occasion) == Delivery("delivered")
    first, *later, other = smtp.mails
    assert [mail["References"] for mail in later] == [first["Message-ID"]] * 3
    assert first["References"] is None
    assert other["Message-ID"] != first["Message-ID"]
    assert len({mail["Message-ID"] for mail in smtp.mails}) == 5
    assert later[0]["Subject"].startswith("Still open: Drift")


async def test_repeated_mail_has_the_same_id(smtp: MailServer, certificate: tuple[Path, Path]) -> None:
    mailer = channel(smtp, certificate)
    for _ in range(2):
        await mailer.send(event(resolved()))
    assert smtp.mails[0]["Message-ID"] == smtp.mails[1]["Message-ID"]


@pytest.mark.parametrize(
    ("word", "answer", "wanted"),
    [
        ("CONNECT", "421 busy", Delivery("retry", "SMTP 421")), ("MAIL", "451 later", Delivery("retry", "SMTP 451")),
        ("MAIL", "553 no", Delivery("refused", "SMTP 553")), ("RCPT", "450 later", Delivery("retry", "SMTP 450")),
        ("RCPT", "550 nobody", Delivery("refused", "SMTP 550")), ("DATA", "554 spam", Delivery("refused", "SMTP 554")),
        ("DONE", "452 full", Delivery("retry", "SMTP 452")), ("AUTH", "535 wrong", Delivery("refused", "SMTP 535")),
        ("AUTH", "454 later", Delivery("retry", "SMTP 454")),
    ],
)  # fmt: skip
async def test_answer_decides_between_retry_and_refusal(
    smtp: MailServer, certificate: tuple[Path, Path], word: str, answer: str, wanted: Delivery
) -> None:
    smtp.answers[word] = answer
    mailer = channel(smtp, certificate, PASSWORD, username="drift", password_file="x")
    assert await mailer.send(event(detected())) == wanted
    assert smtp.mails == []


async def test_dead_server_is_retried(certificate: tuple[Path, Path]) -> None:
    async with mail_server() as gone:
        mailer = channel(gone, certificate)
    assert (await mailer.send(event(detected()))).outcome == "retry"


@pytest.mark.parametrize("name", ["a\r\nBcc: evil@example.com", "<script>alert(1)</script>", "\x1b[31m", "a\u202eb", "é" * 300])
async def test_hostile_names_are_harmless_in_mail(smtp: MailServer, certificate: tuple[Path, Path], name: str) -> None:
    mailer = channel(smtp, certificate)
    await mailer.send(event(detected(columns=[name], label=name, summary=name)))
    await mailer.send(event(rejected(name, name)))
    for mail in smtp.mails:
        assert mail["Bcc"] is None
        text, page = (part.get_content() for part in mail.iter_parts())
        assert "<script" not in page
        assert not {"\x1b", "\u202e"} & set(text + page)
    assert len(smtp.mails) == 2


async def test_password_is_in_no_log_or_table(
    tmp_path: Path, smtp: MailServer, certificate: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    smtp.answers["AUTH"] = f"535 wrong: {PASSWORD}"
    rig = Rig(tmp_path, {"ops": channel(smtp, certificate, PASSWORD, username="drift", password_file="x")})
    await rig.tell(detected())
    await rig.deliver()
    assert rig.log() == [("refused", "SMTP 535")]
    rig.close()
    out, err = capfd.readouterr()
    assert "SECRET" not in out + err
    assert b"SECRET" not in b"".join(path.read_bytes() for path in tmp_path.glob("notifier.db*"))
