"""The three kinds of job and how SageMaker spells each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]
"""A JSON object: a request, a description, an answer."""


@dataclass(frozen=True, slots=True)
class JobKind:
    """One kind of job. `title` as in `TrainingJobName`; `phased` when it has secondary states."""

    title: str
    phased: bool = False

    @property
    def name(self) -> str:
        """The kind in lower case: registry key and directory name."""
        return self.title.lower()

    def key(self, suffix: str) -> str:
        """Return a field such as `TrainingJobName` for `Name`."""
        return f"{self.title}Job{suffix}"

    def moment(self, suffix: str) -> str:
        """Return a field such as `TrainingStartTime` for `Start`."""
        return f"{self.title}{suffix}Time"


TRAINING: Final = JobKind("Training", phased=True)
PROCESSING: Final = JobKind("Processing")
TRANSFORM: Final = JobKind("Transform")
KINDS: Final = {kind.name: kind for kind in (TRAINING, PROCESSING, TRANSFORM)}

ACTIVE: Final = frozenset({"InProgress", "Stopping"})
"""Job states that will still change."""
