"""A scripted SMTP server."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass
class MailServer:
    """What a scripted server has got so far.

    `answers` holds other answers than the usual one, by the first word of a command (`RCPT`), `CONNECT` or `DONE`, the end of a mail.
    """

    port: int
    answers: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)


@contextlib.asynccontextmanager
async def mail_server(context: ssl.SSLContext | None = None, *, at_once: bool = False) -> AsyncIterator[MailServer]:
    """Serve SMTP on 127.0.0.1; with a context it offers STARTTLS, or is encrypted from the beginning with `at_once`."""
    served: MailServer
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        encrypted = at_once
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            writer.write(served.answers.get("CONNECT", "220 ready").encode() + b"\r\n")
            while line := (await reader.readline()).decode():
                word = line.split()[0].upper() if line.split() else ""
                served.commands.append(line.strip())
                answer = served.answers.get(word)
                if answer is None and word == "EHLO":
                    offers = ["STARTTLS"] if context and not encrypted else ["AUTH PLAIN LOGIN"]
                    answer = "\r\n".join(f"250{'-' if n < len(offers) else ' '}{text}" for n, text in enumerate(["hi", *offers]))
                elif answer is None and word == "DATA":
                    writer.write(b"354 go on\r\n")
                    data = (await reader.readuntil(b"\r\n.\r\n")).removesuffix(b"\r\n.\r\n")
                    answer = served.answers.get("DONE", "250 taken")
                    if answer.startswith("250"):
                        served.encrypted.append(encrypted)
                        served.mails.append(message_from_bytes(data.replace(b"\r\n..", b"\r\n."), policy=policy.default))
                usual = {"AUTH": "235 welcome", "STARTTLS": "220 go on", "QUIT": "221 bye"}
                writer.write((answer or usual.get(word, "250 ok")).encode() + b"\r\n")
                await writer.drain()
                if word == "STARTTLS" and answer is None and context:
                    await writer.start_tls(context)
                    encrypted = True
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context if at_once else None)
    served = MailServer(server.sockets[0].getsockname()[1])
    try:
        yield served
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
