"""The new model gets copies of the requests; after a time it takes over, or is taken away."""

from __future__ import annotations

import math
from datetime import timedelta

from driftsonde.core.config import ShadowDeploy
from driftsonde.retrainer.deploy.evidence import Captures
from driftsonde.retrainer.deploy.model import (
    Ask,
    Case,
    Request,
    Restore,
    Source,
    Stay,
    Step,
    concluded,
    configuration,
    incumbent,
    replacing,
    variant,
)

SHADOW = "Shadow"
_LOOK = timedelta(minutes=5)
_SIGMAS = 3


class Shadow:
    """Trial configuration with a shadow variant, then the live one."""

    def __init__(self, deploy: ShadowDeploy) -> None:
        self._deploy = deploy

    def source(self, case: Case) -> Source | None:
        """What was captured, once the trial runs: at its end, or at each look when it may end earlier."""
        capture, running = self._deploy.capture, case.endpoint is not None and case.endpoint.config == case.names.trial
        if capture is None or not running or not (self._deploy.requests or self._is_over(case)):
            return None
        return Source("captures", self._destination(case))

    def step(self, case: Case) -> Step:
        """Ask for the trial, wait, judge, and ask for the live configuration or the former one."""
        end = concluded(case)
        if end is not None:
            return end
        if case.endpoint is None:
            return Ask(replacing(case, self._deploy.compute))
        if case.endpoint.config != case.names.trial:
            return Ask(self._trial(case))
        if not self._is_over(case) and not self._has_enough(case):
            end_at = case.since + self._deploy.lasts
            return Stay(min(end_at, case.now + _LOOK) if self._deploy.requests else end_at)
        wrong = self._objection(case)
        return Restore(wrong) if wrong else Ask(replacing(case, self._deploy.compute), reason=_praise(case))

    def _trial(self, case: Case) -> Request:
        production = {**incumbent(case), "InitialVariantWeight": 1.0}
        # SageMaker reads a shadow's weight against the production variant's: it is the share that is copied.
        shadow = variant(SHADOW, case.names.model, self._deploy.compute, self._deploy.sample)
        request = configuration(case, case.names.trial, [production], ShadowProductionVariants=[shadow])
        if self._deploy.capture is not None:
            request["DataCaptureConfig"] = {
                "EnableCapture": True, "InitialSamplingPercentage": 100, "DestinationS3Uri": self._destination(case),
                "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
                "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
            }  # fmt: skip
        return request

    def _destination(self, case: Case) -> str:
        """Where this trial is captured, and no other."""
        return f"{(self._deploy.capture or '').rstrip('/')}/{case.names.trial}"

    def _is_over(self, case: Case) -> bool:
        return case.now >= case.since + self._deploy.lasts

    def _has_enough(self, case: Case) -> bool:
        wanted = self._deploy.requests
        return wanted is not None and isinstance(case.evidence, Captures) and case.evidence.requests >= wanted

    def _objection(self, case: Case) -> str | None:
        """Return why the model is not taken; None if nothing speaks against it."""
        found, deploy = case.evidence, self._deploy
        if not isinstance(found, Captures):
            return None  # nothing is captured; it stayed in service, or `concluded` would have ended this
        if found.requests < deploy.least:
            return f"only {found.requests} requests were captured, {deploy.least} are needed"
        expected = found.requests * deploy.sample
        # Which requests are copied is chance, unless it is all of them.
        allowed = deploy.errors * expected + _SIGMAS * math.sqrt(expected * (1 - deploy.sample))
        if expected - found.answered > allowed:
            return f"the model answered {found.answered} of about {expected:.0f} copied requests"
        if found.agreed < deploy.agreement * found.answered:
            return f"{found.agreed} of {found.answered} answers agree with the former model's, {deploy.agreement:.0%} are needed"
        return None


def _praise(case: Case) -> str:
    found = case.evidence
    if not isinstance(found, Captures):
        return f"as a shadow it stayed in service for {case.now - case.since}"
    return f"as a shadow it answered {found.answered} of {found.requests} captured requests, {found.agreed} as the former model"
