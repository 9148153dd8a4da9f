"""Reads files of tests: every mistake is found before Spark starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from pipeline_platform.config.config_error import ConfigError, did_you_mean, in_order, refused
from pipeline_platform.config.documents.document import (
    Document,
    DocumentError,
    SourcePosition,
    json_type,
    read_document,
)
from pipeline_platform.config.format_errors import FormatError, format_errors
from pipeline_platform.config.loader import load_pipeline, variables_of
from pipeline_platform.config.located_errors import located_errors
from pipeline_platform.config.method_registry import Methods
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.shared_files import SharedFiles
from pipeline_platform.config.step import Step, StepType
from pipeline_platform.config.variables import Variable, VariableValue, typed
from pipeline_platform.engine.preview import preview_steps
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.steps.extract import Extract
from pipeline_platform.testing.file_format import ExpectedStep, TestCase, TestFile

TESTS = "tests"
"""Name of the folder beside pipelines that has their tests."""
_KINDS: Mapping[StepType, str] = {
    "extract": "an extract",
    "transform": "a transform",
    "validate": "a validation",
    "load": "a load",
}


@dataclass(frozen=True)
class PipelineTest:
    """A test of a pipeline.

    Args:
        pipeline: The pipeline, with the variables of the test.
        case: What is given and expected.
        place: Where the test is written.
    """

    pipeline: PipelineConfig
    case: TestCase
    place: SourcePosition

    @property
    def file(self) -> Path:
        """The file of tests."""
        return self.place.document.path

    def is_streamed(self, step: Step) -> bool:
        """Whether an extract of the pipeline reads a stream."""
        return self.pipeline.mode == "streaming" and step.traits.is_stream

    @property
    def wanted(self) -> list[Step]:
        """The steps of which something is expected, in their order."""
        names = {*self.case.expect, *((self.case.fails.step,) if self.case.fails is not None else ())}
        return [step for step in self.pipeline.in_turn if step.name in names]


def files_of_tests(path: Path) -> list[Path]:
    """The files of tests that a path means: of a folder those in its folder `tests`, or its own if it is one.

    Args:
        path: A folder, or a file of tests.
    """
    if not path.is_dir():
        return [path]
    folder = path if path.absolute().name == TESTS else path / TESTS
    return sorted(folder.glob("*.json"))


def read_tests(path: Path, methods: Methods) -> list[PipelineTest]:
    """The tests of a file, each with its pipeline.

    Args:
        path: The file.
        methods: The methods that a step may name.

    Raises:
        PipelineConfigurationException: With a problem for each mistake in the file, or in its pipeline.
    """
    try:
        document = read_document(path)
    except DocumentError as error:
        raise refused([error.problem]) from error
    return tests_in(document, methods)


def named_test(file: Path, name: str, methods: Methods) -> PipelineTest:
    """The test of a pipeline with a name.

    Args:
        file: The pipeline; its tests are in the file of the same name in the folder `tests` beside it.
        name: The name, or a part of it that no other test has.
        methods: The methods that a step may name.

    Raises:
        PipelineConfigurationException: There is none or more than one, or the file of tests has errors.
    """
    path = file.parent / TESTS / file.name
    tests = read_tests(path, methods) if path.is_file() else []
    found = [one for one in tests if one.case.name == name]
    found = found or [one for one in tests if name.lower() in one.case.name.lower()]
    if len(found) == 1:
        return found[0]
    if not tests:
        raise PipelineConfigurationException(
            f"there are no tests of {file}: there is no file '{path}'",
            hint=f"make one of real rows: pipeline-platform test --record {file}",
        )
    listed = "".join(f"\n  {one.case.name}" for one in found or tests)
    what = f"several tests of {path} have '{name}' in their names" if found else f"no test in {path} is called '{name}'"
    raise PipelineConfigurationException(f"{what}:{listed}" if found else f"{what}; there are{listed}")


def tests_in(document: Document, methods: Methods) -> list[PipelineTest]:
    """As `read_tests`, of a file that is read.

    Args:
        document: The file.
        methods: The methods that a step may name.

    Raises:
        PipelineConfigurationException: As `read_tests`.
    """
    root, path = SourcePosition(document), document.path
    if document.problems:
        raise refused(document.problems)
    value: object = document.value
    if not isinstance(value, dict):
        raise refused([root.problem(f"expected an object with 'pipeline' and 'tests', not {json_type(root.value)}")])
    places = {key: root / key for key in cast("dict[str, Any]", value)}
    try:
        file = TestFile.model_validate(value)
    except ValidationError as error:
        found = _as_written(root, format_errors(error))
        raise refused(in_order(path, located_errors(found, TestFile, places, root))) from None
    shown = Path(os.path.normpath(path.parent / file.pipeline))
    if not shown.is_file():
        message = f"there is no file '{shown}'"
        raise refused([(root / "pipeline").problem(message, hint="the path begins in the folder of this file")])
    problems: list[ConfigError] = []
    tests: list[PipelineTest] = []
    # What a test expects is the same wherever it is run.
    shared = SharedFiles.outside_environments(methods, shown.absolute().parent.parent)
    loaded: dict[tuple[tuple[str, VariableValue], ...], PipelineConfig] = {}
    variables = variables_of(shown)
    for number, case in enumerate(file.tests):
        place = root / "tests" / number
        values, wrong = _values(case, place, variables)
        problems += wrong
        if wrong:
            continue
        key = tuple(sorted(values.items()))
        if key not in loaded:
            loaded[key] = load_pipeline(shown, methods, values=values, shared=shared)
        test = PipelineTest(loaded[key], case, place)
        problems += _mistakes(test)
        tests.append(test)
    if problems:
        raise refused(in_order(path, problems))
    return tests


def _as_written(root: SourcePosition, found: Iterable[FormatError]) -> Iterator[FormatError]:
    """Mistakes with the keys that stand in the file, where a list is short for an object with `rows`."""
    for mistake in found:
        keys: list[str | int] = []
        for key in mistake.keys:
            here = root.document.at(tuple(keys))
            if key == "rows" and isinstance(here, list):
                continue
            keys.append(key)
        yield FormatError(
            tuple(keys), mistake.message, mistake.kind, mistake.allowed, mistake.offset, mistake.is_between
        )


def _values(
    case: TestCase, place: SourcePosition, variables: Mapping[str, Variable]
) -> tuple[dict[str, VariableValue], list[ConfigError]]:
    values: dict[str, VariableValue] = {}
    problems: list[ConfigError] = []
    for name, value in case.variables.items():
        here = place / "variables" / name
        if name not in variables:
            hint = did_you_mean(name, variables)
            problems.append(here.problem(f"the pipeline has no variable '{name}'", on_key=True, hint=hint))
        elif not isinstance(value, (str, int, float, bool)):
            problems.append(here.problem(f"expected a value of a variable, not {json_type(value)}"))
        else:
            try:
                text = str(value).lower() if isinstance(value, bool) else str(value)
                values[name] = typed(variables[name].type, text)
            except ValueError as error:
                problems.append(here.problem(str(error)))
    return values, problems


def _mistakes(test: PipelineTest) -> Iterator[ConfigError]:
    """What in a test does not fit its pipeline."""
    pipeline, case, place = test.pipeline, test.case, test.place
    steps = {step.name: step for step in pipeline.steps}
    for name, expected in case.expect.items():
        here = place / "expect" / name
        if name not in steps:
            yield here.problem(f"the pipeline has no step '{name}'", on_key=True, hint=did_you_mean(name, steps))
        elif (wrong := _wrong_expectation(steps[name], expected)) is not None:
            yield here.problem(wrong, on_key=True)
    if case.fails is not None and case.fails.step not in steps:
        hint = did_you_mean(case.fails.step, steps)
        yield (place / "fails" / "step").problem(f"the pipeline has no step '{case.fails.step}'", hint=hint)
    for number, name in enumerate(case.warn_only):
        if name not in steps or steps[name].type != "validate":
            validations = [one for one, step in steps.items() if step.type == "validate"]
            hint = did_you_mean(name, validations)
            yield (place / "warnOnly" / number).problem(f"the pipeline has no validation '{name}'", hint=hint)
    extracts = {name for name, step in steps.items() if step.type == "extract"}
    for name in case.given:
        if name not in extracts:
            message = (
                f"'{name}' is {_KINDS[steps[name].type]}" if name in steps else f"the pipeline has no step '{name}'"
            )
            hint = f"rows are given for extracts: {', '.join(sorted(extracts))}"
            yield (place / "given" / name).problem(message, on_key=True, hint=hint)
    yield from not_given(test, test.wanted)
    if (case.partition is None) != (pipeline.partitions is None):
        message = "the pipeline has no partitions" if pipeline.partitions is None else "the pipeline has partitions"
        hint = None if pipeline.partitions is None else "say which one the test is about, in 'partition'"
        yield (place / "partition" if case.partition is not None else place / "name").problem(message, hint=hint)
    for name, given in case.given.items():
        if given.batches is not None and name in steps and not test.is_streamed(steps[name]):
            yield (place / "given" / name / "batches").problem(f"'{name}' is no stream: expected 'rows'", on_key=True)
    for name, expected in case.expect.items():
        if expected.batches is not None and pipeline.mode != "streaming":
            here = place / "expect" / name / "batches"
            yield here.problem("the pipeline is no stream: expected 'rows'", on_key=True)


def not_given(test: PipelineTest, steps: Iterable[Step]) -> Iterator[ConfigError]:
    """The extracts that steps need, and that a test gives no rows for.

    Args:
        test: The test.
        steps: The steps.
    """
    told: set[int] = set()
    for step in steps:
        for index in sorted(preview_steps(test.pipeline, step) - told):
            needed = test.pipeline.steps[index]
            is_read = isinstance(needed.config, Extract) and needed.config.dataset() is not None
            if is_read and needed.name not in test.case.given:
                told.add(index)
                at = test.place / "given" if test.case.given else test.place / "name"
                message = f"no rows are given for the extract '{needed.name}', which '{step.name}' needs"
                yield at.problem(message, on_key=bool(test.case.given))


def _wrong_expectation(step: Step, expected: ExpectedStep) -> str | None:
    if step.type == "validate":
        if expected.schema_ is not None or expected.count is not None:
            return f"'{step.name}' is a validation: expected 'violations', or 'rows' of its quarantine"
        if expected.wants_rows and getattr(step.config, "on_failure", None) != "quarantine":
            return f"'{step.name}' puts no rows into quarantine: expected 'violations' alone"
        return None
    return f"'{step.name}' is {_KINDS[step.type]}, which no row violates" if expected.violations is not None else None
