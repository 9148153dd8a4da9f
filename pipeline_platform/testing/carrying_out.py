"""Carries out tests: the pipeline's own plan, with given rows in place of what its extracts read."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.config_error import ConfigError, did_you_mean
from pipeline_platform.config.documents.document import SourcePosition
from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.execution import broken_rules
from pipeline_platform.engine.failures import error_context
from pipeline_platform.engine.preview import StepPreview, preview_steps, previewed
from pipeline_platform.engine.spark.session import pipeline_settings, planning_session
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.session import arrow_table, frame_of
from pipeline_platform.frames.settings import spark_settings
from pipeline_platform.metrics.run import RuleMetrics
from pipeline_platform.steps.validate import Validate
from pipeline_platform.testing.comparison import Difference, Values, difference
from pipeline_platform.testing.file_format import ExpectedStep
from pipeline_platform.testing.fixed_time import clock_readers, session_at
from pipeline_platform.testing.given_frame import GivenFrame
from pipeline_platform.testing.reading import PipelineTest
from pipeline_platform.testing.rows import inferred_schema, parsed_schema, typed_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

_MOST_ROWS = 10_000
"""Of a step, that are compared: a join gone wrong may make any number of them."""
# The rows are few, and each task has its price.
_FEW_ROWS = {"spark.sql.shuffle.partitions": "1"}


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
        ran: Indices of the steps that were carried out.
    """

    __test__ = False

    test: PipelineTest
    findings: Sequence[Finding] = ()
    error: str | None = None
    seconds: float = 0.0
    rules: Mapping[tuple[int, str], int] = field(default_factory=dict[tuple[int, str], int])
    ran: frozenset[int] = frozenset()

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
    ran: set[int] = set()
    told: str | None = None
    try:
        with (
            _session(test) as spark,
            closing(RunCredentials.from_environment("test", test.pipeline.location)) as credentials,
        ):
            pipeline = _with_given_rows(test, spark)
            run = _Run(test, pipeline, spark, credentials, partition, rules, ran)
            for step in test.wanted:
                findings += run.findings(pipeline.steps[step.index])
    except PipelineException as error:
        problems = getattr(error, "problems", ())
        told = "\n".join(map(str, problems)) or str(error.locate(test.pipeline.location))
    return TestResult(test, findings, told, time.monotonic() - began, rules, frozenset(ran))


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


def _with_given_rows(test: PipelineTest, spark: SparkSession) -> PipelineConfig:
    """The pipeline with the test's rows in place of what its extracts read.

    Raises:
        PipelineConfigurationException: Rows don't fit their schema.
    """
    steps: list[Step] = []
    for step in test.pipeline.steps:
        given = test.case.given.get(step.name)
        if given is None:
            steps.append(step)
            continue
        place = test.place / "given" / step.name
        place = place if isinstance(place.value, list) else place / "rows"
        declared = getattr(step.config, "schema_", None)
        if given.schema_ is not None:
            schema = parsed_schema(given.schema_, test.place / "given" / step.name / "schema")
        elif isinstance(declared, str):
            schema = parsed_schema(declared, place)
        else:
            schema = inferred_schema(spark, place)
        frame = frame_of(spark, typed_rows(spark, place, schema), _nullable(schema))
        steps.append(replace(step, config=GivenFrame.of(frame)))
    return test.pipeline.model_copy(update={"steps": tuple(steps)})


def _nullable(schema: StructType) -> StructType:
    from pyspark.sql import types as T

    return T.StructType([T.StructField(field.name, field.dataType) for field in schema.fields])


