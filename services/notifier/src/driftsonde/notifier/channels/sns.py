"""Amazon SNS topics."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any, Final

from botocore.exceptions import ClientError, NoRegionError

from driftsonde.core.aws.session import TRANSPORT_ERRORS, as_retryable, aws_client, error_code
from driftsonde.core.errors import ConfigError, Throttled
from driftsonde.core.events import Event
from driftsonde.core.ports import FIRST, Delivery, Occasion
from driftsonde.notifier.grouping import group_key, severity
from driftsonde.notifier.render import plain_text, subject

_PERMANENT: Final = frozenset({
    "NotFound", "NotFoundException", "AuthorizationError", "AuthorizationErrorException", "AccessDenied", "AccessDeniedException",
    "InvalidParameter", "InvalidParameterException", "InvalidParameterValue", "InvalidSecurity", "EndpointDisabled",
    "KMSAccessDenied", "KMSDisabled", "KMSInvalidState", "KMSNotFound", "KMSOptInRequired",
})  # fmt: skip
# SNS's own words for it: botocore does not count them as throttling, and so does not try again either.
_THROTTLED: Final = frozenset({"Throttled", "KMSThrottling"})
_PAUSE_SECONDS: Final = 5.0


async def sns_client(key: str, topic_arn: str, stack: AsyncExitStack) -> Any:
    """Return an SNS client for the topic's own region.

    Raises:
        ConfigError: naming `key`, when there is no such region.
    """
    try:
        return await stack.enter_async_context(aws_client("sns", read_timeout=10.0, connections=4, region=topic_arn.split(":")[3]))
    except (NoRegionError, ValueError) as exc:
        raise ConfigError(f"{key}: {exc}") from exc


class Sns:
    """A channel that publishes plain text with attributes to filter by."""

    def __init__(self, client: Any, topic_arn: str) -> None:
        self._client, self._topic_arn = client, topic_arn

    async def send(self, event: Event, occasion: Occasion = FIRST) -> Delivery:
        """Publish one event."""
        try:
            await self._client.publish(**self._request(event, occasion))
        except ClientError as exc:
            code = error_code(exc)
            if code in _PERMANENT:
                return Delivery("refused", code)
            if code in _THROTTLED:
                return Delivery("retry", code, _PAUSE_SECONDS)
            wait = as_retryable(exc)
            return Delivery("retry", code, wait.retry_after if isinstance(wait, Throttled) else None)
        except TRANSPORT_ERRORS as exc:
            return Delivery("retry", type(exc).__name__)
        return Delivery("delivered")

    def _request(self, event: Event, occasion: Occasion) -> dict[str, Any]:
        attributes = {"monitor": event.subject, "type": event.data.TYPE, "severity": severity(event.data)}
        request: dict[str, Any] = {
            "TopicArn": self._topic_arn,
            "Subject": subject(event, occasion),
            "Message": plain_text(event, occasion),
            "MessageAttributes": {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()},
        }
        if self._topic_arn.endswith(".fifo"):
            request |= {"MessageGroupId": group_key(event.data), "MessageDeduplicationId": event.id}
        return request
