"""`driftsonde.yaml`: what is watched, how it is judged, what happens then. All services read the same file."""

from driftsonde.core.config.base import Duration, Hours, Section, explain, parse_duration
from driftsonde.core.config.channels import (
    ChannelConfig,
    EmailChannel,
    PagerDutyChannel,
    QuietHours,
    Severity,
    SlackChannel,
    SnsChannel,
    WebhookChannel,
)
from driftsonde.core.config.deploys import (
    BanditDeploy,
    CanaryDeploy,
    Deploy,
    GuardedDeploy,
    Hosting,
    LinearDeploy,
    NoDeploy,
    ShadowDeploy,
    SingleDeploy,
)
from driftsonde.core.config.file import MAX_CONFIG_BYTES, Budget, Config, load_config, parse_config
from driftsonde.core.config.monitors import Monitor, ObjectWindow, Policy, RetrainPolicy, RowsWindow, Thresholds, TimeWindow, parse_backtest
from driftsonde.core.config.recipes import Compute, EpisodeData, FixedData, Gate, RecentData, Recipe
from driftsonde.core.config.runs import PipelineRun, StateMachineRun
from driftsonde.core.config.tuning import Range, Script, Tune

__all__ = [
    "MAX_CONFIG_BYTES",
    "BanditDeploy",
    "Budget",
    "CanaryDeploy",
    "ChannelConfig",
    "Compute",
    "Config",
    "Deploy",
    "Duration",
    "EmailChannel",
    "EpisodeData",
    "FixedData",
    "Gate",
    "GuardedDeploy",
    "Hosting",
    "Hours",
    "LinearDeploy",
    "Monitor",
    "NoDeploy",
    "ObjectWindow",
    "PagerDutyChannel",
    "PipelineRun",
    "Policy",
    "QuietHours",
    "Range",
    "RecentData",
    "Recipe",
    "RetrainPolicy",
    "RowsWindow",
    "Script",
    "Section",
    "Severity",
    "ShadowDeploy",
    "SingleDeploy",
    "SlackChannel",
    "SnsChannel",
    "StateMachineRun",
    "Thresholds",
    "TimeWindow",
    "Tune",
    "WebhookChannel",
    "explain",
    "load_config",
    "parse_backtest",
    "parse_config",
    "parse_duration",
]
