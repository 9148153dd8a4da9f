"""What a method says of itself, and what holds for one of another package that says nothing."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from pipeline_platform.config.loader import parse_pipeline
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import STEP_TYPES, StepConfig
from pipeline_platform.config.traits import Traits
from pipeline_platform.engine.counting import count_source, counting_note, reporting_loads
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.registry import method_registry
from pipeline_platform.steps.extract import Extract
from pipeline_platform.steps.load import Load
from pipeline_platform.steps.transform import Transform
from pipeline_platform.steps.validate import Validate
from pipeline_platform_tests.config.reading import Json, extract, load, pipeline, transform, validate


class SilentExtract(Extract):
    """An extract that says nothing of itself."""

    method: ClassVar[str] = "silent"


class SilentTransform(Transform):
    """A transform that says nothing of itself."""

    method: ClassVar[str] = "silent"


class ReadsAll(Transform):
    """A transform that says that it leaves no row unread, and nothing else."""

    method: ClassVar[str] = "readsAll"

    def traits(self) -> Traits:
        return Traits(has_limit=False)


class SilentValidate(Validate):
    """A validation that says nothing of itself."""

    method: ClassVar[str] = "silent"


class SilentLoad(Load):
    """A load that says nothing of itself."""

    method: ClassVar[str] = "silent"


SILENT: dict[str, type[StepConfig]] = {
    "extract": SilentExtract,
    "transform": SilentTransform,
    "validate": SilentValidate,
    "load": SilentLoad,
}
KAFKA = extract("fromKafka", topic="a", registerAs="a")
TABLE = extract("fromPostgres", table="t", registerAs="t")
PARQUET = extract(path="flights", format="parquet", registerAs="flights")
KEEP = transform("filterRows", condition="a > 1")


def read(*steps: Json, mode: str = "batch") -> PipelineConfig:
    known = method_registry()
    methods: Any = {kind: {**known[kind], "silent": SILENT[kind]} for kind in STEP_TYPES}
    methods["transform"]["readsAll"] = ReadsAll
    return parse_pipeline(json.dumps(pipeline(*steps, mode=mode)), methods)


def refusal(*steps: Json, mode: str = "streaming") -> str:
    with pytest.raises(PipelineConfigurationException) as refused:
        read(*steps, mode=mode)
    [problem] = refused.value.problems
    return problem.message


@pytest.mark.parametrize("kind", STEP_TYPES)
def test_every_method_of_the_platform_says_what_it_is(kind: Any):
    silent = [name for name, method in method_registry()[kind].items() if method.traits is StepConfig.traits]
    assert silent == []


def test_a_transform_that_says_nothing_is_taken_to_look_at_other_rows():
    assert "only the rows of one micro-batch" in refusal(KAFKA, load(), transform("silent"), load(path="b"))
    assert read(KAFKA, transform("silent"), load(), mode="streaming").steps[1].traits.is_stateful


def test_a_transform_that_says_nothing_is_taken_for_a_join():
    assert read(PARQUET, transform("silent")).steps[1].traits.is_join


def test_rows_before_a_transform_that_says_nothing_are_not_counted_as_it_may_leave_some_unread():
    steps = read(PARQUET, transform("silent"), load())
    note = "not counted: step 2 (silent) may leave rows unread"
    assert [counting_note(steps, step) for step in steps.steps] == [note, None, None]


def test_rows_after_a_transform_that_says_nothing_are_counted_by_themselves():
    steps = read(PARQUET, transform("silent"), load())
    extracted, silent, loaded = steps.steps
    assert count_source(steps, silent) is silent
    assert reporting_loads(steps, silent, {0, 1, 2}) == [loaded]
    assert reporting_loads(steps, extracted, {0, 1, 2}) == []


def test_a_transform_that_says_nothing_is_no_filter_that_a_source_could_carry_out():
    steps = read(PARQUET, transform("enrichData", columns={"b": "a"}), KEEP, load())
    note = "not counted: step 3 (filterRows) filters while reading"
    assert counting_note(steps, steps.steps[0]) == note
    steps = read(PARQUET, transform("enrichData", columns={"b": "a"}), transform("readsAll"), load())
    assert counting_note(steps, steps.steps[0]) is None


def test_an_extract_that_says_nothing_may_give_other_rows_the_next_time_and_reads_all_of_them():
    steps = read(extract("silent", cache=False), KEEP, load())
    assert not steps.steps[0].traits.is_repeatable
    assert counting_note(steps, steps.steps[0]) is None


def test_an_extract_that_says_nothing_is_no_stream_and_loses_nothing_and_has_its_micro_batches_checked():
    assert refusal(extract("silent", cache=False), load()) == "nothing in this streaming pipeline is a stream"
    traits = SilentExtract().traits()
    assert (traits.may_lose_data, traits.checks_micro_batches) == (False, True)


def test_a_validation_that_says_nothing_is_about_the_frame_as_a_whole():
    assert "no rows to quarantine" in refusal(PARQUET, validate("silent", onFailure="quarantine"), load(), mode="batch")
    assert not read(PARQUET, validate("silent", tolerance=5), load()).steps[1].traits.looks_at_rows


def test_the_rows_of_a_load_that_says_nothing_are_counted_on_the_way():
    steps = read(PARQUET, load("silent", trigger="5 seconds"))
    assert reporting_loads(steps, steps.steps[0], {0, 1}) == []


def test_a_load_that_says_nothing_takes_micro_batches_alone():
    message = refusal(KAFKA, load("silent", trigger="continuous=1 second"))
    assert message.startswith("silent takes micro-batches, not single rows")


def test_what_a_step_is_may_depend_on_its_config():
    union = {"inputDataFrames": ["a", "b"]}
    both = [extract("fromKafka", topic=name, registerAs=name) for name in "ab"]
    for distinct in (False, True):
        steps = read(*both, transform("unionDataFrames", **union, distinct=distinct), load(), mode="streaming").steps
        assert steps[2].traits.is_stateful is distinct
