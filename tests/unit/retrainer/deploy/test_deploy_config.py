"""What the whole configuration says of endpoints."""

from __future__ import annotations

from typing import Any

import pytest

from driftsonde.core.config import BanditDeploy, Config, NoDeploy, ShadowDeploy, parse_config
from driftsonde.core.errors import ConfigError


def parse(*deploys: dict[str, Any] | None, shared: bool = False, **top: Any) -> Config:
    """One monitor and recipe for each section, or two monitors that share the first recipe."""
    recipe = {"role": "arn:aws:iam::123456789012:role/jobs", "output": "s3://acme/out/"}
    recipes = {f"r{n}": {**recipe, **({"deploy": deploy} if deploy else {})} for n, deploy in enumerate(deploys)}
    users = ["r0", "r0"] if shared else list(recipes)
    monitors = [
        {"name": f"m{n}", "drops": f"s3://acme/in-{n}/", "baseline": "s3://acme/base/", "retrain": {"recipe": name}}
        for n, name in enumerate(users)
    ]
    return parse_config({"monitors": monitors, "recipes": recipes, **top}, source="test")


def test_models_need_no_endpoint_unless_asked_for() -> None:
    assert parse(None).recipes["r0"].deploy == NoDeploy()


def test_shadow_reads_for_as_its_length() -> None:
    deploy = parse({"strategy": "shadow", "endpoint": "web", "for": "6h"}).recipes["r0"].deploy
    assert isinstance(deploy, ShadowDeploy)
    assert deploy.lasts.total_seconds() == 6 * 3600


@pytest.mark.parametrize("shared", [True, False])
def test_two_monitors_may_not_share_an_endpoint(shared: bool) -> None:
    deploy = {"strategy": "single", "endpoint": "web"}
    with pytest.raises(ConfigError, match="'m0' and 'm1' would replace each other's models on 'web'"):
        parse(*([deploy] if shared else [deploy, deploy]), shared=shared)


def test_two_monitors_may_share_a_recipe_without_an_endpoint() -> None:
    assert len(parse(None, shared=True).monitors) == 2


def test_unknown_strategy_is_named_with_the_known() -> None:
    with pytest.raises(ConfigError, match="'none', 'single', 'shadow', 'canary', 'linear', 'bandit'"):
        parse({"strategy": "rainbow", "endpoint": "web"})


def test_owner_of_the_labels_bucket_can_be_given() -> None:
    owners = {"labels": "111122223333"}
    config = parse({"strategy": "bandit", "endpoint": "web", "labels": "s3://labels/churn/"}, bucket_owners=owners)
    assert isinstance(config.recipes["r0"].deploy, BanditDeploy)
    with pytest.raises(ConfigError, match="'labels'"):
        parse(None, bucket_owners=owners)
