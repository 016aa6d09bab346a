"""The account's resources: how they are named, found and stored, whatever their kind."""

from __future__ import annotations

import time
from typing import Any, Final

from driftsonde.core.local.sagemaker.kinds import KINDS, Json
from driftsonde.core.local.sagemaker.registry import Registry, Resource
from driftsonde.core.local.sagemaker.rules import AwsError
from driftsonde.core.local.sagemaker.settings import Settings

MODEL: Final = "model"
GROUP: Final = "model-package-group"
PACKAGE: Final = "model-package"
ENDPOINT: Final = "endpoint"
ENDPOINT_CONFIG: Final = "endpoint-config"


class Account:
    """One account in one region."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings, self._registry = settings, registry

    def arn(self, kind: str, name: str) -> str:
        """Return the ARN of a resource, whether or not there is one."""
        return f"arn:aws:sagemaker:{self._settings.region}:{self._settings.account}:{kind}/{name}"

    def store(self, kind: str, name: str, request: Json, *, status: str, **rest: Any) -> Resource:
        """Store a new resource described by its request and `rest`, the latter with `token` and `digest` taken out.

        Raises:
            AwsError: `ResourceInUse` if the name is taken.
        """
        now = time.time()
        keys = {key: rest.pop(key) for key in ("token", "digest") if key in rest}
        body = {**{key: value for key, value in request.items() if key not in ("Tags", "ClientToken")}, **rest}
        noun = (KINDS[kind].noun or f"{kind}-job") if kind in KINDS else kind
        resource = Resource(kind, name, self.arn(noun, name), status, body, now, now, **keys)
        self._registry.create(resource, request.get("Tags", []))
        return resource

    def find(self, kind: str, name: str) -> Resource:
        """Return a resource by name or ARN.

        Raises:
            AwsError: `ResourceNotFound`.
        """
        found = self._registry.by_arn(name) if name.startswith("arn:") else self._registry.get(kind, name)
        if found is None or found.kind != kind:
            raise AwsError("ResourceNotFound", f"Requested resource not found: {kind} {name}")
        return found

    def container(self, model: str) -> Json:
        """Return image, artifact and environment of a model as they are now: who runs it keeps them when the model is deleted.

        Raises:
            AwsError: `ValidationException` if there is no such model.
        """
        found = self._registry.get(MODEL, model)
        if found is None:
            raise AwsError("ValidationException", f'Could not find model "{self.arn(MODEL, model)}"')
        container: Json = found.body.get("PrimaryContainer") or found.body["Containers"][0]
        if "ModelPackageName" in container:
            package = self.find(PACKAGE, container["ModelPackageName"])
            container = {**package.body["InferenceSpecification"]["Containers"][0], "Environment": container.get("Environment", {})}
        return container
