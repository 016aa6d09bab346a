"""Text that came with data, made fit to be shown to people."""

from __future__ import annotations

import unicodedata

_REPLACEMENT = "\ufffd"


def clean(text: str, limit: int = 80) -> str:
    """Return text that came with data as one harmless line of at most `limit` characters.

    Control (escape sequences of terminals, line breaks), format (bidi, zero width), surrogate and unassigned characters become
    U+FFFD.
    """
    # Cut before the loop: a name may be megabytes long.
    shown = "".join(_REPLACEMENT if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029" else c for c in text[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"
