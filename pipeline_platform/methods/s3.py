"""S3 and stores that speak its protocol: how a step enters one, and where its files are."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.values import Flag, Location, Secret, Text
from pipeline_platform.methods.base import Credentialed, CredentialType


class EntersS3(Credentialed):
    """Keys of the methods whose files may be on S3; without a `credentialPath` they say how to enter it."""

    credential_types: ClassVar[tuple[CredentialType, ...]] = ("s3", "aws", "deltalake", "delta")

    access_key_id: Secret | None = None
    """On S3: identifier of the access key."""
    secret_access_key: Secret | None = None
    """On S3: the secret that goes with it."""
    session_token: Secret | None = None
    """On S3: token of a temporary access key."""
    region: Text | None = None
    """On S3: the region of the bucket; by default `us-east-1`."""
    endpoint: Text | None = None
    """On S3: URL of a store other than AWS."""
    path_style_access: Flag | None = None
    """On S3: put the bucket into the path instead of the host name; many other stores need it."""

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
