"""Rows of a quarantine, found, claimed and deleted by conditions, some of which people write."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from pipeline_platform.config.sql import SqlMistake, checked_expression, sql_text
from pipeline_platform.config.sql_limits import expression_mistake
from pipeline_platform.config.step import Step
from pipeline_platform.connectors.delta.rows import add_columns, delete_rows, rows_of, update_rows
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.batch import attempts
from pipeline_platform.engine.cancellation import CancellationToken
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.quarantine_rows import QUARANTINED_BY, REPLAY, is_of_replay
from pipeline_platform.engine.quarantine_tables import Quarantine
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.frames.causes import failure_of
from pipeline_platform.frames.failure_text import failure_message

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

_LOG = logging.getLogger(__name__)


def claimed_by(claim: str) -> str:
    """What holds for the rows that a replay has claimed, in Spark SQL.

    Args:
        claim: What the rows say of it.
    """
    return f"{REPLAY} = {sql_text(claim)}"


@dataclass(frozen=True)
class QuarantineTable:
    """The table of a quarantine, with the session that changes it."""

    quarantine: Quarantine
    spark: SparkSession
    place: StorageLocation

    @property
    def columns(self) -> list[str]:
        """The columns of the table."""
        return rows_of(self.spark, self.place).columns

    def version(self) -> int | None:
        """The newest version of the table; None if there is none."""
        table = open_table(self.place)
        return table.version() if table is not None else None

    def filtered(self, condition: str, version: int | None = None) -> DataFrame:
        """The rows for which a condition holds.

        Args:
            condition: Spark SQL.
            version: Of the table; None for the newest whenever they are read.
        """
        with analyzed("--where", self.quarantine.step):
            rows = rows_of(self.spark, self.place, version).filter(condition)
            _ = rows.columns
            return rows

    def counting(self, columns: Sequence[str], *, with_unfinished: bool = False) -> str:
        """A condition for the rows of the step that count, as the run, or the replay, was finished that put them there.

        Args:
            columns: Those of the table.
            with_unfinished: Whether those of runs that did not finish belong to them.
        """
        ours = self.quarantine.condition(columns)
        if QUARANTINED_BY not in columns:
            return ours
        load_ids = self._values(QUARANTINED_BY, ours)
        table = open_table(self.place)
        assert table is not None
        counted = self.quarantine.finished(table, load_ids, self.claims())
        if with_unfinished:
            counted += [one for one in load_ids if not is_of_replay(one) and one not in counted]
        # By those that count, as others may come at any time.
        listed = f" OR {QUARANTINED_BY} IN ({', '.join(map(sql_text, counted))})" if counted else ""
        return f"{ours} AND ({QUARANTINED_BY} IS NULL{listed})"

    def unclaimed(self, where: str | None, *, with_unfinished: bool = False) -> str:
        """A condition for the rows of the step that count, and that no replay has claimed.

        Args:
            where: One more, of a person.
            with_unfinished: Whether those of runs that did not finish belong to them.

        Raises:
            PipelineConfigurationException: It is no condition.
        """
        columns = self.columns
        counting = self.counting(columns, with_unfinished=with_unfinished)
        parts = [counting, *([f"{REPLAY} IS NULL"] if REPLAY in columns else [])]
        if where is not None:
            require_condition(rows_of(self.spark, self.place), where, self.quarantine.step)
            # A comment at its end must not reach any further.
            parts.append(f"({where}\n)")
        return " AND ".join(parts)

    def claims(self) -> list[str]:
        """What rows of the step say of replays that were not finished."""
        rows = rows_of(self.spark, self.place)
        if REPLAY not in rows.columns:
            return []
        return self._values(REPLAY, self.quarantine.condition(rows.columns))

    def _values(self, column: str, condition: str) -> list[str]:
        found = rows_of(self.spark, self.place).filter(f"{condition} AND {column} IS NOT NULL")
        with self.tried():
            return sorted(row[0] for row in found.select(column).distinct().collect())

    def claim(self, claim: str, condition: str) -> None:
        """Have the rows say that they are a replay's, for which a condition holds, in one commit."""
        if REPLAY not in self.columns:
            self._change(lambda: add_columns(self.spark, self.place, _replay_column()))
        self._change(lambda: update_rows(self.spark, self.place, condition, {REPLAY: sql_text(claim)}))

    def take_over(self, before: str, claim: str) -> None:
        """Have the rows of a claim say that they are another one's."""
        self._change(lambda: update_rows(self.spark, self.place, claimed_by(before), {REPLAY: sql_text(claim)}))

    def release(self, claim: str, load_id: str) -> None:
        """Have its rows be nobody's again, then delete what it has put there itself, which never counted."""
        self._change(lambda: update_rows(self.spark, self.place, claimed_by(claim), {REPLAY: "NULL"}))
        if QUARANTINED_BY in self.columns:
            self._change(lambda: delete_rows(self.spark, self.place, f"{QUARANTINED_BY} = {sql_text(load_id)}"))

    def delete(self, claim: str) -> None:
        """Delete its rows."""
        self._change(lambda: delete_rows(self.spark, self.place, claimed_by(claim)))

    def delete_where(self, condition: str) -> None:
        """Delete the rows for which a condition holds."""
        self._change(lambda: delete_rows(self.spark, self.place, condition))

    @contextmanager
    def tried(self) -> Generator[None]:
        """Make of what Spark raises in the block an error that names the step."""
        with error_context(self.quarantine.step):
            yield

    def _change(self, change: Callable[[], None]) -> None:
        """Change the table, again if another writer was faster."""
        for attempt in attempts(self.quarantine.pipeline.retry, CancellationToken(), _tell_conflict):
            with attempt, self.tried():
                change()


