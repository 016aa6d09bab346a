"""F42 SNS throttles, or its topic is gone.

Promised: throttled messages are sent later; a topic that is gone parks its messages with one alarm; no other channel notices.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from .reaction import Answer, Notifying, Web, drift, resolved

THROTTLED = Answer(
    429, "<ErrorResponse><Error><Type>Sender</Type><Code>Throttled</Code><Message>planted</Message></Error></ErrorResponse>",
    {"Content-Type": "text/xml"},
)  # fmt: skip


def test_throttled_and_vanished_topic(emulator: str, tmp_path: Path, database: str) -> None:
    name = f"topic-{uuid.uuid4().hex[:10]}"
    arn = f"arn:aws:sns:us-east-1:000000000000:{name}"
    with Web(relay=emulator) as web:
        web.always["/hook"] = Answer()
        environment = {"AWS_ENDPOINT_URL_SNS": web.url}
        with Notifying(emulator, tmp_path, database, web, channels={"topic": arn, "hook": "webhook"}, environment=environment) as rig:
            sns = rig.aws("sns")
            assert sns.create_topic(Name=name)["TopicArn"] == arn
            web.next["/"] = [THROTTLED]
            rig.publish(drift(episode=1), resolved(episode=1), drift(episode=2))
            rig.ended("topic", delivered=3)
            posts = web.at("/")
            assert [post.status for post in posts] == [429, 200, 200, 200]
            assert posts[1].at - posts[0].at > 4.5  # the other group waits too

            sns.delete_topic(TopicArn=arn)
            rig.publish(drift(episode=3), resolved(episode=3))
            rig.ended("topic", delivered=3, refused=2)
            assert rig.query("select distinct detail from delivery where state = 'refused'") == [("NotFound",)]
            assert rig.log().count("channel refuses messages") == 1
            assert rig.metric("channel_refused", "topic") == 1

            sns.create_topic(Name=name)
            rig.publish(drift(episode=4))
            rig.ended("topic", delivered=4, refused=2)
            assert rig.metric("channel_refused", "topic") == 0
            rig.ended("hook", delivered=6)
            rig.verify("hook")
