"""How the training of a recipe is done otherwise: a user's script, and a search for the best hyperparameters."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from driftsonde.core.config.base import Section
from driftsonde.core.names import S3Uri

Choice = Annotated[str, Field(min_length=1, max_length=256)]
MAX_RANGES = 30


class Script(Section):
    """A program that the training image runs (script mode)."""

    # SageMaker's limit of a hyperparameter is 256 characters, two of which are the quotes.
    source: Annotated[S3Uri, Field(max_length=254)] = Field(description="Address of a sourcedir.tar.gz.")
    entry: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]*$", max_length=254, description="File in it that is run.")


class Range(Section):
    """The numbers that a hyperparameter may be."""

    min: float = Field(allow_inf_nan=False)
    max: float = Field(allow_inf_nan=False)
    type: Literal["continuous", "integer"] = "continuous"
    scale: Literal["auto", "linear", "log", "reverse_log"] = "auto"

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.min < self.max:
            raise ValueError(f"min, {self.min:g}, must be less than max, {self.max:g}")
        if self.type == "integer" and not (self.min.is_integer() and self.max.is_integer()):
            raise ValueError("min and max of an integer must be whole numbers")
        if self.scale == "log" and self.min <= 0:
            raise ValueError(f"scale log: min must be more than 0, is {self.min:g}")
        if self.scale == "reverse_log" and (self.type == "integer" or self.min < 0 or self.max >= 1):
            raise ValueError("scale reverse_log: continuous, from 0 to less than 1")
        return self


class Tune(Section):
    """A search for the best hyperparameters instead of one training (SageMaker's tuning job)."""

    metric: str = Field("validation:auc", min_length=1, max_length=255, description="What training jobs report and is compared.")
    direction: Literal["max", "min"] = "max"
    regex: str | None = Field(
        None, min_length=1, max_length=500, description="Finds the metric in the log of an own image or script; its group is the number."
    )
    jobs: int = Field(10, ge=1, le=750, description="Training jobs in all; each is paid for.")
    parallel: int = Field(2, ge=1, le=100, description="Training jobs at a time.")
    strategy: Literal["Bayesian", "Random"] = "Bayesian"
    ranges: dict[Choice, Range | Annotated[tuple[Choice, ...], Field(min_length=1, max_length=30)]] = Field(
        min_length=1, max_length=MAX_RANGES, description="By hyperparameter: its range, or a list of the values that it may have."
    )

    @model_validator(mode="after")
    def _not_more_at_once_than_in_all(self) -> Self:
        if self.parallel > self.jobs:
            raise ValueError(f"parallel: {self.parallel} is more than jobs, {self.jobs}")
        return self