def _tell_conflict(_: object) -> None:
    _LOG.warning("another writer changed the quarantine at the same time; it is tried again")


def _replay_column() -> StructType:
    from pyspark.sql import types as T

    return T.StructType([T.StructField(REPLAY, T.StringType())])


def require_sql(option: str, text: str, step: Step) -> None:
    """Make sure that what a person has written is one SQL expression, which may stand in a pipeline.

    Args:
        option: How it was given.
        text: The SQL.
        step: For errors.

    Raises:
        PipelineConfigurationException: It is not.
    """
    mistake = expression_mistake(text) or _beyond_the_row(text)
    if mistake is not None:
        told = mistake.message if isinstance(mistake, SqlMistake) else mistake
        raise PipelineConfigurationException(
            f"'{option}' is no SQL expression: {told}",
            location=step.location,
            hint="write Spark SQL, as in the steps of a pipeline",
        )


def require_condition(rows: DataFrame, where: str, step: Step) -> None:
    """Make sure that what a person has written says yes or no of each row.

    Args:
        rows: The rows.
        where: The SQL.
        step: For errors.

    Raises:
        PipelineConfigurationException: It does not.
    """
    from pyspark.sql import functions as F

    with analyzed(f"--where {where}", step):
        [found] = rows.select(F.expr(f"{where}\n")).schema.fields
    kind = found.dataType.simpleString()
    if kind not in ("boolean", "void"):
        raise PipelineConfigurationException(
            f"'--where {where}' is no condition, but a value of type {kind}",
            location=step.location,
            hint="compare it with something, as in: amount < 0",
        )


def _beyond_the_row(text: str) -> str | None:
    parsed = checked_expression(text)
    if isinstance(parsed, exp.Expr) and parsed.find(exp.Query, exp.AggFunc, exp.Window) is not None:
        return "it looks at other rows, with a subquery, an aggregate or a window, and each row is looked at by itself"
    return None


@contextmanager
def analyzed(option: str, step: Step) -> Generator[None]:
    """Make of what Spark does not understand in the block an error that names the option."""
    from pyspark.errors import AnalysisException

    try:
        yield
    except AnalysisException as error:
        failure = failure_of(error)
        raise PipelineConfigurationException(
            f"'{option}': {failure_message(failure) or error}",
            location=step.location,
            hint="name columns of the quarantine; 'quarantine show' shows them",
        ) from error


def dropped(
    quarantine: Quarantine, spark: SparkSession, credentials: RunCredentials, where: str | None, age: str | None
) -> Dropping:
    """The rows of a quarantine that are to be deleted, but those that a replay has claimed; nothing is deleted yet.

    Args:
        quarantine: The quarantine.
        spark: The session.
        credentials: Those of the run.
        where: Which rows, in Spark SQL; None for all.
        age: One more condition; see `older_than`.

    Raises:
        PipelineException: It is no SQL, or the table can't be read.
    """
    if where is not None:
        require_sql(f"--where {where}", where, quarantine.step)
    place = quarantine.place(credentials)
    if open_table(place) is None:
        return Dropping(None, "false", 0, 0)
    table = QuarantineTable(quarantine, spark, place)
    condition = " AND ".join([table.unclaimed(where, with_unfinished=True), *([age] if age is not None else [])])
    rows = table.filtered(condition)
    claimed = table.claims()
    with table.tried():
        pending = table.filtered(f"{REPLAY} IN ({', '.join(map(sql_text, claimed))})").count() if claimed else 0
        return Dropping(table, condition, rows.count(), pending)


@dataclass(frozen=True)
class Dropping:
    """Rows of a quarantine that are to be deleted.

    Args:
        table: The table; None if there is none.
        condition: What holds for them.
        rows: How many there are.
        pending: How many rows of the step a replay has claimed, which stay.
    """

    table: QuarantineTable | None
    condition: str
    rows: int
    pending: int

    def delete(self) -> None:
        """Delete them.

        Raises:
            PipelineException: The table can't be changed.
        """
        if self.table is not None and self.rows:
            self.table.delete_where(self.condition)
