"""What tells a topic from another one that is made under its name after it was deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline_platform.frames.remote import is_remote

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_PREFIX = "kafka."
# What a cluster says that gives its topics no ids: sixteen bytes of zero.
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"


def topic_ids(
    spark: SparkSession, options: Mapping[str, str], topics: Sequence[str] | None, pattern: str | None
) -> dict[str, str]:
    """The ids that Kafka gives topics, by name; empty over Spark Connect, where Kafka's own client is out of reach.

    Args:
        spark: The session; the client of its JVM is asked.
        options: Of Spark's reader.
        topics: The topics, which are there.
        pattern: In place of them, a regular expression of Java's that their names match as a whole.
    """
    if is_remote(spark):
        return {}
    # What belongs to the JVM has no types.
    jvm: Any = spark._jvm  # pyright: ignore[reportPrivateUsage]
    properties = jvm.java.util.HashMap()
    for name, value in options.items():
        if name.startswith(_PREFIX):
            properties.put(name.removeprefix(_PREFIX), value)
    admin = jvm.org.apache.kafka.clients.admin.Admin.create(properties)
    try:
        wanted = jvm.java.util.ArrayList()
        for name in topics if topics is not None else admin.listTopics().names().get():
            if topics is not None or jvm.java.util.regex.Pattern.matches(pattern or "", name):
                wanted.add(name)
        described = admin.describeTopics(wanted).allTopicNames().get()
        found = {str(name): str(described[name].topicId().toString()) for name in described}
    finally:
        admin.close()
    return {name: id_ for name, id_ in found.items() if id_ != _NO_ID}
