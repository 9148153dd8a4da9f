"""Replays rows of a quarantine: they take the way once more that they were taken out of, each of them once.

A replay first claims its rows, in one commit that names it in their column `_replay`: what is put into quarantine
meanwhile is none of its rows. Its loads have load ids that are made of the replay's, so that each is done once, however
often the replay is begun. So has what writes those rows to the quarantine again that still break a rule. Only then are
the claimed rows deleted. Whoever finds claimed rows goes on with that replay.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from pipeline_platform.config.config_error import nearest
from pipeline_platform.config.step import Step
from pipeline_platform.connectors.delta.errors import REPEATED_KEYS
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.engine.execution import Listener, noop_listener
from pipeline_platform.engine.failures import error_context, is_transient, says
from pipeline_platform.engine.plan import plan
from pipeline_platform.engine.preview import previewed
from pipeline_platform.engine.quarantine_changes import QuarantineTable, analyzed, claimed_by, require_sql
from pipeline_platform.engine.quarantine_rows import replay_load_id
from pipeline_platform.engine.quarantine_tables import Quarantine
from pipeline_platform.engine.replay_release import require_nothing_loaded
from pipeline_platform.engine.replay_steps import ReplaySteps
from pipeline_platform.engine.scope import Replayed
from pipeline_platform.engine.spark.session import pipeline_settings
from pipeline_platform.exceptions import (
    PipelineCancelledException,
    PipelineConfigurationException,
    PipelineException,
    PipelineExecutionException,
    ValidationException,
)
from pipeline_platform.frames.columns import find_column, quoted
from pipeline_platform.metrics.exporter import Exporter
from pipeline_platform.metrics.run import RunMetrics, StepMetrics

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.types import StructType

_ONE_OF_EACH = (
    "its rows are as they were. Replay one of each key, chosen with --where, such as by _quarantined_at; delete the "
    "others with: pipeline-platform quarantine drop"
)


@dataclass(frozen=True)
class Claim:
    """A replay, as the rows name it that it has claimed.

    Args:
        id: Names it.
        changes: SQL by the column that is given another value before the rows are judged.
        judged: By what they are judged, as `ReplaySteps.fingerprint` says.
        attempt: Which one to finish it, from 1: whoever goes on with it takes the rows over, so that one who is still
            at it gives none of them back.
    """

    id: str
    changes: Mapping[str, str]
    judged: str
    attempt: int = 1

    @property
    def text(self) -> str:
        """What stands in the column of the rows."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class ReplayDone:
    """A replay that is done.

    Args:
        id: Names it.
        rows: How many rows were replayed.
        is_resumed: Whether it had been begun before.
        metrics: What each step did.
    """

    id: str
    rows: int
    is_resumed: bool
    metrics: RunMetrics

    @property
    def again(self) -> int:
        """How many of the rows are in quarantine again."""
        return sum(step.quarantined or 0 for step in self.metrics.steps)

    def by_rule(self) -> dict[str, int]:
        """How many rows broke each rule that puts them into quarantine."""
        return {
            rule.rule: rule.violations
            for step in self.metrics.steps
            if step.type == "validate" and step.quarantine is not None
            for rule in step.rules
            if rule.violations
        }


