"""A database server as this process enters it: connections of its own Python driver, options for Spark's, errors."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from pipeline_platform.connectors.jdbc.credentials import JdbcCredentials
from pipeline_platform.connectors.jdbc.silence import SilentServerError
from pipeline_platform.connectors.jdbc.target_table import TableName
from pipeline_platform.exceptions import CredentialException, PipelineException, PipelineExecutionException
from pipeline_platform.frames.storable import StorableTypes

CONNECT_SECONDS = 10
"""How long a server may take to answer the first time."""
SILENCE_SECONDS = 3600
"""How long a server may be silent after that, unless a step says otherwise: a query may compute for long."""

_QUOTED_NAME = re.compile(r'"(?:[^"]|"")*"|`(?:[^`]|``)*`')

ErrorKind = Literal[
    "login", "database", "schema", "table", "column", "permission", "transient", "clash", "value", "other"
]
"""What kind of error a server's code means; `transient` is one that a second attempt may not meet."""


class Cursor(Protocol):
    """What the cursors of all drivers have in common."""

    rowcount: int

    @property
    def description(self) -> Sequence[Any] | None:
        """The columns of its result."""
        ...

    def execute(self, sql: str, parameters: Sequence[Any] | None = None, /) -> object:
        """Send a statement."""
        ...

    def fetchall(self) -> Sequence[Sequence[Any]]:
        """All rows of its result."""
        ...


