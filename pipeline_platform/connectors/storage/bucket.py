"""Finds out at planning whether a bucket is there and lets the step in."""

from __future__ import annotations

from typing import Any, cast

from pipeline_platform.connectors.storage.location import S3_EXTRA, StorageLocation, bucket_of
from pipeline_platform.exceptions import CredentialException, PipelineExecutionException

_REFUSED_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "AuthFailure")
_REFUSED = ("AccessDenied", "403", "Forbidden", "AllAccessDisabled")
_MISSING = ("NoSuchBucket", "404")
_NO_ANSWER = (
    "check 'endpoint', and that the store is up and can be reached; 'timeoutSeconds' is how long it may take to answer"
)


def require_bucket(place: StorageLocation) -> None:
    """Ask for one name in the place's folder; does nothing for a place that is not on S3.

    Spark's own client tries for minutes before it says that a store can't be reached, and tells a wrong key from a
    wrong bucket by numbers.

    Raises:
        CredentialException: The key is not accepted, or does not give the right.
        PipelineExecutionException: There is no such bucket, or the store does not answer.
    """
    bucket = bucket_of(place.uri)
    if bucket is None:
        return
    S3_EXTRA.require()
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
    from s3fs import S3FileSystem

    store = f"S3 at {place.endpoint()}" if place.endpoint() else "S3"
    files: Any = S3FileSystem(**place.fsspec_options())
    files.retries = 1
    try:
        files.call_s3("list_objects_v2", Bucket=bucket, Prefix=place.prefix(), MaxKeys=1)
    except NoCredentialsError:
        raise CredentialException(
            f"there are no credentials for the bucket '{bucket}'",
            credential_type="s3",
            hint="set 'credentialPath', or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ) from None
    except (ClientError, OSError) as error:
        raise _explained(bucket, store, error) from None
    except BotoCoreError as error:
        raise PipelineExecutionException(
            f"{store} does not answer, so the bucket '{bucket}' can't be reached ({type(error).__name__})",
            hint=_NO_ANSWER,
            retryable=True,
        ) from None


def code_of_answer(error: BaseException | None) -> str | None:
    """The code of the store's answer that an error is made of; None for an error without an answer.

    Args:
        error: Of botocore, or of s3fs, which makes an OSError of botocore's and keeps that as its cause.
    """
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return cast("dict[str, Any]", response).get("Error", {}).get("Code")
        error = error.__cause__
    return None


def _explained(bucket: str, store: str, error: Exception) -> PipelineExecutionException | CredentialException:
    code = code_of_answer(error)
    if code in _REFUSED_KEYS:
        return CredentialException(
            f"{store} does not accept the access key for the bucket '{bucket}' ({code})",
            credential_type="s3",
            outcome="forbidden",
            hint="check accessKeyId and secretAccessKey, and that they are for this endpoint and region",
        )
    if code in _REFUSED:
        return CredentialException(
            f"{store} denies this access key access to the bucket '{bucket}'",
            credential_type="s3",
            outcome="forbidden",
            hint="allow the key to list, read and write the bucket, or name another 'credentialPath'",
        )
    if code in _MISSING:
        return PipelineExecutionException(
            f"{store} has no bucket '{bucket}'", hint="check the bucket, the endpoint and the region"
        )
    return PipelineExecutionException(
        f"{store} could not look up the bucket '{bucket}': {code or type(error.__cause__ or error).__name__}",
        hint=_NO_ANSWER,
        retryable=True,
    )