@dataclass
class Replay:
    """Replays rows of the quarantine of a step.

    Args:
        quarantine: The quarantine.
        way: The steps that the rows take.
        spark: The session.
        credentials: Gives those of a run.
        where: Which rows are replayed, in Spark SQL; None for all.
        changes: SQL by the column that is given another value first.
        run_id: Names the run, for the metrics.
        listener: Told about each step.
        exporters: Told when a run begins and how it ends.
        say: Told in words what is being done now.
    """

    quarantine: Quarantine
    way: ReplaySteps
    spark: SparkSession
    credentials: Callable[[], RunCredentials]
    where: str | None = None
    changes: Mapping[str, str] = field(default_factory=dict[str, str])
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    listener: Listener = noop_listener
    exporters: Sequence[Exporter] = ()
    say: Callable[[str], None] = noop_listener

    def run(self) -> list[ReplayDone]:
        """Finish what replays have begun that were interrupted, then replay the other rows.

        Returns:
            The replays, in their order; none if there are no such rows.

        Raises:
            ValidationException: Rows broke a rule that stops the run.
            PipelineException: The rows can't be replayed, or a step failed.
        """
        require_request(self.quarantine.step, self.where, self.changes)
        with pipeline_settings(self.quarantine.pipeline, self.spark), closing(self.credentials()) as credentials:
            place = self.quarantine.place(credentials)
            if open_table(place) is None:
                return []
            self.say("looking at the quarantine")
            columns = self._head_columns(credentials)
            table = QuarantineTable(self.quarantine, self.spark, place)
            done = [self._finish(table, claim, columns, is_resumed=True) for claim in self._begun(table)]
            judged = self.way.fingerprint(self.quarantine.pipeline)
            claim = Claim(uuid.uuid4().hex, dict(self.changes), judged)
            condition = table.unclaimed(self.where)
            rows = self._shaped(table.filtered(condition), claim.changes, columns)
            self._require_values(rows, claim.changes)
            self._require_plan(rows, credentials)
            with table.tried():
                if rows.isEmpty():
                    return done
            table.claim(claim.text, condition)
            return [*done, self._finish(table, claim, columns, is_resumed=False)]

    def _head_columns(self, credentials: RunCredentials) -> StructType:
        """The columns of the frame that the rows were taken out of, as the pipeline makes it now."""
        head = self.way.head
        with previewed(self.quarantine.pipeline, [head], self.spark, credentials) as previews:
            return previews.of(head, judges=False).frame.schema

    def _begun(self, table: QuarantineTable) -> list[Claim]:
        claims = [Claim(**json.loads(text)) for text in table.claims()]
        judged = self.way.fingerprint(self.quarantine.pipeline)
        for claim in claims:
            if claim.judged != judged:
                raise PipelineExecutionException(
                    f"the replay {claim.id} was begun and not finished, and the rules, or the steps before them, have "
                    "changed since: rows that it has put into quarantine again would be loaded as well",
                    location=self.quarantine.step.location,
                    hint="put them back as they were and replay once, which finishes it; then replay with the new "
                    "ones. Or give its rows back, if it has loaded none, with: pipeline-platform quarantine release",
                )
        return claims

    def _shaped(self, rows: DataFrame, changes: Mapping[str, str], columns: StructType) -> DataFrame:
        """Rows of the quarantine as the frame that they were taken out of, mended by the changes.

        Raises:
            PipelineConfigurationException: They lack a column, or a change is of none, or is no SQL.
        """
        from pyspark.sql import functions as F

        for name in changes:
            if find_column(columns.names, name) is None:
                raise self._wrong(
                    f"'--set {name}=…': '{self.way.head.name}' has no column '{name}', but {', '.join(columns.names)}",
                    nearest(name, columns.names),
                )
        given = {name.lower(): text for name, text in changes.items()}
        chosen: list[Column] = []
        for column in columns.fields:
            there = find_column(rows.columns, column.name)
            if column.name.lower() in given:
                value = F.expr(given[column.name.lower()])
            elif there is not None:
                value = F.col(quoted(there))
            else:
                raise self._wrong(
                    f"the quarantine has no column '{column.name}', which '{self.way.head.name}' has now",
                    f"give it a value, as in --set {column.name}=NULL, or replay with the pipeline as it was",
                )
            chosen.append(value.cast(column.dataType).alias(column.name))
        with analyzed("--set", self.quarantine.step):
            shaped = rows.select(*chosen)
            _ = shaped.columns
        return shaped

    def _require_plan(self, rows: DataFrame, credentials: RunCredentials) -> None:
        """Hold the sinks against the rows, before any is claimed."""
        pipeline = self.quarantine.pipeline
        resolved = pipeline.resolve({*self.way.steps, *(one.index for one in pipeline.steps if one.type == "load")})
        planned = plan(resolved, self.spark, "check", credentials, self._selection, replayed=self._replayed(rows))
        planned.persisted.close()

    @property
    def _selection(self) -> frozenset[str]:
        return frozenset(load.name for load in self.way.loads)

    def _replayed(self, rows: DataFrame) -> Replayed:
        return Replayed(rows, self.way.head.index, self.way.steps)

    def _finish(self, table: QuarantineTable, claim: Claim, columns: StructType, *, is_resumed: bool) -> ReplayDone:
        """Load the rows of a claim, then delete them."""
        if is_resumed:
            before, claim = claim, replace(claim, attempt=claim.attempt + 1)
            table.take_over(before.text, claim.text)
        # As they are now, whoever takes them over while they are loaded.
        claimed = table.filtered(claimed_by(claim.text), table.version())
        with table.tried():
            count = claimed.count()
        if not count:
            raise PipelineExecutionException(
                f"the replay {claim.id} is another process's by now, which goes on with it",
                location=self.quarantine.step.location,
                hint="let one process at a time replay the rows of a step; look at them with: quarantine list",
            )
        begun = ", which was interrupted before" if is_resumed else ""
        self.say(f"replay {claim.id} of {count:,} {'row' if count == 1 else 'rows'}{begun}")
        watch = _Watch(
            self.listener, may_write_first=any(one.config.quarantines_bad_records() for one in self.way.loads)
        )
        run = BatchRun(
            self.quarantine.pipeline,
            self.spark,
            run_id=self.run_id,
            load_id=replay_load_id(claim.id),
            selection=self._selection,
            listener=watch,
            credentials=self.credentials(),
            exporters=self.exporters,
            say=self.say,
            replayed=self._replayed(self._shaped(claimed, claim.changes, columns)),
        )
        try:
            metrics = run.run()
        except PipelineException as error:
            # Of one that was interrupted before, nobody knows what it has written.
            if not is_resumed and run.record.attempts <= 1 and self._is_free(table, claim, watch, error):
                table.release(claim.text, replay_load_id(claim.id))
                if says(error, REPEATED_KEYS):
                    error.hint = _ONE_OF_EACH
            raise
        table.delete(claim.text)
        return ReplayDone(claim.id, count, is_resumed, metrics)

    def _is_free(self, table: QuarantineTable, claim: Claim, watch: _Watch, error: PipelineException) -> bool:
        """Whether it is certain that a replay which has failed has loaded nothing, and will not."""
        if watch.has_written_nothing(error):
            return True
        if isinstance(error, PipelineCancelledException) or is_transient(error):
            return False
        try:
            with closing(self.credentials()) as credentials:
                require_nothing_loaded(table, claim.id, credentials)
        except Exception:  # noqa: BLE001 - what the replay failed at is what has to be told.
            return False
        return True

    def _require_values(self, rows: DataFrame, changes: Mapping[str, str]) -> None:
        """Work out what the changes make of the rows, before any is claimed.

        Raises:
            PipelineConfigurationException: A change has no value for a row.
        """
        step = self.quarantine.step
        for name, text in changes.items():
            try:
                with error_context(step):
                    rows.select(quoted(name)).write.format("noop").mode("overwrite").save()
            except PipelineException as error:
                if is_transient(error):
                    raise
                raise self._wrong(
                    f"'--set {name}={text}': {error.message}",
                    "write SQL that has a value for each row, or choose rows with --where",
                ) from error

    def _wrong(self, message: str, hint: str | None = None) -> PipelineConfigurationException:
        return PipelineConfigurationException(message, location=self.quarantine.step.location, hint=hint)


