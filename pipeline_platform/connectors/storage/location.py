"""S3 and stores that speak its protocol: how a step enters one, and where its files are."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.redirection import NotRedirected, Redirection
from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.uris import normalized_uri
from pipeline_platform.config.values import Flag, Location, Secret, Text, Timeout
from pipeline_platform.connectors.storage.credentials import S3Credentials
from pipeline_platform.credentials.model import Credentials
from pipeline_platform.credentials.request import CredentialRequest
from pipeline_platform.extras import Extra
from pipeline_platform.steps.credentialed import Credentialed

if TYPE_CHECKING:
    from upath import UPath

S3_EXTRA = Extra("s3", "a path on S3", ("s3fs",))
CONNECT_SECONDS = 10
"""How long a store may take to accept a connection."""
ANSWER_SECONDS = 60
"""How long a store may take to answer a request, unless `timeoutSeconds` says otherwise; S3A's own default."""
# Hadoop's own let a store that is down take five minutes; a run has attempts of its own.
_PATIENCE = {
    "fs.s3a.attempts.maximum": "3",
    "fs.s3a.retry.limit": "4",
    "fs.s3a.connection.establish.timeout": f"{CONNECT_SECONDS}s",
}
_PROVIDERS = "org.apache.hadoop.fs.s3a."
NO_KEPT_CLIENTS = {"fs.s3a.impl.disable.cache": "true"}
"""Setting, or option, with which Hadoop makes a client of S3 for each use, in place of one for each bucket."""
# Hadoop keeps one file system for each bucket, with the keys of whoever asked first. This JVM is ours alone; those of
# Spark Connect are not, and sessions there keep none.
_keys_of_kept: dict[str, str] = {}
_lock = threading.Lock()


