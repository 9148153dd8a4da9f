"""What the errors of S3 mean, of Hadoop's client and of botocore."""

from __future__ import annotations

from pipeline_platform.frames.rules import MAKE_FIRST, UNREACHABLE, Rule

_ACCESS_KEY = "check the access key and its rights to the bucket"
_ANSWERS = (
    "software.amazon.awssdk.core.exception.SdkServiceException",
    "org.apache.hadoop.fs.s3a.AWSServiceIOException",
    "botocore.exceptions.ClientError",
)

RULES = (
    Rule(
        f"{UNREACHABLE}; 'timeoutSeconds' is how long it may take to answer",
        transient=True,
        classes=(
            "botocore.exceptions.ReadTimeoutError",
            "software.amazon.awssdk.core.exception.ApiCallTimeoutException",
            "software.amazon.awssdk.core.exception.ApiCallAttemptTimeoutException",
            "org.apache.hadoop.fs.s3a.AWSApiCallTimeoutException",
        ),
    ),
    Rule(
        UNREACHABLE,
        transient=True,
        classes=(
            "botocore.exceptions.EndpointConnectionError",
            "botocore.exceptions.ConnectionClosedError",
            "botocore.exceptions.ConnectTimeoutError",
        ),
    ),
    Rule(UNREACHABLE, transient=True, classes=_ANSWERS, codes=frozenset({429, 500, 502, 503, 504})),
    Rule(_ACCESS_KEY, classes=_ANSWERS, codes=frozenset({401, 403})),
    Rule("check the bucket, the endpoint and the region", classes=_ANSWERS, codes=frozenset({404}), says="(?i)bucket"),
    Rule(MAKE_FIRST, classes=_ANSWERS, codes=frozenset({404})),
    Rule(
        _ACCESS_KEY,
        classes=(
            "org.apache.hadoop.fs.s3a.auth.NoAuthWithAWSException",
            "org.apache.hadoop.fs.s3a.auth.NoAwsCredentialsException",
            "botocore.exceptions.NoCredentialsError",
        ),
    ),
)