@dataclass(frozen=True)
class DatabaseConnection:
    """A connection in which each statement is committed by itself, unless a transaction is open."""

    cursor: Cursor
    silence_limit: Callable[[], AbstractContextManager[object]] = nullcontext
    """Within which each statement is sent and answered, where the driver itself has no limit."""

    def rows(self, sql: str, *parameters: Any) -> Sequence[Sequence[Any]]:
        """The rows of a query; `%s` stands for a parameter if there are any."""
        with self.silence_limit():
            self.cursor.execute(*_statement(sql, parameters))
            return self.cursor.fetchall()

    def description(self, sql: str) -> Sequence[Any]:
        """The columns of a query's result, as the driver describes them."""
        self.rows(sql)
        return self.cursor.description or ()

    def execute(self, sql: str, *parameters: Any) -> int:
        """Run a statement: how many rows it touched."""
        with self.silence_limit():
            self.cursor.execute(*_statement(sql, parameters))
            return self.cursor.rowcount

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Commit at the end of the block, or roll back what was done in it."""
        self.execute("BEGIN")
        try:
            yield
        except BaseException:
            # Where the connection is gone, so is what was done.
            with suppress(Exception):
                self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")


def escaped(sql: str) -> str:
    """A statement that has parameters, with every `%` in the quoted names of it as the drivers want it."""
    return _QUOTED_NAME.sub(lambda name: name[0].replace("%", "%%"), sql)


def _statement(sql: str, parameters: Sequence[Any]) -> tuple[str, Sequence[Any] | None]:
    return (escaped(sql), parameters) if parameters else (sql, None)


@dataclass(frozen=True)
class Database(ABC):
    """A database and the user that enters it.

    Args:
        credentials: Where it is, and the user.
        secret: Where in Vault they are; None if they came from elsewhere.
        silence_seconds: How long the server may be silent.
    """

    credentials: JdbcCredentials
    secret: str | None = None
    silence_seconds: int = SILENCE_SECONDS

    product: ClassVar[str]
    """The system's name as people write it."""
    text_type: ClassVar[str]
    """What text is cast to in the system's SQL."""
    longest_name: ClassVar[tuple[int, str]]
    """How long the name of a column may be, and in what."""
    long_text: ClassVar[str] = "text"
    """The type of a column that holds text of many megabytes."""
    storable: ClassVar[StorableTypes]
    """What its tables can't hold."""
    table_options: ClassVar[str] = ""
    """What follows the columns where a table is made."""

    @property
    def address(self) -> str:
        """Server and database, for people to read."""
        return f"{self.product} at {self.credentials.host}:{self.credentials.port}/{self.credentials.database}"

    @property
    def password(self) -> str:
        return self.credentials.password.get_secret_value()

    @property
    def properties(self) -> dict[str, str]:
        """Properties of the JDBC driver, legible."""
        return {key: value.get_secret_value() for key, value in self.credentials.properties.items()}

    @abstractmethod
    def quoted(self, name: str) -> str:
        """A name as the system's SQL."""

    @abstractmethod
    def exact_text(self, column: str) -> str:
        """What is equal to a text only if it has the same characters, whatever the column's collation.

        Args:
            column: A column that holds text, as SQL.
        """

    def quoted_path(self, parts: Sequence[str]) -> str:
        """A table's name, perhaps with what it is in, as the system's SQL."""
        return ".".join(map(self.quoted, parts))

    def require_names(self, names: Iterable[str]) -> None:
        """Raise if a table can't have columns of these names.

        Args:
            names: The names.

        Raises:
            PipelineExecutionException: One is too long; PostgreSQL would cut it.
        """
        longest, unit = self.longest_name
        for name in names:
            size = len(name.encode()) if unit == "bytes" else len(name)
            if size > longest:
                raise PipelineExecutionException(
                    f"the name of the column '{name}' has {size} {unit}, and in {self.product} it can have {longest}",
                    hint="give the column a shorter name first",
                )

    @abstractmethod
    def spark_options(self) -> dict[str, str]:
        """Options of Spark's JDBC reader and writer; they stay with the one that is given them."""

    @abstractmethod
    def fetch_options(self, rows: int) -> dict[str, str]:
        """Options of Spark's JDBC reader for how many rows come at a time; with 0 the JDBC driver's own way."""

    @abstractmethod
    def entry(self) -> dict[str, Any]:
        """Arguments to the connect function of the Python driver."""

    @abstractmethod
    def _connection(self) -> AbstractContextManager[DatabaseConnection]:
        """A new connection that commits each statement by itself."""

    @abstractmethod
    def failure_of(self, error: Exception) -> tuple[ErrorKind, str] | None:
        """What an error of the Python driver means and what the server said; None for an error of another's."""

    @abstractmethod
    def trouble(self, code: str | None, said: str) -> ErrorKind:
        """What an error code of the server means.

        Args:
            code: The code, if the error has one.
            said: The server's or the driver's words.
        """

    @abstractmethod
    def hold(self, session: DatabaseConnection, name: str) -> None:
        """Hold a lock of this name until the session ends."""

    @abstractmethod
    def is_held(self, session: DatabaseConnection, name: str) -> bool:
        """Whether some session holds the lock of this name."""

    @abstractmethod
    def table_place(self, session: DatabaseConnection, parts: Sequence[str]) -> TableName:
        """Where a table is or will be.

        Args:
            session: A session.
            parts: Its name, perhaps with what it is in before it, as the system stores them.

        Raises:
            PipelineExecutionException: There is no such schema.
        """

    @abstractmethod
    def tables_named(self, session: DatabaseConnection, schema: str, prefix: str) -> list[str]:
        """The tables of a schema whose names begin so."""

    @contextmanager
    def session(self, table: str | None = None) -> Generator[DatabaseConnection]:
        """A connection, closed at the end of the block; what goes wrong in the block is told in the platform's words.

        Args:
            table: What it is about, for the messages.

        Raises:
            CredentialException: The server refuses the user.
            PipelineExecutionException: Anything else that the driver or the server says.
        """
        try:
            with self._connection() as session:
                yield session
        except PipelineException:
            raise
        except SilentServerError as error:
            raise self.failure("transient", str(error), table) from error
        except Exception as error:
            found = self.failure_of(error)
            if found is None:
                raise
            raise self.failure(*found, table) from error

    def failure(self, trouble: ErrorKind, said: str, table: str | None = None) -> PipelineException:
        """The exception for an error of the server.

        Args:
            trouble: What kind it is.
            said: The server's words.
            table: What it is about.
        """
        message = f"{self.address}" + (f", {table}" if table else "") + f": {' '.join(said.split())}"
        where = f"in the secret '{self.secret}'" if self.secret else "that the step was given"
        if trouble == "login":
            return CredentialException(
                message,
                path=self.secret,
                credential_type=self.product.lower(),
                outcome="refused",
                hint=(
                    f"check the user name and the password {where}, and that the server accepts connections from "
                    "this machine"
                ),
            )
        hint = _HINTS[trouble].format(where=where, user=self.credentials.username, text=self.text_type)
        return PipelineExecutionException(message, hint=hint, retryable=trouble in ("transient", "clash"))


_HINTS: Mapping[ErrorKind, str] = {
    "database": "check 'database' {where}",
    "schema": "check the schema in 'table', or create it first",
    "table": "check the table's name, its schema and its quotes; if another pipeline creates it, run that one first",
    "column": "use one of the columns that are there",
    "permission": "grant the user '{user}' what the message says is missing",
    "transient": "check that the server is up and can be reached; a run tries again as often as 'retry' allows",
    "clash": "another session was using the same rows or tables; run again",
    "value": "filter out or fix the value first, or cast it to what the column can hold",
    "other": "fix what the server complains about and run again: nothing was left half done",
}