def require_request(step: Step, where: str | None, changes: Mapping[str, str]) -> None:
    """Make sure that what a person asks for is SQL; needs no Spark.

    Args:
        step: For errors.
        where: Which rows.
        changes: SQL by column.

    Raises:
        PipelineConfigurationException: It is not.
    """
    if where is not None:
        require_sql(f"--where {where}", where, step)
    for name, text in changes.items():
        require_sql(f"--set {name}={text}", text, step)


class _Watch:
    """Hears of the steps of a replay whether it may have written anything.

    Args:
        listener: Told about each step, too.
        may_write_first: Whether something may be written before the first load begins.
    """

    def __init__(self, listener: Listener, *, may_write_first: bool) -> None:
        self._listener = listener
        self._has_written = may_write_first
        self._has_violators = False

    def __call__(self, event: str, step: Step, metrics: StepMetrics | None) -> None:
        if event == "started":
            # What a block has taken out is written before the next step begins.
            self._has_written |= step.type == "load" or self._has_violators
        elif metrics is not None and step.type == "validate" and metrics.quarantined:
            self._has_violators = True
        self._listener(event, step, metrics)

    def has_written_nothing(self, error: PipelineException) -> bool:
        """Whether it is certain that nothing was written.

        Args:
            error: What the replay failed at.
        """
        if isinstance(error, PipelineCancelledException):
            # What Spark was doing then may go on for a while.
            return False
        is_judged = isinstance(error, ValidationException)
        return not self._has_written and (is_judged or not self._has_violators)
