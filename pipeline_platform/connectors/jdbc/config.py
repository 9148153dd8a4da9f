"""Databases that are reached by JDBC: how a step enters one, and what identifies a table."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import field_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.placeholders import variable_names
from pipeline_platform.config.redirection import NotRedirected, Redirection
from pipeline_platform.config.values import Port, Properties, Secret, Text, Timeout
from pipeline_platform.connectors.jdbc.credentials import JdbcCredentials
from pipeline_platform.connectors.jdbc.database import SILENCE_SECONDS, Database
from pipeline_platform.connectors.jdbc.driver_properties import misplaced_property
from pipeline_platform.connectors.jdbc.mysql.database import MYSQL_EXTRA, MySQL
from pipeline_platform.connectors.jdbc.postgres.database import POSTGRES_EXTRA, Postgres
from pipeline_platform.credentials.model import Credentials
from pipeline_platform.extras import Extra
from pipeline_platform.steps.credentialed import Credentialed
from pipeline_platform.steps.dataset import Dataset, vault_secret

_QUOTED_OR_PLAIN = re.compile(r'"(?:[^"]|"")+"|`(?:[^`]|``)+`|[^.]+')


class DatabaseOptions(Credentialed):
    """Keys of the methods that enter a database; without a `credentialPath` they say where it is."""

    system: ClassVar[str]
    """The system's name in datasets, and in sqlglot."""
    standard_port: ClassVar[int]
    """The port that servers of this system listen on."""
    longest_name: ClassVar[int] = 63
    """Bytes that the name of a table may have in all of these systems."""

    host: Text | None = None
    """Name or address of the server; by default, without a `credentialPath`, `localhost`."""
    port: Port | None = None
    """The port; by default the system's standard one."""
    database: Text | None = None
    """The database on the server."""
    username: Text | None = None
    """The user."""
    password: Secret | None = None
    """The user's password."""
    properties: Properties = {}
    """More properties of the JDBC driver, spelled as the driver spells them: it ignores names that it does not know."""
    timeout_seconds: Timeout = SILENCE_SECONDS
    """How long the server may be silent, while a query computes or rows are sent, before the run gives it up."""

    @field_validator("properties")
    @classmethod
    def _are_the_drivers(cls, properties: Properties) -> Properties:
        if (misplaced := misplaced_property(properties)) is not None:
            raise PydanticCustomError("properties", "{said}", {"key": misplaced[0], "said": misplaced[1]})
        return properties

    def inline_credentials(self) -> dict[str, Any]:
        return self.written("host", "port", "database", "username", "password", "properties")

    def default_credentials(self) -> dict[str, Any]:
        return {"host": "localhost", "port": self.standard_port}

    def entered(self, credentials: Credentials | None) -> Database:
        """The database that these credentials open."""
        raise NotImplementedError

    def table_parts(self, name: str) -> list[str]:
        """A table's name, perhaps with what it is in before it, as the system stores them."""
        return [self.unquoted(part.strip()) for part in _QUOTED_OR_PLAIN.findall(name)]

    def table_dataset(self, name: str) -> Dataset:
        """The dataset of a table, however its name is spelled."""
        return Dataset(self.system, "/".join((self.server_uri(), *self.qualified(self.table_parts(name)))))

    def redirected_table(self, name: str, to: Redirection) -> str:
        """A table beside another one, in the same schema.

        Args:
            name: The table's name, perhaps with what it is in before it.
            to: The environment's.

        Raises:
            NotRedirected: The name would be too long, which systems cut off.
        """
        before = [*_QUOTED_OR_PLAIN.finditer(name)][-1]
        last = before[0]
        quote = last[:1] if last[:1] in ('"', "`") else ""
        renamed = f"{quote}{to.name(last.removeprefix(quote))}"
        if len(self.unquoted(renamed).encode()) > self.longest_name:
            raise NotRedirected(f"the table would be called {renamed}, longer than {self.longest_name} bytes")
        return f"{name[: before.start()]}{renamed}{name[before.end() :]}"

    def unquoted(self, part: str) -> str:
        """A part of a table's name as the system stores it."""
        if part[:1] in ('"', "`") and part[-1:] == part[:1]:
            return part[1:-1].replace(part[0] * 2, part[0])
        return part

    def qualified(self, parts: list[str]) -> list[str]:
        """Database, perhaps schema, and table, of the parts of a table's name."""
        raise NotImplementedError

    def known_database(self) -> list[str]:
        """The database as written, if it is; one that only Vault knows is not."""
        database = self.database or self._variable("database")
        return [variable_names(database)] if database is not None else []

    def server_uri(self) -> str:
        """The server, or the secret that names it."""
        if self.host is None and self.credential_path is not None:
            return f"{self.system}://{vault_secret(self.credential_path)}"
        host = variable_names(self.host or self._variable("host") or "localhost").lower()
        port = self.port or os.environ.get(self._variable("port") or "") or self.standard_port
        return f"{self.system}://{host}:{port}"

    def _variable(self, field: str) -> str | None:
        """The variable that has a credential field, where the step names no secret and the variable is set."""
        name = self.credential_variables[field]
        return name if self.credential_path is None and os.environ.get(name) else None


class PostgresOptions(DatabaseOptions):
    """PostgreSQL's own rules."""

    kind: ClassVar[str] = "postgres"
    credential_types: ClassVar[Mapping[str, type[Credentials]]] = {
        "postgres": JdbcCredentials,
        "postgresql": JdbcCredentials,
    }
    # Those of PostgreSQL's own programs.
    credential_variables: ClassVar[Mapping[str, str]] = {
        "host": "PGHOST",
        "port": "PGPORT",
        "database": "PGDATABASE",
        "username": "PGUSER",
        "password": "PGPASSWORD",
    }
    system: ClassVar[str] = "postgres"
    standard_port: ClassVar[int] = 5432

    def required_extras(self) -> Sequence[Extra]:
        return (POSTGRES_EXTRA, *super().required_extras())

    def entered(self, credentials: Credentials | None) -> Postgres:
        assert isinstance(credentials, JdbcCredentials)
        return Postgres(credentials, self.credential_path, self.timeout_seconds)

    def unquoted(self, part: str) -> str:
        return super().unquoted(part) if part.startswith('"') else part.lower()

    def qualified(self, parts: list[str]) -> list[str]:
        schema, table = parts[-2:] if len(parts) > 1 else ("public", parts[0])
        return [*self.known_database(), f"{schema}.{table}"]


class MySQLOptions(DatabaseOptions):
    """MySQL's own rules: what others call a schema is a database."""

    kind: ClassVar[str] = "mysql"
    credential_types: ClassVar[Mapping[str, type[Credentials]]] = {"mysql": JdbcCredentials}
    # Those of MySQL's own programs, and of its image.
    credential_variables: ClassVar[Mapping[str, str]] = {
        "host": "MYSQL_HOST",
        "port": "MYSQL_TCP_PORT",
        "database": "MYSQL_DATABASE",
        "username": "MYSQL_USER",
        "password": "MYSQL_PASSWORD",
    }
    system: ClassVar[str] = "mysql"
    standard_port: ClassVar[int] = 3306

    def required_extras(self) -> Sequence[Extra]:
        return (MYSQL_EXTRA, *super().required_extras())

    def entered(self, credentials: Credentials | None) -> MySQL:
        assert isinstance(credentials, JdbcCredentials)
        return MySQL(credentials, self.credential_path, self.timeout_seconds)

    def qualified(self, parts: list[str]) -> list[str]:
        return parts[-2:] if len(parts) > 1 else [*self.known_database(), parts[0]]
