"""The four kinds of job and how SageMaker spells each; and how an image tells which algorithm it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]
"""A JSON object: a request, a description, an answer."""


@dataclass(frozen=True, slots=True)
class JobKind:
    """One kind of job. `title` as in `TrainingJobName`; `phased` when it has secondary states.

    `noun` (of ARNs) and `words` (of events) only where they do not follow from the title.
    """

    title: str
    phased: bool = False
    noun: str = ""
    words: str = ""

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
TUNING: Final = JobKind("HyperParameterTuning", noun="hyper-parameter-tuning-job", words="HyperParameter Tuning")
KINDS: Final = {kind.name: kind for kind in (TRAINING, PROCESSING, TRANSFORM, TUNING)}

ACTIVE: Final = frozenset({"InProgress", "Stopping"})
"""Job states that will still change."""


def is_xgboost(image: str) -> bool:
    """Whether an image is one of SageMaker's XGBoost containers, by the name of its repository."""
    return "xgboost" in image.partition("@")[0].rsplit("/", 1)[-1].partition(":")[0]