class S3Options(Credentialed):
    """Keys of the methods whose files may be on S3; without a `credentialPath` they say how to enter it."""

    credential_types: ClassVar[Mapping[str, type[Credentials]]] = dict.fromkeys(
        ("s3", "aws", "deltalake", "delta"), S3Credentials
    )
    # Those of AWS's own programs.
    credential_variables: ClassVar[Mapping[str, str]] = {
        "accessKeyId": "AWS_ACCESS_KEY_ID",
        "secretAccessKey": "AWS_SECRET_ACCESS_KEY",
        "sessionToken": "AWS_SESSION_TOKEN",
        "region": "AWS_REGION",
        "endpoint": "AWS_ENDPOINT_URL_S3",
    }

    access_key_id: Secret | None = None
    """On S3: the access key id."""
    secret_access_key: Secret | None = None
    """On S3: the secret access key."""
    session_token: Secret | None = None
    """On S3: token of a temporary access key."""
    region: Text | None = None
    """On S3: the region of the bucket; by default `us-east-1`."""
    endpoint: Text | None = None
    """On S3: URL of a store other than AWS."""
    path_style_access: Flag | None = None
    """On S3: put the bucket into the path instead of the host name; the default if `endpoint` is set."""
    timeout_seconds: Timeout = ANSWER_SECONDS
    """On S3: how long a response may take; each request is tried a few times."""

    def uri(self) -> str:
        """Where the files are, as Spark is to read or write it."""
        raise NotImplementedError

    def place(self, credentials: Credentials | None) -> StorageLocation:
        """Where the files are, with these credentials."""
        return replace(place_of(self.uri(), credentials), timeout_seconds=self.timeout_seconds)

    def required_extras(self) -> Sequence[Extra]:
        return (*([S3_EXTRA] if bucket_of(self.uri()) is not None else []), *super().required_extras())

    def may_enter_without(self) -> bool:
        # A machine may have a role that lets it in.
        return True

    def credential_request(self) -> CredentialRequest | None:
        return super().credential_request() if bucket_of(self.uri()) is not None else None

    def inline_credentials(self) -> dict[str, Any]:
        return self.written(
            "access_key_id", "secret_access_key", "session_token", "region", "endpoint", "path_style_access"
        )

    @model_validator(mode="after")
    def _key_is_whole(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            given = "accessKeyId" if self.access_key_id is not None else "secretAccessKey"
            message = "'accessKeyId' and 'secretAccessKey' go together"
            raise PydanticCustomError("access_key", message, {"key": given})
        return self


class InBucket(FormatModel):
    """Keys of the methods whose files are in a bucket."""

    bucket: Annotated[Location, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the bucket."""
    path: Location
    """Folder in the bucket, with or without a leading `/`."""

    def uri(self) -> str:
        """The path as Spark is to read or write it."""
        return f"s3a://{self.bucket}/{self.path.lstrip('/')}"

    def keys_in(self, to: Redirection) -> dict[str, str]:
        """The keys that say where the files of an environment are.

        Args:
            to: The environment's.

        Raises:
            NotRedirected: There is no such place.
        """
        moved = normalized_uri(to.path(self.uri()))
        if (bucket := bucket_of(moved)) is None:
            raise NotRedirected(f"'{moved}' is in no bucket of S3, and the method writes to one")
        return {"bucket": bucket, "path": moved.removeprefix(f"s3://{bucket}/")}


def bucket_of(uri: str) -> str | None:
    """The bucket that a URI names; None if it is not on S3."""
    scheme, _, rest = normalized_uri(uri).partition("://")
    # urlsplit raises an error for some texts, such as one with a bracket, and `check` asks for the bucket of any.
    return re.split("[/?#]", rest, maxsplit=1)[0] if scheme == "s3" else None


@dataclass(frozen=True)
class StorageLocation:
    """A path or URI together with the credentials of the step that reads or writes it.

    Args:
        uri: As Spark takes it.
        credentials: Those of S3; None for a local path, or where the machine itself is let in.
        timeout_seconds: How long the answer to a request may take.
    """

    uri: str
    credentials: S3Credentials | None = None
    timeout_seconds: int = ANSWER_SECONDS

    def endpoint(self) -> str | None:
        """URL of a store other than AWS."""
        return self.credentials.endpoint if self.credentials is not None else None

    def path(self) -> UPath:
        """The place for Python's own use of what Spark is given as a path or URI."""
        from upath import UPath

        if re.match(r"file:", self.uri, re.IGNORECASE):
            # As Hadoop reads it: `%20` is no blank.
            return UPath(re.sub(r"(?i)^file:(//[^/]*)?", "", self.uri))
        if bucket_of(self.uri) is not None:
            S3_EXTRA.require()
        return UPath(self.uri) if self.uri.startswith("/") else UPath(normalized_uri(self.uri), **self.fsspec_options())

    def prefix(self) -> str:
        """The folder within the bucket."""
        return urlsplit(normalized_uri(self.uri)).path.strip("/")

    def spark_options(self) -> dict[str, str]:
        """Options of Spark's reader or writer, for this step alone."""
        key, bucket = self.credentials, bucket_of(self.uri)
        if bucket is None:
            return {}
        limit = f"{self.timeout_seconds}s"
        options = _PATIENCE | {"fs.s3a.connection.timeout": limit, "fs.s3a.connection.request.timeout": limit}
        if key is not None:
            provider = "TemporaryAWSCredentialsProvider" if key.session_token else "SimpleAWSCredentialsProvider"
            options |= {
                "fs.s3a.aws.credentials.provider": _PROVIDERS + provider,
                "fs.s3a.access.key": key.access_key_id.get_secret_value(),
                "fs.s3a.secret.key": key.secret_access_key.get_secret_value(),
                "fs.s3a.session.token": _legible(key.session_token),
                "fs.s3a.endpoint.region": key.region,
                "fs.s3a.endpoint": key.endpoint or "",
                "fs.s3a.path.style.access": str(_path_style(key)).lower(),
            }
        options = {name: value for name, value in options.items() if value}
        return options | ({} if _keeps(bucket, options) else NO_KEPT_CLIENTS)

    def session_settings(self) -> dict[str, str]:
        """Settings of a session, for what takes no options, such as a checkpoint.

        They hold for this bucket alone, except that clients of all buckets are not kept where this one's is another's.
        """
        bucket = bucket_of(self.uri)
        return {
            name if name in NO_KEPT_CLIENTS else name.replace("fs.s3a.", f"fs.s3a.bucket.{bucket}.", 1): value
            for name, value in self.spark_options().items()
        }

    def delta_rs_options(self) -> dict[str, str]:
        """Storage options of delta-rs."""
        if bucket_of(self.uri) is None:
            return {}
        key, limits = self.credentials, {"timeout": f"{self.timeout_seconds}s"}
        if key is None:
            return limits
        options = limits | {
            "AWS_ACCESS_KEY_ID": key.access_key_id.get_secret_value(),
            "AWS_SECRET_ACCESS_KEY": key.secret_access_key.get_secret_value(),
            "AWS_SESSION_TOKEN": _legible(key.session_token),
            "AWS_REGION": key.region,
            "AWS_ENDPOINT_URL": key.endpoint or "",
            "AWS_ALLOW_HTTP": "true" if (key.endpoint or "").startswith("http:") else "",
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": str(not _path_style(key)).lower(),
        }
        return {name: value for name, value in options.items() if value}

    def fsspec_options(self) -> dict[str, Any]:
        """Storage options of s3fs."""
        key = self.credentials
        if bucket_of(self.uri) is None:
            return {}
        # Spark writes to the same folders, of which a kept listing would know nothing; and of a file just what is read
        # is fetched, since s3fs would fetch 50 MB with it.
        limits = {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": self.timeout_seconds,
            "retries": {"total_max_attempts": 3},
        }
        options: dict[str, Any] = {
            "use_listings_cache": False,
            "default_cache_type": "none",
            "config_kwargs": limits,
        }
        if key is None:
            return options
        return options | {
            "key": key.access_key_id.get_secret_value(),
            "secret": key.secret_access_key.get_secret_value(),
            "token": _legible(key.session_token) or None,
            "endpoint_url": key.endpoint,
            "client_kwargs": {"region_name": key.region},
            "config_kwargs": {**limits, "s3": {"addressing_style": "path" if _path_style(key) else "auto"}},
        }


def place_of(uri: str, credentials: Credentials | None) -> StorageLocation:
    """A path or URI with the credentials that its step was given."""
    assert credentials is None or isinstance(credentials, S3Credentials)
    return StorageLocation(uri, credentials)


def _keeps(bucket: str, options: Mapping[str, str]) -> bool:
    """Whether the file system that Hadoop keeps for the bucket is, or will be, one with these options."""
    keys = hashlib.sha256(repr(sorted(options.items())).encode()).hexdigest()
    with _lock:
        return _keys_of_kept.setdefault(bucket, keys) == keys


def _path_style(credentials: S3Credentials) -> bool:
    given = credentials.path_style_access
    return given if given is not None else credentials.endpoint is not None


def _legible(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret is not None else ""
