"""S3, as the platform knows it."""

from __future__ import annotations

from pipeline_platform.connectors.connector import Connector
from pipeline_platform.connectors.s3.discovery import S3Discovery
from pipeline_platform.connectors.s3.sink import ToS3
from pipeline_platform.connectors.s3.source import FromS3
from pipeline_platform.connectors.storage.errors import RULES

CONNECTOR = Connector(
    name="s3",
    methods=(FromS3, ToS3),
    jars=(
        "org.apache.hadoop:hadoop-aws:3.4.2",
        "software.amazon.awssdk:s3:2.29.52",
        "software.amazon.awssdk:s3-transfer-manager:2.29.52",
        "software.amazon.awssdk:sts:2.29.52",
        "software.amazon.awssdk:dynamodb:2.29.52",
        # Files are copied within a bucket, and those of a state store sent, by the client that does not wait.
        "software.amazon.awssdk:netty-nio-client:2.29.52",
    ),
    rules=RULES,
    discovery=S3Discovery(),
)
