"""Carries out tests: the pipeline's own plan, with given rows in place of what its extracts read."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.config_error import ConfigError, did_you_mean
from pipeline_platform.config.documents.document import SourcePosition
from pipeline_platform.config.partitions import Partition
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.preview import preview_steps
from pipeline_platform.engine.spark.session import pipeline_settings, planning_session
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException
from pipeline_platform.frames.settings import spark_settings
from pipeline_platform.testing.comparison import Difference, Values, difference
from pipeline_platform.testing.file_format import ExpectedFailure, ExpectedStep
from pipeline_platform.testing.fixed_time import clock_readers, session_at
from pipeline_platform.testing.given_rows import with_given_rows
from pipeline_platform.testing.reading import PipelineTest
from pipeline_platform.testing.rows import parsed_schema, typed_rows
from pipeline_platform.testing.seen import Look, Looker, Rows, SeenStep

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import StructType

# The rows are few: each task has its price, and so has the code that Spark would compile for each plan.
_FEW_ROWS = {
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    # The one that Spark takes by default starts a program for each file that it writes, of which a stream has many.
    "spark.sql.streaming.checkpointFileManagerClass": (
        "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
    ),
}


@dataclass(frozen=True)
class Finding:
    """Something in a test that is otherwise than expected.

    Args:
        problem: What, and where it stands in the file.
        difference: Of rows, how they differ.
    """

    problem: ConfigError
    difference: Difference | None = None


@dataclass(frozen=True)
class TestResult:
    """What came of a test.

    Args:
        test: The test.
        findings: What is otherwise than expected; none of a test that passed.
        error: What kept the test from being carried out, or the run in it from going well.
        seconds: How long it took.
        rules: For each rule of each validation that was carried out, by step index and name, the rows that broke it.
    """

    __test__ = False

    test: PipelineTest
    findings: Sequence[Finding] = ()
    error: str | None = None
    seconds: float = 0.0
    rules: Mapping[tuple[int, str], int] = field(default_factory=dict[tuple[int, str], int])

    @property
    def passed(self) -> bool:
        """Whether all is as expected."""
        return not self.findings and self.error is None


def carry_out(test: PipelineTest, partition: Partition | None) -> TestResult:
    """Carry out a test, in the process's session, which is started if there is none.

    Args:
        test: The test.
        partition: What is loaded; of a pipeline with partitions.
    """
    began = time.monotonic()
    findings: list[Finding] = []
    rules: dict[tuple[int, str], int] = {}
    told: str | None = None
    try:
        with looker_of(test, partition) as looker:
            for found in _findings(test, looker, rules):
                findings.append(found)
    except PipelineException as error:
        problems = getattr(error, "problems", ())
        told = "\n".join(map(str, problems)) or str(error.locate(test.pipeline.location))
    return TestResult(test, findings, told, time.monotonic() - began, rules)


@contextmanager
def looker_of(test: PipelineTest, partition: Partition | None) -> Generator[Looker]:
    """What looks at the steps of a test's pipeline, with its rows in place of what the extracts read.

    Args:
        test: The test.
        partition: What is loaded; of a pipeline with partitions.

    Raises:
        PipelineException: Rows don't fit their columns, or no session can be had that fits the test.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        _session(test) as spark,
        closing(RunCredentials.from_environment("test", test.pipeline.location)) as credentials,
    ):
        yield Looker(with_given_rows(test, spark, Path(folder)), spark, credentials, partition)


@contextmanager
def _session(test: PipelineTest) -> Generator[SparkSession]:
    with planning_session(test.pipeline) as shared:
        if test.case.now is None:
            with spark_settings(shared, _FEW_ROWS):
                yield shared
            return
        needed = {index for step in test.wanted for index in preview_steps(test.pipeline, step)}
        for step, text in clock_readers([test.pipeline.steps[index] for index in sorted(needed)]):
            raise PipelineConfigurationException(
                f"'now' can't set the time that '{text}' gives",
                location=step.location,
                hint="write current_timestamp() or current_date(), with parentheses; the result is the same",
            )
        spark = session_at(shared, test.case.now)
        with pipeline_settings(test.pipeline, spark), spark_settings(spark, _FEW_ROWS):
            yield spark


def _findings(test: PipelineTest, looker: Looker, rules: dict[tuple[int, str], int]) -> Iterator[Finding]:
    """What of the steps is otherwise than expected.

    Args:
        test: The test.
        looker: Looks at its steps.
        rules: Gets the rows that broke each rule.

    Raises:
        PipelineException: The run fails, and is not expected to.
    """
    fails = test.case.fails
    looks: list[Look] = []
    for step in (looker.pipeline.steps[one.index] for one in test.wanted):
        expected = test.case.expect.get(step.name)
        looks += [] if expected is None else [Look(step, collects=expected.wants_rows)]
        looks += [Look(step, collects=True, may_break=False)] if fails and fails.step == step.name else []
    for look, seen in zip(looks, looker.look(looks), strict=True):
        if fails is not None and not look.may_break:
            yield from _failure(seen, fails, test.place / "fails")
            continue
        if isinstance(seen, PipelineException):
            raise seen
        rules.update(seen.rules)
        yield from _compared(
            looker.spark, seen, test.case.expect[look.step.name], test.place / "expect" / look.step.name
        )


