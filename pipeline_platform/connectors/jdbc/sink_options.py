"""Keys of the methods that write to a database, and what becomes of text that the system can't hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.redirection import Redirection
from pipeline_platform.config.replacement import Replacement
from pipeline_platform.config.schema_policy import DatabaseSchemaPolicy
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Location, Names, PositiveInteger, one_of
from pipeline_platform.connectors.jdbc.config import DatabaseOptions
from pipeline_platform.connectors.jdbc.cursor import DatabaseCursor
from pipeline_platform.connectors.jdbc.erasing import DatabaseErasure
from pipeline_platform.connectors.jdbc.unheld import unheld, unheld_text
from pipeline_platform.frames.columns import quoted
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.load import Load
from pipeline_platform.steps.malformed import OnMalformed

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from pipeline_platform.credentials.model import Credentials


_BY_KEY = ("merge", "deleteInsert")
_GROUPS = Replacement("deletes the groups that it has rows of")


class WritesDatabase(Load, DatabaseOptions):
    """Keys of the methods that write to a database."""

    table: Location
    """The table, optionally with its schema."""
    mode: Annotated[
        Literal["append", "overwrite", "errorIfExists", "ignore", "merge", "deleteInsert"],
        one_of("append", "overwrite", "errorIfExists", "ignore", "merge", "deleteInsert"),
    ] = "append"
    """What happens to existing rows; `overwrite` keeps the table's columns, indexes and grants. `merge` updates those
    with equal `mergeKeys` and adds the others; `deleteInsert` deletes those with equal `mergeKeys` and adds all."""
    merge_keys: Names = []
    """With mode `merge`: the columns that identify a row. The table has a primary key or a unique index over exactly
    these, and a new table is made with them as its primary key; two rows of a load with equal keys are an error. With
    mode `deleteInsert`: the columns that say to which group a row belongs; the groups of a load are replaced as a
    whole. NULL in a key is an error."""
    batch_size: PositiveInteger = 5000
    """Rows per round trip, where the system takes rows in batches; PostgreSQL takes them in one stream."""
    schema_policy: DatabaseSchemaPolicy | None = None
    """With a table that is there already: what happens where the columns of the frame are not those of the table.
    Without it, other columns are an error, and columns that may be NULL may be missing. Columns are added, or get
    another type, right before the rows are written, by a user who owns the table (PostgreSQL) or may ALTER it (MySQL).
    """
    num_partitions: PositiveInteger | None = None
    """How many connections write in parallel; by default as many as the frame has partitions."""
    on_malformed: Annotated[OnMalformed, one_of("fail", "null", "quarantine")] = "fail"
    """What happens to a text that the system can't hold: one that is not UTF-8 or, in PostgreSQL, one with the
    character NUL. `fail` fails the run, `null` makes the text null, `quarantine` takes the row out.

    The rows are counted, and the quarantine keeps each with the reason.
    """
    quarantine_path: Location | None = None
    """With `onMalformed` `quarantine`: the Delta table for those rows; by default next to the first sink."""

    product: ClassVar[str]
    """The system's name as people write it."""

    @model_validator(mode="after")
    def _keys_fit_mode(self) -> Self:
        if self.mode in _BY_KEY and not self.merge_keys:
            message = "mode {mode} needs 'mergeKeys'"
            raise PydanticCustomError("merge", message, {"mode": self.mode, "key": "mode"})
        if self.mode not in _BY_KEY and self.merge_keys:
            message = "'mergeKeys' needs mode merge or deleteInsert"
            raise PydanticCustomError("merge", message, {"key": "mergeKeys"})
        if len({key.lower() for key in self.merge_keys}) < len(self.merge_keys):
            message = "'mergeKeys' names a column twice"
            raise PydanticCustomError("merge", message, {"key": "mergeKeys"})
        if self.schema_policy is not None and self.mode in ("errorIfExists", "ignore"):
            message = "'schemaPolicy' needs mode append, overwrite, merge or deleteInsert"
            raise PydanticCustomError("schema", "{message}", {"message": message, "key": "schemaPolicy"})
        return self

    def partition_errors(self, column: str) -> Sequence[tuple[str | None, str]]:
        if self.mode == "deleteInsert":
            message = (
                "a group may have rows of other partitions, which the run of a partition would delete: use overwrite, "
                "which replaces its rows alone, or merge"
            )
            return [("mode", message)]
        return super().partition_errors(column)

    def replaces(self) -> Replacement | None:
        return _GROUPS if self.mode == "deleteInsert" else super().replaces()

    def cursor_error(self, *, looks_again: bool) -> tuple[str | None, str] | None:
        if self.mode == "append" and looks_again:
            return "mode", "rows that are looked at again would be there twice: use merge, or 'boundary' exclusive"
        if self.mode not in ("append", "merge"):
            return "mode", f"with mode {self.mode} a load of what is new would not leave alone what was loaded before"
        return None

    def merges_rows(self) -> bool:
        return self.mode == "merge"

    def cursor_place(self, name: str, credentials: Credentials | None) -> DatabaseCursor:
        return DatabaseCursor(self.entered(credentials), self.table_parts(self.table), name)

    def redirected(self, to: Redirection) -> Self:
        return self.with_place(to, table=self.redirected_table(self.table, to))

    def erasure(self, credentials: Credentials | None) -> DatabaseErasure:
        return DatabaseErasure(self.entered(credentials), self.table_parts(self.table))

    def dataset(self) -> Dataset:
        return self.table_dataset(self.table)

    def traits(self) -> Traits:
        # With a quarantine it takes fewer rows than the frame has.
        return Traits(
            reports_rows=not self.quarantines_bad_records(), fails_whole=True, replaces_partitions=True, loads_once=True
        )

    def quarantines_bad_records(self) -> bool:
        return self.on_malformed == "quarantine"

    def quarantine(self) -> str | None:
        return self.quarantine_path

    def malformed(self, frame: DataFrame) -> Column | None:
        from pyspark.sql import functions as F

        reasons = [
            F.when(is_unheld, F.lit(unheld(self.product, what, column.name)))
            for column in frame.schema
            for is_unheld, what in unheld_text(self.product, F.col(quoted(column.name)), column.dataType)
        ]
        return F.coalesce(*reasons) if reasons and self.on_malformed != "fail" else None

    def without_malformed(self, frame: DataFrame) -> DataFrame:
        from pyspark.sql import functions as F

        columns: dict[str, Column] = {}
        for column in frame.schema:
            kept = value = F.col(quoted(column.name))
            for is_unheld, _ in unheld_text(self.product, value, column.dataType):
                kept = F.when(~is_unheld, kept)
            columns[column.name] = kept
        return frame.select(*(column.alias(name) for name, column in columns.items()))