@dataclass(frozen=True)
class _Run:
    """A test while it is carried out.

    Args:
        test: The test.
        pipeline: Its pipeline, with the given rows.
        spark: The session.
        credentials: Of the run; a step that reads nothing needs none.
        partition: What is loaded.
        rules: Filled with the rows that broke each rule.
        ran: Filled with the steps that were carried out.
    """

    test: PipelineTest
    pipeline: PipelineConfig
    spark: SparkSession
    credentials: RunCredentials
    partition: Partition | None
    rules: dict[tuple[int, str], int]
    ran: set[int]

    def findings(self, step: Step) -> Iterator[Finding]:
        """What of a step is otherwise than expected.

        Raises:
            PipelineException: The run fails, and is not expected to.
        """
        expected, fails = self.test.case.expect.get(step.name), self.test.case.fails
        if expected is not None:
            with self._previewed(step) as preview:
                yield from self._compared(preview, expected, self.test.place / "expect" / step.name)
        if fails is None or fails.step != step.name:
            return
        place = self.test.place / "fails"
        try:
            with self._previewed(step) as preview:
                self._run(preview)
        except PipelineException as error:
            if fails.message.lower() not in str(error).lower():
                yield Finding((place / "message").problem(f"it fails with another message: {error}"))
            return
        yield Finding((place / "step").problem(f"'{step.name}' does not fail"))

    @contextmanager
    def _previewed(self, step: Step) -> Generator[StepPreview]:
        with previewed(self.pipeline, step, self.spark, self.credentials, self.partition) as preview:
            self.ran.update(preview_steps(self.pipeline, step), {step.index})
            for index, judged in preview.rules.items():
                self.rules.update({(index, rule.rule): rule.violations for rule in judged})
            yield preview

    def _compared(self, preview: StepPreview, expected: ExpectedStep, place: SourcePosition) -> Iterator[Finding]:
        step = preview.step
        with error_context(step, self.pipeline):
            if expected.schema_ is not None:
                yield from _schema(preview, expected.schema_, place / "schema")
            if expected.violations is not None:
                here = place if isinstance(place.value, int) else place / "violations"
                yield from _violations(preview.rules[step.index], expected.violations, here)
            frame = preview.quarantined if step.type == "validate" else preview.frame
            if expected.rows is not None:
                yield from self._rows(frame, place if isinstance(place.value, list) else place / "rows")
            if expected.count is not None and (found := preview.frame.count()) != expected.count:
                message = f"'{step.name}' has {found} rows, and {expected.count} are expected"
                yield Finding((place / "count").problem(message))

    def _run(self, preview: StepPreview) -> None:
        """Do with a step what a run would do, so that it fails as the run does.

        Raises:
            PipelineException: It does.
        """
        step, rules = preview.step, preview.rules.get(preview.step.index, ())
        if isinstance(step.config, Validate):
            if step.config.on_failure == "fail" and not all(rule.passed for rule in rules):
                raise broken_rules(step, step.config, rules)
            return
        with error_context(step, self.pipeline):
            preview.frame.write.format("noop").mode("overwrite").save()

    def _rows(self, frame: DataFrame | None, place: SourcePosition) -> Iterator[Finding]:
        from pyspark.sql import types as T

        rows: list[dict[str, Any]] = place.value
        names = list(rows[0]) if rows else (frame.columns if frame is not None else [])
        if frame is None:
            if rows:
                yield Finding(place.problem("no row is put into quarantine"))
            return
        kinds = {one.name: one for one in frame.schema.fields}
        if unknown := [name for name in names if name not in kinds]:
            message = f"there is no column '{unknown[0]}'"
            hint = f"the columns are {', '.join(kinds)}"
            yield Finding((place / 0 / unknown[0]).problem(message, on_key=True, hint=hint))
            return
        schema = T.StructType([kinds[name] for name in names])
        expected = typed_rows(self.spark, place, schema)
        found = arrow_table(frame.select(*map(quoted, names)).limit(_MOST_ROWS))
        if (differs := difference(names, _values(expected), _values(found))) is not None:
            yield Finding(place.problem(differs.told()), differs)


def _values(table: Any) -> list[Values]:
    return [tuple(row.values()) for row in table.to_pylist()]


def _schema(preview: StepPreview, text: str, place: SourcePosition) -> Iterator[Finding]:
    wanted = [(one.name, one.dataType) for one in parsed_schema(text, place).fields]
    found = [(one.name, one.dataType) for one in preview.frame.schema.fields]
    if wanted != found:
        shown = ", ".join(f"{name} {kind.simpleString().upper()}" for name, kind in found)
        yield Finding(place.problem(f"the columns are others: {shown}"))


def _violations(
    rules: Sequence[RuleMetrics], expected: int | Mapping[str, int], place: SourcePosition
) -> Iterator[Finding]:
    found = {rule.rule: rule.violations for rule in rules}
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
