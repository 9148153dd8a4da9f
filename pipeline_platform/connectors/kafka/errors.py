"""What the errors of Kafka mean."""

from __future__ import annotations

from dataclasses import replace

from pipeline_platform.connectors.kafka.values import NEW_SCHEMA
from pipeline_platform.frames.rules import UNREACHABLE, Rule, raised

_KAFKA = "org.apache.kafka.common.errors."

RULES = (
    replace(
        raised(NEW_SCHEMA, "run it again: the schema registry is asked for the schema then"),
        transient=True,
    ),
    Rule(
        "if the topic was recreated, its offsets mean nothing any more: start over, with 'startingOffsets' earliest "
        "and reset-checkpoint; to continue without what is gone, set 'failOnDataLoss' to false for one start",
        conditions=(
            "KAFKA_DATA_LOSS.PARTITIONS_DELETED",
            "KAFKA_DATA_LOSS.PARTITIONS_DELETED_AND_GROUP_ID_CONFIG_PRESENT",
            "KAFKA_DATA_LOSS.PARTITION_OFFSET_CHANGED",
            "KAFKA_START_OFFSET_DOES_NOT_MATCH_ASSIGNED",
            "MISMATCHED_TOPIC_PARTITIONS_BETWEEN_START_OFFSET_AND_END_OFFSET",
        ),
    ),
    Rule(
        "messages that had not been read yet are gone from the topic: find out which, then continue without them, "
        "with 'failOnDataLoss' set to false for one start",
        conditions=("KAFKA_DATA_LOSS",),
        classes=("org.apache.kafka.clients.consumer.OffsetOutOfRangeException",),
    ),
    Rule(
        "check 'topic'; if there is no such topic yet, create it first",
        classes=(
            f"{_KAFKA}UnknownTopicOrPartitionException",
            f"{_KAFKA}InvalidTopicException",
            "org.apache.kafka.clients.consumer.NoOffsetForPartitionException",
        ),
    ),
    Rule(
        "check the user, the password and the rights that the credentials for Kafka give",
        classes=(f"{_KAFKA}AuthenticationException", f"{_KAFKA}AuthorizationException"),
    ),
    Rule(UNREACHABLE, transient=True, classes=(f"{_KAFKA}RetriableException",)),
)
