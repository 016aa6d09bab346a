"""What a recipe starts instead of jobs: a SageMaker Pipeline or a Step Functions state machine that people have already."""

from __future__ import annotations

import string
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import Discriminator, Field, Tag, field_validator

from driftsonde.core.config.base import Duration, Section

PLACEHOLDERS: Final = ("manifest", "monitor", "episode", "event", "deployment")
"""What `{...}` in a pipeline's parameter may name, and what a state machine is given."""


class Run(Section):
    """Base of what is started."""

    timeout: Annotated[Duration, Field(gt=timedelta(0))] = Field(
        timedelta(days=1), description="An execution that takes longer is stopped; it has failed."
    )


class PipelineRun(Run):
    """A SageMaker Pipeline is started."""

    pipeline: str = Field(
        max_length=256,
        pattern=r"^(arn:aws[a-z-]*:sagemaker:[a-z0-9-]+:\d{12}:pipeline/)?[a-zA-Z0-9](-*[a-zA-Z0-9])*$",
        description="Name or ARN of the SageMaker Pipeline that is started instead of jobs.",
    )
    parameters: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,256}$")], Annotated[str, Field(max_length=1024)]] = Field(
        {},
        max_length=200,
        description="The pipeline's parameters that are given, e.g. {Manifest: \"{manifest}\", Episode: \"{episode}\"}; "
        "known are {manifest} (S3 address of what to train on), {monitor}, {episode}, {event} (id of the drift event), {deployment}.",
    )  # fmt: skip

    @field_validator("parameters")
    @classmethod
    def _placeholders_are_known(cls, parameters: dict[str, str]) -> dict[str, str]:
        known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        for name, template in parameters.items():
            try:
                parts = list(string.Formatter().parse(template))
            except ValueError as exc:
                raise ValueError(f"{name}: {exc}; known are {known}, and a brace itself is written twice") from exc
            for _, field, form, conversion in parts:
                if field is not None and (field not in PLACEHOLDERS or form or conversion):
                    raise ValueError(f"{name}: {{{field}}} is unknown; known are {known}")
        return parameters


class StateMachineRun(Run):
    """An execution of a Step Functions state machine is started; its input names the manifest."""

    state_machine: str = Field(
        max_length=256,
        pattern=r"^arn:aws[a-z-]*:states:[a-z0-9-]+:\d{12}:stateMachine:[^\s:]{1,80}(:[^\s:]{1,80})?$",
        description="ARN of the standard Step Functions state machine that is started instead of jobs; "
        "its input is a JSON object with manifest, monitor, episode, event and deployment.",
    )  # fmt: skip


def _which(value: Any) -> str | None:
    """Return the key that says what is started; None unless there is exactly one."""
    named = [key for key in ("pipeline", "state_machine") if (key in value if isinstance(value, dict) else hasattr(value, key))]
    return named[0] if len(named) == 1 else None


AnyRun = Annotated[
    Annotated[PipelineRun, Tag("pipeline")] | Annotated[StateMachineRun, Tag("state_machine")],
    Discriminator(
        _which,
        custom_error_type="run",
        custom_error_message="exactly one of pipeline (a SageMaker Pipeline's name) and state_machine (a state machine's ARN) is needed",
    ),
]