def _failure(seen: SeenStep | PipelineException, fails: ExpectedFailure, place: SourcePosition) -> Iterator[Finding]:
    if not isinstance(seen, PipelineException):
        yield Finding((place / "step").problem(f"'{fails.step}' does not fail"))
    elif fails.message.lower() not in str(seen).lower():
        yield Finding((place / "message").problem(f"it fails with another message: {seen}"))


def _compared(spark: SparkSession, seen: SeenStep, expected: ExpectedStep, place: SourcePosition) -> Iterator[Finding]:
    if expected.schema_ is not None and seen.schema is not None:
        yield from _schema(seen.schema, expected.schema_, place / "schema")
    if expected.violations is not None:
        here = place if isinstance(place.value, int) else place / "violations"
        found = {rule: count for (index, rule), count in seen.rules.items() if index == seen.step.index}
        yield from _violations(found, expected.violations, here)
    everything = [row for batch in seen.batches for row in batch]
    if expected.rows is not None:
        yield from _rows(spark, seen, everything, place if isinstance(place.value, list) else place / "rows")
    if expected.batches is not None:
        yield from _batches(spark, seen, len(expected.batches), place / "batches")
    if expected.count is not None and len(everything) != expected.count:
        message = f"'{seen.step.name}' has {len(everything)} rows, and {expected.count} are expected"
        yield Finding((place / "count").problem(message))


def _batches(spark: SparkSession, seen: SeenStep, expected: int, place: SourcePosition) -> Iterator[Finding]:
    for number in range(expected):
        found: Rows = seen.batches[number] if number < len(seen.batches) else ()
        yield from _rows(spark, seen, found, place / number)
    if left := [row for batch in seen.batches[expected:] for row in batch]:
        message = f"after these, {len(left)} rows come in micro-batches that nothing is expected of"
        yield Finding(place.problem(message, hint="the last ones may have no rows given: they come as time has passed"))


def _rows(spark: SparkSession, seen: SeenStep, found: Rows, place: SourcePosition) -> Iterator[Finding]:
    from pyspark.sql import types as T

    rows: list[dict[str, Any]] = place.value
    if seen.schema is None:
        if rows:
            yield Finding(place.problem("no row is put into quarantine"))
        return
    kinds = {one.name: one for one in seen.schema.fields}
    names = list(rows[0]) if rows else list(kinds)
    if unknown := [name for name in names if name not in kinds]:
        message = f"there is no column '{unknown[0]}'"
        hint = f"the columns are {', '.join(kinds)}"
        yield Finding((place / 0 / unknown[0]).problem(message, on_key=True, hint=hint))
        return
    wanted: Rows = typed_rows(spark, place, T.StructType([kinds[name] for name in names])).to_pylist()
    if (differs := difference(names, _values(names, wanted), _values(names, found))) is not None:
        yield Finding(place.problem(differs.told()), differs)


def _values(names: Sequence[str], rows: Rows) -> list[Values]:
    return [tuple(row[name] for name in names) for row in rows]


def _schema(schema: StructType, text: str, place: SourcePosition) -> Iterator[Finding]:
    wanted = [(one.name, one.dataType) for one in parsed_schema(text, place).fields]
    found = [(one.name, one.dataType) for one in schema.fields]
    if wanted != found:
        shown = ", ".join(f"{name} {kind.simpleString().upper()}" for name, kind in found)
        yield Finding(place.problem(f"the columns are others: {shown}"))


def _violations(
    found: Mapping[str, int], expected: int | Mapping[str, int], place: SourcePosition
) -> Iterator[Finding]:
    if isinstance(expected, int):
        if (total := sum(found.values())) != expected:
            told = ", ".join(f"{count} of '{name}'" for name, count in found.items() if count)
            yield Finding(place.problem(f"expected {expected} violations, found {total}{told and f': {told}'}"))
        return
    for name in expected.keys() - found.keys():
        message = f"there is no rule '{name}'"
        yield Finding((place / name).problem(message, on_key=True, hint=did_you_mean(name, found)))
    for name, count in found.items():
        if count != expected.get(name, 0):
            message = f"{count} rows break '{name}', and {expected.get(name, 0)} are expected to"
            yield Finding((place / name).problem(message))
