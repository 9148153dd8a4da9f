"""Makes a test of a real run: given are the first rows that its extracts read, and expected what comes of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline_platform.config.config_error import nearest
from pipeline_platform.config.documents.document import Document, DocumentError, parse_document, read_document
from pipeline_platform.config.method_registry import Methods
from pipeline_platform.config.partitions import Partition
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.engine.spark.server import SERVER_VARIABLE, Use
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException, ValidationException
from pipeline_platform.testing.carrying_out import carry_out, looker_of
from pipeline_platform.testing.comparison import difference
from pipeline_platform.testing.reading import TESTS, PipelineTest, tests_in
from pipeline_platform.testing.real_rows import RealRows, extracts_for, real_rows, writable_columns
from pipeline_platform.testing.recorded_variables import recorded_variables
from pipeline_platform.testing.seen import MOST_ROWS, Look, SeenStep
from pipeline_platform.testing.stand_ins import holds_secret, single_values
from pipeline_platform.testing.written_rows import in_order, written_row, written_schema
from pipeline_platform.testing.written_test import new_file, text_of_test, with_test

_CHOOSE = 'choose rows that belong together, such as --where "{name}=id IN (1, 2)"; --limit reads more'


@dataclass(frozen=True)
class Request:
    """What is to be recorded.

    Args:
        steps: Names of the steps whose rows are expected; none for the loads.
        name: Of the test; None for one with the date.
        limit: How many rows of each extract at most.
        where: SQL conditions by the name of an extract.
        variables: Names of the variables whose values are given.
        key: Of the partition that is loaded.
    """

    steps: Sequence[str] = ()
    name: str | None = None
    limit: int = 20
    where: Mapping[str, str] = field(default_factory=dict[str, str])
    variables: Sequence[str] = ()
    key: str | None = None


@dataclass(frozen=True)
class Recording:
    """A test that was recorded and passes.

    Args:
        file: The file that has it.
        name: Its name.
        given: How many rows of each extract.
        expected: How many rows of each step.
        notes: What someone should know of it.
    """

    file: Path
    name: str
    given: Mapping[str, int]
    expected: Mapping[str, int]
    notes: Sequence[str]


def record(
    pipeline: PipelineConfig, file: Path, request: Request, partition: Partition | None, methods: Methods
) -> Recording:
    """Read the first rows of a pipeline's extracts, and write a test of them that passes.

    It goes to the end of the file in the folder `tests` beside the pipeline, which is made if there is none.

    Args:
        pipeline: The pipeline.
        file: Its file.
        request: What is to be recorded.
        partition: What is loaded; of a pipeline with partitions.
        methods: The methods that a step may name.

    Raises:
        PipelineException: It can't be recorded; nothing is written then.
    """
    place = _TestFile.beside(file, methods)
    name = place.name_for(request.name)
    steps = _wanted(pipeline, request)
    real = real_rows(pipeline, steps, request.limit, request.where, partition)
    if real.uses_clock:
        # A server has its own clock.
        os.environ.setdefault(SERVER_VARIABLE, Use.NEVER)
    notes = [
        f"stand-ins are in {', '.join(sorted(one.hidden))} of {one.step.name}" for one in real.extracts if one.hidden
    ]
    variables, changed = recorded_variables(pipeline, request.variables)
    notes += changed
    draft, seen = _carried_out(_draft(place, name, variables, request, real, methods), steps, partition)
    notes += [
        f"'{one}' only warns in this test, as it is about more rows than these"
        for one in draft.heading.get("warnOnly", ())
    ]
    if not any(_rows(one) for one in seen):
        raise _nothing(pipeline, real, steps)
    expected = [_Expected.of(one) for one in seen]
    if not carry_out(draft.test(_texts(expected)), partition).passed:
        again = _carried_out(draft, steps, partition)[1]
        expected = [one.without_changing(_rows(other)) for one, other in zip(expected, again, strict=True)]
    result = carry_out(draft.test(_texts(expected)), partition)
    if not result.passed:
        told = result.error or result.findings[0].problem.message
        raise PipelineConfigurationException(f"a run on the same rows makes others each time: {told}")
    place.write(draft.text(_texts(expected)))
    notes += [f"not expected of {one.step}: {', '.join(one.left_out)}, {one.why}" for one in expected if one.left_out]
    given = {one.step.name: len(one.rows) for one in real.extracts}
    return Recording(place.path, name, given, {one.step: len(one.rows) for one in expected}, notes)


def _wanted(pipeline: PipelineConfig, request: Request) -> list[Step]:
    """The steps whose rows are expected.

    Raises:
        PipelineConfigurationException: A name is of no step that has rows, or a condition of no extract.
    """
    names = {step.name: step for step in pipeline.steps}
    for name in request.steps:
        if name not in names:
            raise PipelineConfigurationException(
                f"there is no step called {name}; the steps are {', '.join(names)}", location=pipeline.location
            )
        if names[name].type == "validate":
            raise PipelineConfigurationException(
                f"{name} is a validation: what is recorded are the rows of extracts, transforms and loads",
                location=pipeline.location,
                hint='write it by hand into the recorded test, such as "expect": {"' + name + '": 0}',
            )
    steps = [names[name] for name in request.steps] or [step for step in pipeline.steps if step.type == "load"]
    extracts = [step.name for step in extracts_for(pipeline, steps)]
    for name in request.where:
        if name not in extracts:
            near = nearest(name, extracts)
            raise PipelineConfigurationException(
                f"--where names '{name}', which is none of the extracts that are read: {', '.join(extracts)}",
                location=pipeline.location,
                hint=f"did you mean '{near}'?" if near is not None else None,
            )
    return steps


def _nothing(pipeline: PipelineConfig, real: RealRows, steps: Sequence[Step]) -> PipelineException:
    read = ", ".join(f"{len(one.rows)} of {one.step.name}" for one in real.extracts)
    names = " and ".join(step.name for step in steps)
    name = real.extracts[0].step.name if real.extracts else "orders"
    why = "; each extract is limited by itself, so a join may find no partners" if len(real.extracts) > 1 else ""
    return PipelineConfigurationException(
        f"no row comes to {names} from the rows that were read: {read}{why}",
        location=pipeline.location,
        hint=_CHOOSE.format(name=name),
    )


@dataclass(frozen=True)
class _TestFile:
    """The file that a test goes into."""

    path: Path
    pipeline: str
    document: Document | None
    names: frozenset[str]

    @classmethod
    def beside(cls, file: Path, methods: Methods) -> _TestFile:
        """That of a pipeline.

        Raises:
            PipelineConfigurationException: It has errors, or is of another pipeline.
        """
        path, pipeline = file.parent / TESTS / file.name, f"../{file.name}"
        if not path.exists():
            return cls(path, pipeline, None, frozenset())
        try:
            document = read_document(path)
        except DocumentError as error:
            raise PipelineConfigurationException(str(error.problem)) from error
        tests = tests_in(document, methods)
        if tests[0].pipeline.file is None or tests[0].pipeline.file.resolve() != file.resolve():
            raise PipelineConfigurationException(
                f"the tests in '{path}' are of {tests[0].pipeline.file}", hint="move them to a file of its name"
            )
        return cls(path, pipeline, document, frozenset(test.case.name for test in tests))

    def name_for(self, wanted: str | None) -> str:
        """A name that no other test has.

        Raises:
            PipelineConfigurationException: The one that is wanted is taken.
        """
        if wanted is not None:
            if wanted in self.names:
                raise PipelineConfigurationException(
                    f"there is a test called '{wanted}' in '{self.path}'", hint="choose another name, or remove it"
                )
            return wanted
        first = f"as recorded on {datetime.now(UTC):%Y-%m-%d}"
        others = (f"{first}, {number}" for number in range(2, len(self.names) + 3))
        return next(name for name in (first, *others) if name not in self.names)

    def text_with(self, test: str) -> str:
        """All of the file, with one more test."""
        if self.document is not None:
            return with_test(self.document, test)
        schema = next(
            (one for one in ("../", "../../") if (self.path.parent / one / "tests.schema.json").is_file()), None
        )
        return new_file(self.pipeline, test, None if schema is None else f"{schema}tests.schema.json")

    def write(self, text: str) -> None:
        """Write it, or leave it as it is."""
        self.path.parent.mkdir(exist_ok=True)
        new = self.path.with_name(f".{self.path.name}.new")
        new.write_text(text)
        new.replace(self.path)


@dataclass(frozen=True)
class _Draft:
    """A test while it is made.

    Args:
        place: The file that it goes into.
        heading: What stands before the rows.
        given: By the name of an extract its schema and its rows, as JSON.
        methods: The methods that a step may name.
    """

    place: _TestFile
    heading: Mapping[str, Any]
    given: Mapping[str, tuple[str, Sequence[str]]]
    methods: Methods

    def text(self, expected: Mapping[str, Sequence[str] | str]) -> str:
        """The file with the test."""
        return self.place.text_with(text_of_test(self.heading, self.given, expected))

    def test(self, expected: Mapping[str, Sequence[str] | str]) -> PipelineTest:
        """The test, as it is read from the file."""
        return tests_in(parse_document(self.text(expected), self.place.path), self.methods)[-1]


def _draft(
    place: _TestFile, name: str, variables: Mapping[str, Any], request: Request, real: RealRows, methods: Methods
) -> _Draft:
    now = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    heading: dict[str, Any] = {
        "name": name,
        "now": now if real.uses_clock else None,
        "variables": variables or None,
        "partition": request.key,
    }
    given = {
        one.step.name: (written_schema(one.columns), [written_row(row, one.columns) for row in one.rows])
        for one in real.extracts
    }
    return _Draft(place, {key: value for key, value in heading.items() if value is not None}, given, methods)


def _carried_out(
    draft: _Draft, steps: Sequence[Step], partition: Partition | None
) -> tuple[_Draft, Sequence[SeenStep]]:
    """What comes of the given rows, and the test with which it does: what looks at a whole table only warns in it.

    Raises:
        PipelineException: The run fails.
    """
    test = draft.test({step.name: '{"count": 0}' for step in steps})
    with looker_of(test, partition) as looker:
        looks = [Look(looker.pipeline.steps[step.index], collects=True) for step in steps]
        found = list(looker.look(looks))
    seen = [one for one in found if not isinstance(one, PipelineException)]
    if len(seen) == len(found):
        return draft, seen
    error = next(one for one in found if isinstance(one, PipelineException))
    stopped_by = _whole_table_rule(test, error)
    if stopped_by is None:
        name = next(iter(draft.given), "orders")
        raise PipelineConfigurationException(
            f"the run fails with the rows that were read: {error.message if error.location is not None else error}",
            location=error.location or test.pipeline.location,
            hint=f'choose other rows, such as --where "{name}=id IN (1, 2)", or write a test of this failure by hand',
        )
    warn_only = [*draft.heading.get("warnOnly", ()), stopped_by.name]
    return _carried_out(replace(draft, heading={**draft.heading, "warnOnly": warn_only}), steps, partition)


def _whole_table_rule(test: PipelineTest, error: PipelineException) -> Step | None:
    """The validation that stopped a run, if it looks at the whole of a table, of which only some rows were read."""
    if not isinstance(error, ValidationException):
        return None
    stopped = next((step for step in test.pipeline.steps if step.location == error.location), None)
    is_known = stopped is None or stopped.name in test.case.warn_only
    return None if is_known or stopped is None or stopped.traits.looks_at_rows else stopped


@dataclass(frozen=True)
class _Expected:
    """What is expected of a step.

    Args:
        step: Its name.
        columns: All its columns.
        names: Those that are compared.
        rows: The rows.
        left_out: The columns that are not compared.
        why: Why not.
    """

    step: str
    columns: Any
    names: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    left_out: Sequence[str] = ()
    why: str = ""

    @classmethod
    def of(cls, seen: SeenStep) -> _Expected:
        """All that was seen of a step and can be written.

        Raises:
            PipelineConfigurationException: There are too many rows.
        """
        rows = _rows(seen)
        if len(rows) >= MOST_ROWS:
            raise PipelineConfigurationException(
                f"'{seen.step.name}' makes {MOST_ROWS} rows or more of those that were read",
                hint="record fewer: --limit",
            )
        schema = seen.schema
        assert schema is not None
        secret = [one.name for one in schema.fields if holds_secret(_single(rows, one))]
        names = [name for name in writable_columns(schema) if name not in secret]
        left_out = [one.name for one in schema.fields if one.name not in names]
        return cls(seen.step.name, schema, names, rows, left_out, "whose values a test can't or must not hold")

    def without_changing(self, again: Sequence[Mapping[str, Any]]) -> _Expected:
        """Without the columns that have other values when the run is repeated."""
        changing = [
            name
            for name in self.names
            if difference([name], [(row[name],) for row in self.rows], [(row[name],) for row in again]) is not None
        ]
        if not changing:
            return self
        names = [name for name in self.names if name not in changing]
        return replace(self, names=names, left_out=[*self.left_out, *changing], why="whose values each run makes anew")

    @property
    def text(self) -> Sequence[str] | str:
        """As it is written."""
        from pyspark.sql import types as T

        if not self.names or not self.rows:
            return f'{{"count": {len(self.rows)}}}'
        columns = T.StructType([one for one in self.columns.fields if one.name in self.names])
        return [written_row(row, columns) for row in in_order(self.rows, self.names)]


def _single(rows: Sequence[Mapping[str, Any]], column: Any) -> list[Any]:
    return list(single_values([row[column.name] for row in rows], column.dataType))


def _texts(expected: Sequence[_Expected]) -> dict[str, Sequence[str] | str]:
    return {one.step: one.text for one in expected}


def _rows(seen: SeenStep) -> list[Mapping[str, Any]]:
    return [row for batch in seen.batches for row in batch]
