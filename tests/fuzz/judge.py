"""What becomes of one input."""

from __future__ import annotations

import time
import traceback
from pathlib import Path
from typing import Final

from .targets import REFUSALS, Target

SLOWEST: Final = 1.0  # seconds of processor time


def judged(target: Target, data: bytes) -> str:
    """Give an input to a target; returns `accepted`, `refused`, or else what went wrong."""
    began = time.process_time()
    word = "accepted"
    try:
        target.take(data)
    except REFUSALS:
        word = "refused"
    except Exception:
        return traceback.format_exc()
    took = time.process_time() - began
    return f"it took {took:.1f} s" if took > SLOWEST else word


def peak() -> int:
    """Return the most memory that this process has had, in MiB; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    return int(status.read_text().partition("VmHWM:")[2].split(maxsplit=1)[0]) // 1024
