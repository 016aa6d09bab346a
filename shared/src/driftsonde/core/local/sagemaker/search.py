"""The search of a tuning job: what SageMaker refuses of it, and which values each of its training jobs gets. Pure.

Bayesian search is answered by random search: where the values come from is the only difference that a client could see.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

MAX_RANGES: Final = 30
_KINDS: Final = ("ContinuousParameterRanges", "IntegerParameterRanges", "CategoricalParameterRanges")
_NOT_LOCAL: Final = ("WarmStartConfig", "Autotune", "TrainingJobDefinitions")
_CONFIG_NOT_LOCAL: Final = ("StrategyConfig", "TuningJobCompletionCriteria")
_DEFINITION_NOT_LOCAL: Final = ("TuningObjective", "HyperParameterRanges", "HyperParameterTuningResourceConfig", "RetryStrategy")


def problems(request: Mapping[str, Any], *, built_in: Callable[[str], bool]) -> Iterator[str]:
    """Yield what is wrong with a CreateHyperParameterTuningJob request beside its training job definition.

    Args:
        request: fits the service's model.
        built_in: whether an image is that of a built-in algorithm, whose metrics SageMaker knows.
    """
    config, definition = request["HyperParameterTuningJobConfig"], request.get("TrainingJobDefinition")
    yield from (f"{field} is not supported locally" for field in _NOT_LOCAL if field in request)
    yield from (f"{field} is not supported locally" for field in _CONFIG_NOT_LOCAL if field in config)
    if definition is None:
        yield "TrainingJobDefinition is required"
        return
    yield from (f"TrainingJobDefinition.{field} is not supported locally" for field in _DEFINITION_NOT_LOCAL if field in definition)
    if config["Strategy"] not in ("Bayesian", "Random"):
        yield f"Strategy {config['Strategy']} is not supported locally; use Bayesian or Random"
    if config.get("TrainingJobEarlyStoppingType", "Off") != "Off":
        yield "TrainingJobEarlyStoppingType Auto is not supported locally"
    yield from _limits(config["ResourceLimits"])
    yield from _objective(config, definition, built_in)
    yield from _ranges(config.get("ParameterRanges", {}), definition.get("StaticHyperParameters", {}))


def sample(config: Mapping[str, Any], name: str, number: int) -> dict[str, str]:
    """Return the values of a tuning job's training job: the same for the same name and number, after every restart.

    Args:
        config: HyperParameterTuningJobConfig of a checked request; its RandomSeed is taken for the name where it is given.
        name: of the tuning job.
        number: of the training job, from 0.
    """
    source = random.Random(f"{config.get('RandomSeed', name)}/{number}")
    ranges, found = config["ParameterRanges"], {}
    for span in ranges.get("ContinuousParameterRanges", []):
        low, high = float(span["MinValue"]), float(span["MaxValue"])
        found[span["Name"]] = repr(_between(source.random(), low, high, span.get("ScalingType", "Auto")))
    for span in ranges.get("IntegerParameterRanges", []):
        low, high = int(span["MinValue"]), int(span["MaxValue"])
        # Half a step more on either side, or the ends would come half as often as what is between.
        wide = _between(source.random(), low - 0.5, high + 0.5, span.get("ScalingType", "Auto"))
        found[span["Name"]] = str(min(max(round(wide), low), high))
    for span in ranges.get("CategoricalParameterRanges", []):
        found[span["Name"]] = source.choice(span["Values"])
    return found


def _between(share: float, low: float, high: float, scaling: str) -> float:
    """Return what lies at a share of a range, 0 to 1, on its scale; Auto is linear here."""
    if scaling == "Logarithmic":
        return min(max(math.exp(math.log(low) + share * (math.log(high) - math.log(low))), low), high)
    if scaling == "ReverseLogarithmic":
        return 1 - math.exp(math.log(1 - low) + share * (math.log(1 - high) - math.log(1 - low)))
    return low + share * (high - low)


def _limits(limits: Mapping[str, Any]) -> Iterator[str]:
    if "MaxRuntimeInSeconds" in limits:
        yield "ResourceLimits.MaxRuntimeInSeconds is not supported locally"
    if "MaxNumberOfTrainingJobs" not in limits:
        yield "ResourceLimits.MaxNumberOfTrainingJobs is required"
    elif limits["MaxParallelTrainingJobs"] > limits["MaxNumberOfTrainingJobs"]:
        yield "MaxParallelTrainingJobs must be at most MaxNumberOfTrainingJobs"


def _objective(config: Mapping[str, Any], definition: Mapping[str, Any], built_in: Callable[[str], bool]) -> Iterator[str]:
    if "HyperParameterTuningJobObjective" not in config:
        yield "HyperParameterTuningJobObjective is required"
        return
    metric, algorithm = config["HyperParameterTuningJobObjective"]["MetricName"], definition["AlgorithmSpecification"]
    known = [item["Name"] for item in algorithm.get("MetricDefinitions", [])]
    if known or not built_in(algorithm.get("TrainingImage", "")):
        if metric not in known:
            yield f"the objective metric {metric!r} must be one of MetricDefinitions: {', '.join(known) or 'there are none'}"
    elif not metric.startswith("validation:"):
        yield f"the objective metric {metric!r} is none of the algorithm's; they begin with validation:"


def _ranges(ranges: Mapping[str, Any], fixed: Mapping[str, str]) -> Iterator[str]:
    spans = [span for kind in _KINDS for span in ranges.get(kind, [])]
    names = [span["Name"] for span in spans]
    if "AutoParameters" in ranges:
        yield "ParameterRanges.AutoParameters is not supported locally"
    if not 0 < len(spans) <= MAX_RANGES:
        yield f"ParameterRanges must name 1 to {MAX_RANGES} hyperparameters, names {len(spans)}"
    yield from (f"hyperparameter {name!r} has two ranges" for name in sorted(set(names)) if names.count(name) > 1)
    yield from (f"hyperparameter {name!r} is static and has a range" for name in sorted(fixed.keys() & set(names)))
    for kind, number in (("ContinuousParameterRanges", float), ("IntegerParameterRanges", int)):
        for span in ranges.get(kind, []):
            yield from _span(span, number)


def _span(span: Mapping[str, Any], number: Callable[[str], float]) -> Iterator[str]:
    where, scaling = f"range of {span['Name']!r}", span.get("ScalingType", "Auto")
    try:
        low, high = number(span["MinValue"]), number(span["MaxValue"])
    except ValueError:
        yield f"{where}: MinValue and MaxValue must be {'whole ' if number is int else ''}numbers"
        return
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        yield f"{where}: MinValue must be less than MaxValue"
    if scaling == "Logarithmic" and low <= 0:
        yield f"{where}: Logarithmic needs a MinValue over 0"
    if scaling == "ReverseLogarithmic" and (number is int or low < 0 or high >= 1):
        yield f"{where}: ReverseLogarithmic is for continuous values from 0 to less than 1"
