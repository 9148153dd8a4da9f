"""Credentials of databases."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from pipeline_platform.connectors.jdbc.driver_properties import misplaced_property
from pipeline_platform.credentials.model import Credentials


class JdbcCredentials(Credentials):
    """A database and the user that enters it."""

    host: Annotated[str, Field(min_length=1)]
    """Name or address of the server."""
    port: Annotated[int, Field(gt=0, lt=65536)]
    """Its port, as a number or a numeric string."""
    database: Annotated[str, Field(min_length=1)]
    """The database on the server."""
    username: Annotated[str, Field(min_length=1)]
    """The user."""
    password: SecretStr
    """The user's password."""
    properties: dict[str, SecretStr] = {}
    """More properties of the JDBC driver."""

    @field_validator("properties")
    @classmethod
    def _are_the_drivers(cls, properties: dict[str, SecretStr]) -> dict[str, SecretStr]:
        if (misplaced := misplaced_property(properties)) is not None:
            raise ValueError(misplaced[1])
        return properties
