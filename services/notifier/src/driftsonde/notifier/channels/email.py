"""E-mail over SMTP."""

from __future__ import annotations

import ssl
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

import aiosmtplib

from driftsonde.core.config import EmailChannel
from driftsonde.core.events import Alarm, Event
from driftsonde.core.names import digest
from driftsonde.core.ports import FIRST, Clock, Delivery, Occasion
from driftsonde.notifier.grouping import group_key, severity
from driftsonde.notifier.render import html_text, plain_text, subject

TIMEOUT_SECONDS: Final = 15.0
PORTS: Final = {"tls": 465, "starttls": 587, "none": 25}


class Email:
    """A channel that sends a mail for each message; what concerns one episode is one conversation.

    Args:
        section: the channel's configuration.
        password: of `section.username`; a secret.
        clock: dates mails.
        context: which certificates are trusted.
    """

    def __init__(self, section: EmailChannel, password: str | None, clock: Clock, context: ssl.SSLContext | None = None) -> None:
        self._section, self._password, self._clock = section, password, clock
        self._context = context or ssl.create_default_context()

    async def send(self, event: Event, occasion: Occasion = FIRST) -> Delivery:
        """Send one mail to all recipients."""
        section = self._section
        try:
            refused, _ = await aiosmtplib.send(
                self._mail(event, occasion),
                hostname=section.host, port=section.port or PORTS[section.security],
                username=section.username, password=self._password,
                use_tls=section.security == "tls", start_tls=section.security == "starttls",
                tls_context=None if section.security == "none" else self._context, timeout=TIMEOUT_SECONDS,
            )  # fmt: skip
        except aiosmtplib.SMTPRecipientsRefused as exc:
            return _answered(min((one.code for one in exc.recipients), default=550))
        except aiosmtplib.SMTPResponseException as exc:
            return _answered(exc.code)
        except OSError as exc:  # also what aiosmtplib raises for lost connections and timeouts
            return Delivery("retry", type(exc).__name__)  # only the kind: texts may hold names and passwords
        except aiosmtplib.SMTPException:  # no STARTTLS, no AUTH: trying again changes nothing
            return Delivery("refused", "the server does not offer what is asked for")
        return Delivery("delivered", f"{len(refused)} of {len(section.to)} recipients refused" if refused else "")

    def _mail(self, event: Event, occasion: Occasion) -> EmailMessage:
        mail, domain = EmailMessage(), self._section.sender.rpartition("@")[2]
        beginning = f"<{digest('group', group_key(event.data))}@{domain}>"
        repeated = occasion.reminder or (int(self._clock.now().timestamp()) if occasion.sample else 0)
        own = f"<{digest(event.id, repeated)}@{domain}>"
        mail["From"], mail["To"], mail["Subject"] = self._section.sender, ", ".join(self._section.to), subject(event, occasion)
        mail["Date"] = format_datetime(self._clock.now())
        # The same again when a mail is sent again: the other side may know it by that.
        if isinstance(event.data, Alarm) and not repeated:
            mail["Message-ID"] = beginning
        else:
            mail["Message-ID"] = own
            if event.data.episode is not None:
                mail["In-Reply-To"] = mail["References"] = beginning
        mail["Auto-Submitted"] = "auto-generated"
        mail["X-Driftsonde-Monitor"], mail["X-Driftsonde-Type"] = event.subject, event.data.TYPE
        mail["X-Driftsonde-Severity"] = severity(event.data)
        mail.set_content(plain_text(event, occasion))
        mail.add_alternative(html_text(event, occasion), subtype="html")
        return mail


def _answered(code: int) -> Delivery:
    """Return the delivery of an SMTP answer that is no success; its text may repeat anything, and is left out."""
    return Delivery("retry" if 400 <= code < 500 else "refused", f"SMTP {code}")
