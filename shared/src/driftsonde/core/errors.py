"""Every error the services raise on purpose.

DriftsondeError
├── ConfigError            the operator must change something; exit 78, never retry
├── PoisonError            this input can never succeed; dead-letter it
│   └── UnreadableObject   corrupt, truncated, not what its name says, or over a limit
├── GoneError              the object was deleted before it could be read; count it and go on
│   └── SupersededError    another version took its place; that version has its own event
└── RetryableError         the same call may succeed later; carries `retry_after`
    ├── LeaseLost          the message is someone else's by now
    ├── Throttled          the other side asked us to slow down
    └── QuotaReached       the account may not have more; park it, do not hammer

`reason` is a label from a closed list: it names dead letters and metric series.
"""

from __future__ import annotations

from typing import ClassVar


class DriftsondeError(Exception):
    """Base of the tree; never raised itself."""

    reason: str = "error"


class ConfigError(DriftsondeError):
    """A setting is missing or wrong; the message names the key, the value and what would be right."""

    reason = "config"


class PoisonError(DriftsondeError):
    """Input that can never succeed.

    Args:
        message: what is wrong, for a person.
        reason: one of `REASONS`; the label of the dead letter.
    """

    REASONS: ClassVar[tuple[str, ...]] = ("not_json", "unknown_shape", "unknown_version", "bad_key", "bad_event", "max_deliveries")
    reason = "poison"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class UnreadableObject(PoisonError):
    """An object whose bytes cannot be read as the format they should have."""

    REASONS: ClassVar[tuple[str, ...]] = ("unreadable", "unknown_format", "too_large", "too_slow", "bad_rows", "checksum", "crash")
    reason = "unreadable"


class GoneError(DriftsondeError):
    """The object no longer exists."""

    reason = "gone"


class SupersededError(GoneError):
    """The object was replaced; the pinned version or ETag no longer matches."""

    reason = "superseded"


class RetryableError(DriftsondeError):
    """The same call may succeed later.

    Args:
        message: what failed, for a person.
        retry_after: seconds to wait before the next try.
    """

    reason = "retryable"

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Throttled(RetryableError):
    """The other side asked us to slow down."""

    reason = "throttled"


class Deferred(RetryableError):
    """It is better done later; nothing is wrong."""

    reason = "deferred"


class LeaseLost(RetryableError):
    """The lease on a message could not be renewed, or lasted as long as any may: someone else has it by now."""

    reason = "lease_lost"


class QuotaReached(RetryableError):
    """The account's quota is used up; waiting or a person helps, trying again at once does not."""

    reason = "quota"


POISON_REASONS: tuple[str, ...] = (*PoisonError.REASONS, *UnreadableObject.REASONS)
