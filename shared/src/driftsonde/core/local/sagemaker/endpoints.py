"""The calls of SageMaker's API about endpoints and their configurations: checked request in, answer out."""

from __future__ import annotations

import time
from collections.abc import Callable

from driftsonde.core.local.sagemaker import rollout
from driftsonde.core.local.sagemaker.account import ENDPOINT, ENDPOINT_CONFIG, Account
from driftsonde.core.local.sagemaker.hosting import Hosting
from driftsonde.core.local.sagemaker.kinds import Json
from driftsonde.core.local.sagemaker.registry import Registry, Resource
from driftsonde.core.local.sagemaker.rules import AwsError, project
from driftsonde.core.local.sagemaker.views import describe_endpoint


class EndpointCalls:
    """Endpoints as the API shows and changes them. `calls` has a function for each operation."""

    def __init__(self, account: Account, registry: Registry, hosting: Hosting) -> None:
        self._account, self._registry, self._hosting = account, registry, hosting
        self.calls: dict[str, Callable[[Json], Json]] = {
            "CreateEndpointConfig": self._create_config,
            "DescribeEndpointConfig": self._describe_config,
            "DeleteEndpointConfig": self._delete_config,
            "CreateEndpoint": self._create,
            "UpdateEndpoint": self._update,
            "UpdateEndpointWeightsAndCapacities": self._weigh,
            "DescribeEndpoint": lambda request: describe_endpoint(self._find(ENDPOINT, request["EndpointName"])),
            "DeleteEndpoint": self._delete,
        }

    def _find(self, kind: str, name: str) -> Resource:
        """Return an endpoint or configuration; AWS answers ValidationException for one it does not know, and so do we."""
        found = self._registry.get(kind, name)
        if found is None:
            words = "endpoint" if kind == ENDPOINT else "endpoint configuration"
            raise AwsError("ValidationException", f'Could not find {words} "{self._account.arn(kind, name)}".')
        return found

    def _refuse_existing(self, kind: str, name: str) -> None:
        if self._registry.get(kind, name) is not None:
            words = "endpoint" if kind == ENDPOINT else "endpoint configuration"
            raise AwsError("ValidationException", f'Cannot create already existing {words} "{self._account.arn(kind, name)}".')

    def _create_config(self, request: Json) -> Json:
        name = request["EndpointConfigName"]
        self._refuse_existing(ENDPOINT_CONFIG, name)
        for variant in (*request["ProductionVariants"], *request.get("ShadowProductionVariants", [])):
            self._account.container(variant["ModelName"])
        return {"EndpointConfigArn": self._account.store(ENDPOINT_CONFIG, name, request, status="InService").arn}

    def _describe_config(self, request: Json) -> Json:
        config = self._find(ENDPOINT_CONFIG, request["EndpointConfigName"])
        return project("DescribeEndpointConfig", {**config.body, "EndpointConfigArn": config.arn, "CreationTime": config.created})

    def _delete_config(self, request: Json) -> Json:
        config = self._find(ENDPOINT_CONFIG, request["EndpointConfigName"])
        # AWS only warns of it; what is never right is refused here.
        for endpoint in self._registry.all_of(ENDPOINT):
            used = {
                fleet.get("EndpointConfigName") for fleet in (endpoint.body["Fleet"], endpoint.body.get("Pending", {}).get("Fleet", {}))
            }
            if config.name in used:
                raise AwsError("ValidationException", f"{config.arn} is in use by {endpoint.arn}")
        self._registry.delete(ENDPOINT_CONFIG, config.name)
        return {}

    def _fleet(self, name: str, deployment: Json | None) -> Json:
        """Return what a configuration asks to run, with models as they are now: an endpoint keeps them when they are deleted."""
        config = self._find(ENDPOINT_CONFIG, name).body
        wrong = [*rollout.size_problems(deployment, config["ProductionVariants"][0]["InitialInstanceCount"])]
        if wrong:
            raise AwsError("ValidationException", wrong[0])
        fleet: Json = {"EndpointConfigName": name, "DataCaptureConfig": config.get("DataCaptureConfig")}
        for group, field in (("Production", "ProductionVariants"), ("Shadow", "ShadowProductionVariants")):
            fleet[group] = [self._variant(variant) for variant in config.get(field, [])]
        return fleet

    def _variant(self, variant: Json) -> Json:
        weight, count = variant.get("InitialVariantWeight", 1.0), variant["InitialInstanceCount"]
        return {
            "VariantName": variant["VariantName"], "InstanceType": variant["InstanceType"],
            "Container": self._account.container(variant["ModelName"]),
            "CurrentWeight": weight, "DesiredWeight": weight, "CurrentInstanceCount": count, "DesiredInstanceCount": count,
        }  # fmt: skip

    def _create(self, request: Json) -> Json:
        name = request["EndpointName"]
        self._refuse_existing(ENDPOINT, name)
        fleet = self._fleet(request["EndpointConfigName"], request.get("DeploymentConfig"))
        endpoint = self._account.store(ENDPOINT, name, request, status="Creating", Fleet=fleet)
        self._hosting.submit(name)
        return {"EndpointArn": endpoint.arn}

    def _idle(self, name: str, *allowed: str) -> Resource:
        """Return an endpoint that nothing is being done with."""
        endpoint = self._find(ENDPOINT, name)
        if endpoint.status not in allowed:
            how = "in-progress" if endpoint.status in ("Creating", "Updating", "Deleting") else endpoint.status
            raise AwsError("ValidationException", f'Cannot update {how} endpoint "{endpoint.arn}".')
        return endpoint

    def _update(self, request: Json) -> Json:
        endpoint = self._idle(request["EndpointName"], "InService", "UpdateRollbackFailed")
        if request["EndpointConfigName"] == endpoint.body["EndpointConfigName"]:
            raise AwsError("ValidationException", f"{endpoint.arn} has this EndpointConfig already; an update needs another one")
        deployment = request.get("DeploymentConfig")
        pending = {"Fleet": self._fleet(request["EndpointConfigName"], deployment), "StartTime": time.time()}
        if deployment:
            pending["DeploymentConfig"] = deployment
        self._registry.update(ENDPOINT, endpoint.name, {"Pending": pending, "FailureReason": None}, status="Updating")
        self._hosting.submit(endpoint.name)
        return {"EndpointArn": endpoint.arn}

    def _weigh(self, request: Json) -> Json:
        endpoint = self._idle(request["EndpointName"], "InService")
        fleet = endpoint.body["Fleet"]
        variants = {variant["VariantName"]: variant for variant in fleet["Production"]}
        for wish in request["DesiredWeightsAndCapacities"]:
            if wish["VariantName"] not in variants:
                raise AwsError("ValidationException", f'Variant "{wish["VariantName"]}" is not one of {", ".join(variants)}')
            changed = variants[wish["VariantName"]]
            changed["DesiredWeight"] = wish.get("DesiredWeight", changed["DesiredWeight"])
            changed["DesiredInstanceCount"] = wish.get("DesiredInstanceCount", changed["DesiredInstanceCount"])
        if sum(variant["DesiredWeight"] for variant in variants.values()) <= 0:
            raise AwsError("ValidationException", "the weights of the production variants must not all be zero")
        self._registry.update(ENDPOINT, endpoint.name, {"Fleet": fleet, "FailureReason": None}, status="Updating")
        self._hosting.submit(endpoint.name)
        return {"EndpointArn": endpoint.arn}

    def _delete(self, request: Json) -> Json:
        endpoint = self._idle(request["EndpointName"], "InService", "Failed", "UpdateRollbackFailed")
        self._registry.update(ENDPOINT, endpoint.name, {}, status="Deleting")
        self._hosting.submit(endpoint.name)
        return {}
