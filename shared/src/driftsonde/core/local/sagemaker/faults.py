"""Faults that tests ask for, one call at a time."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

DROP = "ConnectionDrop"
"""The code of a fault whose answer is a connection closed without one."""


class Fault(BaseModel):
    """Answer the next calls of an operation with an error.

    With `after`, the call does its work first: the client sees an error and cannot know that it was done.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    op: str = Field(min_length=1)
    times: int = Field(1, ge=1)
    code: str = Field("ThrottlingException", min_length=1)
    message: str = "a scripted fault"
    after: bool = False


class Faults:
    """The faults still to come, each operation's in the order given."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, faults: list[Fault]) -> None:
        """Queue faults behind those that wait."""
        self._waiting.extend(fault.model_copy(update={"times": 1}) for fault in faults for _ in range(fault.times))

    @property
    def waiting(self) -> list[Fault]:
        """Every fault that has not struck yet, one entry per call."""
        return list(self._waiting)

    def take(self, op: str) -> Fault | None:
        """Return and forget the next fault of an operation, or None."""
        for index, fault in enumerate(self._waiting):
            if fault.op == op:
                return self._waiting.pop(index)
        return None
