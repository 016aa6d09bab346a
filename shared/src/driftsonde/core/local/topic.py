"""The SNS → SQS bus on the emulator, as the ECS template makes it on AWS."""

from __future__ import annotations

import json
from collections.abc import Sequence

from driftsonde.core.aws.session import aws_client


async def create_topic(name: str, services: Sequence[str]) -> str:
    """Create a FIFO topic, a FIFO queue for each service, and one for dead letters; returns the bus's URL for all services."""
    async with aws_client("sns") as sns, aws_client("sqs") as sqs:
        topic = (await sns.create_topic(Name=f"{name}.fifo", Attributes={"FifoTopic": "true"}))["TopicArn"]
        letters = (await sqs.create_queue(QueueName=f"{name}-dead-letters.fifo", Attributes={"FifoQueue": "true"}))["QueueUrl"]
        for service in services:
            attributes = {"FifoQueue": "true", "MessageRetentionPeriod": str(14 * 24 * 3600)}
            url = (await sqs.create_queue(QueueName=f"{name}-{service}.fifo", Attributes=attributes))["QueueUrl"]
            arn = (await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"]))["Attributes"]["QueueArn"]
            await sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(_may_send(topic, arn))})
            await sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    queue = letters.replace("-dead-letters.fifo", "-{service}.fifo")
    return f"sns://{topic}?queue={queue}&dead_letters={letters}"


def _may_send(topic: str, queue: str) -> dict[str, object]:
    statement = {
        "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }  # fmt: skip
    return {"Version": "2012-10-17", "Statement": [statement]}
