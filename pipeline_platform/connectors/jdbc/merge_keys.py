"""The columns of `mergeKeys`: by them a load finds the rows of its table that it updates or replaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline_platform.connectors.jdbc.database import Database, DatabaseConnection
from pipeline_platform.connectors.jdbc.lost_rows import rows_lost
from pipeline_platform.connectors.jdbc.target_table import TableName
from pipeline_platform.exceptions import PipelineExecutionException

_LONGEST_NAME = 60


@dataclass(frozen=True)
class MergeKeys:
    """The columns that say which row of a table a row of a load belongs to.

    Args:
        database: Where the table is.
        place: The table.
        columns: Its columns, as the table spells them.
    """

    database: Database
    place: TableName
    columns: Sequence[str]

    def names(self) -> str:
        """The columns as the system's SQL."""
        return ", ".join(map(self.database.quoted, self.columns))

    def same(self, one: str, other: str) -> str:
        """A condition that holds for rows with equal keys.

        Args:
            one: What the one table is called in the statement.
            other: What the other is.
        """
        names = map(self.database.quoted, self.columns)
        return " AND ".join(f"{one}.{name} = {other}.{name}" for name in names)

    def require_unique_in_table(self, unique_keys: Mapping[str, Sequence[str]]) -> None:
        """Raise unless the table keeps rows apart by these very columns.

        Args:
            unique_keys: The columns of each of its unique keys, by name.

        Raises:
            PipelineExecutionException: None of them has these columns and no others.
        """
        if any(set(columns) == set(self.columns) for columns in unique_keys.values()):
            return
        has = ", ".join(f"{name} ({', '.join(columns)})" for name, columns in unique_keys.items()) or "none"
        quoted, name = self.database.quoted, "_".join([self.place.name, *self.columns])[:_LONGEST_NAME]
        table = self.database.quoted_path([self.place.schema, self.place.name])
        raise PipelineExecutionException(
            f"mode merge needs a primary key or a unique index of the table {self.place} over exactly the columns of "
            f"'mergeKeys', {', '.join(self.columns)}; it has {has}",
            hint=f"CREATE UNIQUE INDEX {quoted(name)} ON {table} ({self.names()}), or name the columns of one that it "
            "has in 'mergeKeys'",
        )

    def refuse(self, what: str) -> PipelineExecutionException:
        """The exception for something that has no unique keys of its own.

        Args:
            what: What it is, such as a view.
        """
        return PipelineExecutionException(
            f"{self.place} in {self.database.address} is {what}, which has no unique keys, so a merge could not tell "
            "its rows apart",
            hint="name the table that is beneath it, or use another mode",
        )

    def require_staged(self, session: DatabaseConnection, staging: TableName, rows: int, *, unique: bool) -> None:
        """Raise if a staged row has no key; within the transaction.

        Args:
            session: A session.
            staging: The staging table.
            rows: How many rows were staged.
            unique: Whether two rows may not have equal keys, as the database compares them.

        Raises:
            PipelineExecutionException: One has NULL in a key, two have the same keys, or the server lost some rows.
        """
        if not self.columns:
            return
        given = ", ".join(f"count({self.database.quoted(column)})" for column in self.columns)
        [[staged, *counts]] = session.rows(f"SELECT count(*), {given} FROM {self._sql(staging)}")
        if staged != rows:
            raise rows_lost(self._about(), staged, rows)
        for column, count in zip(self.columns, counts, strict=True):
            if count != rows:
                raise PipelineExecutionException(
                    f"{self._about()}: {rows - count} of {rows} rows of this load have NULL in '{column}', which is "
                    "one of 'mergeKeys'; the table is as it was",
                    hint="filter these rows out first, or give them a value with enrichData",
                )
        if unique:
            self._require_unique(session, staging)

    def _require_unique(self, session: DatabaseConnection, staging: TableName) -> None:
        repeated = session.rows(
            f"SELECT {self.names()} FROM {self._sql(staging)} GROUP BY {self.names()} HAVING count(*) > 1 LIMIT 1"
        )
        if repeated:
            raise PipelineExecutionException(
                f"{self._about()}: two rows of this load have the same merge keys {', '.join(self.columns)}: "
                f"{', '.join(map(str, repeated[0]))}; the table is as it was",
                hint="make the rows unique first, with deduplicate and its 'orderBy'; the database may take texts for "
                "the same that differ in case or in blanks at the end",
            )

    def _sql(self, table: TableName) -> str:
        return self.database.quoted_path([table.schema, table.name])

    def _about(self) -> str:
        return f"{self.database.address}, table {self.place}"
