"""A message as plain text and as Slack Block Kit, within every limit of the other side. Pure."""

from __future__ import annotations

import html
import re
from typing import Any, Final

from driftsonde.core.events import ApprovalRequested, Event
from driftsonde.core.ports import FIRST, Occasion
from driftsonde.core.text import clean
from driftsonde.notifier.wording import message

SLACK_HEADER: Final = 150
SLACK_SECTION: Final = 3000
SLACK_BLOCKS: Final = 50
SLACK_FALLBACK: Final = 1000
TEXT_BUDGET: Final = 12_000
"""Characters of all blocks together: Slack refuses above about 13,200, though no document says so."""
SLACK_LINK: Final = 3000
SNS_SUBJECT: Final = 99

_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Escaping stops <!channel>; a bare @channel is only linked when parsing is on, which the receiving side decides.
_MENTION = re.compile(r"@(?=channel|here|everyone|group)", re.IGNORECASE)
_WORD_JOINER = "\u2060"
_SHORTENED = "… shortened; `driftsonde status` has every episode."


def plain_text(event: Event, occasion: Occasion = FIRST) -> str:
    """Return the message as text for SNS and e-mail, at most `TEXT_BUDGET` characters."""
    said = message(event, occasion)
    text = "\n\n".join((said.title, *said.paragraphs, said.footer))
    return text if len(text) <= TEXT_BUDGET else f"{text[: TEXT_BUDGET - 1]}…"


def html_text(event: Event, occasion: Occasion = FIRST) -> str:
    """Return the message as HTML for e-mail: every text escaped, no address followed, nothing loaded."""
    title, *paragraphs = plain_text(event, occasion).split("\n\n")
    shown = "".join(f"<p>{html.escape(part).replace(chr(10), '<br>')}</p>" for part in paragraphs)
    return f"<!doctype html><html><body><h3>{html.escape(title)}</h3>{shown}</body></html>"


def subject(event: Event, occasion: Occasion = FIRST) -> str:
    """Return a line for SNS and e-mail: ASCII, no line breaks, under 100 characters."""
    return clean(message(event, occasion).title, SNS_SUBJECT).encode("ascii", "replace").decode()


def slack_payload(event: Event, occasion: Occasion = FIRST) -> dict[str, Any]:
    """Return the body of a Slack webhook call: blocks, and `text` for notifications and old clients.

    All text is `plain_text`, so `*_~` and links in names stay what they are.
    """
    said = message(event, occasion)
    footer = escape(said.footer, SLACK_HEADER)
    fallback = escape(f"{said.title}: {said.paragraphs[0]}" if said.paragraphs else said.title, SLACK_FALLBACK)
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(escape(said.title, SLACK_HEADER))}]
    # The last paragraphs say what was done, so it is the longest ones that give way when the budget is short.
    budget = TEXT_BUDGET - len(fallback) - len(footer) - SLACK_HEADER - len(_SHORTENED)
    sections = _fit([escape_lines(part) for part in said.paragraphs], budget)
    blocks += ({"type": "section", "text": _plain(text)} for text in sections)
    blocks += _buttons(event)
    blocks.append({"type": "context", "elements": [_plain(footer)]})
    return {"text": fallback, "mrkdwn": False, "blocks": blocks[:SLACK_BLOCKS]}


def _buttons(event: Event) -> list[dict[str, Any]]:
    """Return a button for a question that comes with a link: in plain text Slack makes none clickable."""
    link = event.data.link if isinstance(event.data, ApprovalRequested) else None
    if not link or not link.startswith(("https://", "http://")) or len(link) > SLACK_LINK:
        return []
    return [{"type": "actions", "elements": [{"type": "button", "text": _plain("Say yes or no"), "url": link}]}]


def escape(text: str, limit: int) -> str:
    """Escape & < > and neutralise mentions; the limit counts escaped characters and never cuts an entity in two."""
    shown: list[str] = []
    length = 0
    for piece in (_ENTITIES.get(c, c) for c in _MENTION.sub(f"@{_WORD_JOINER}", text)):
        if length + len(piece) > limit - 1:
            return "".join((*shown, "…"))
        shown.append(piece)
        length += len(piece)
    return "".join(shown)


def escape_lines(text: str) -> list[str]:
    """Return a paragraph as sections of whole lines, none longer than a section may be."""
    sections: list[str] = []
    for line in (escape(line, SLACK_SECTION) for line in text.split("\n")):
        if sections and len(sections[-1]) + 1 + len(line) <= SLACK_SECTION:
            sections[-1] += f"\n{line}"
        else:
            sections.append(line)
    return sections


def _fit(paragraphs: list[list[str]], budget: int) -> list[str]:
    """Take whole lines off the longest paragraph until all fit, and say so."""
    shortened = False
    while sum(len(section) for part in paragraphs for section in part) > budget:
        longest = max(paragraphs, key=lambda part: sum(map(len, part)))
        head, _, _ = longest[-1].rpartition("\n")
        longest[-1:] = [head] if head else []
        shortened = True
    return [section for part in paragraphs for section in part] + ([_SHORTENED] if shortened else [])


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}
