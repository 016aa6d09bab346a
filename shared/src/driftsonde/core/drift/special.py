"""scipy's special functions, loaded when one is first needed: loading them takes a fifth of a detector's start."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Return a function of `scipy.special` (PEP 562)."""
    import scipy.special

    globals()[name] = found = getattr(scipy.special, name)
    return found
