"""Credentials of S3."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from pipeline_platform.credentials.model import Credentials


class S3Credentials(Credentials):
    """An access key of S3, or of a store that speaks its protocol."""

    access_key_id: Annotated[SecretStr, Field(min_length=1)]
    """Identifier of the access key."""
    secret_access_key: Annotated[SecretStr, Field(min_length=1)]
    """The secret that goes with it."""
    session_token: SecretStr | None = None
    """Token of a temporary access key."""
    region: str = "us-east-1"
    """The region of the bucket."""
    endpoint: str | None = None
    """URL of a store other than AWS."""
    path_style_access: bool | None = None
    """Put the bucket into the path instead of the host name; many other stores need it."""
