"""Whatever a file holds, reading it gives a pipeline or a configuration error, and a pipeline fits the schema."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any, cast

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.documents.document import DocumentError
from pipeline_platform.config.loader import load_pipeline, parse_pipeline, parse_pipelines
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.schema import pipeline_schema
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.config.valid_files import FILES, FOR_EACH

VALIDATOR = jsonschema.Draft202012Validator(pipeline_schema(method_registry()))
KEYS = ["name", "mode", "steps", "type", "method", "config", "configRef", "path", "input", "registerAs", "trigger", ""]
STRINGS = ["", " ", "${env:NOWHERE}", "${env:", "true", "1", "a\0b", "\ud800", "(", "'", "../x", "s3a://[x/y", "batch"]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(STRINGS)
    | st.text(max_size=12)
    | st.integers(min_value=10**400, max_value=10**401)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)
quickly = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def places(value: Any, way: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The way to every value of a document, but not to the document itself."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found: list[tuple[str | int, ...]] = []
    for part, item in items:
        found += [(*way, part), *places(item, (*way, part))]
    return found


@st.composite
def mutated_files(draw: st.DrawFn, files: Sequence[Any] = FILES) -> Any:
    """A valid file with one to four values removed, replaced, inserted or swapped."""
    file: Any = copy.deepcopy(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 4))):
        ways = places(file)
        if not ways:
            break
        *way, last = draw(st.sampled_from(ways))
        holder = file
        for part in way:
            holder = holder[part]
        match draw(st.sampled_from(["remove", "replace", "insert", "swap"])):
            case "remove":
                del holder[last]
            case "replace":
                holder[last] = draw(values)
            case "insert" if isinstance(holder, dict):
                holder[draw(st.sampled_from(KEYS) | st.text(max_size=8))] = draw(values)
            case "insert":
                holder.insert(last, draw(values))
            case _:
                other = draw(st.sampled_from(ways))
                value: Any = file
                for part in other:
                    value = cast("Any", value)[part] if isinstance(value, (dict, list)) else value
                holder[last] = copy.deepcopy(value)
    return file


def reads_or_refuses(read: Callable[[], PipelineConfig]) -> PipelineConfig | None:
    refused: PipelineConfigurationException | None = None
    pipeline: PipelineConfig | None = None
    try:
        pipeline = read()
    except PipelineConfigurationException as error:
        refused = error
    if refused is not None:
        assert refused.problems
        for problem in refused.problems:
            assert isinstance(problem, ConfigError)
            assert problem.line >= 1
            assert problem.column >= 1
            assert str(problem) in str(refused) or "***" in str(refused)
    for step in pipeline.steps if pipeline is not None else ():
        json.dumps(step.config.as_config())
        if step.type in ("extract", "load"):
            dataset = step.config.dataset()  # pyright: ignore[reportAttributeAccessIssue]
            assert dataset is None or dataset.key
    return pipeline


def written(value: Any) -> str:
    return json.dumps(value, indent=1)


@settings(quickly, max_examples=1000)
@given(mutated_files())
def test_a_valid_file_with_changes_is_read_or_refused_and_what_is_read_fits_the_schema(file: Any):
    pipeline = reads_or_refuses(lambda: parse_pipeline(written(file), method_registry()))
    if pipeline is not None:
        VALIDATOR.validate(file)


@settings(quickly, max_examples=400)
@given(mutated_files([FOR_EACH]))
def test_a_file_of_several_pipelines_with_changes_is_read_or_refused_and_what_is_read_fits_the_schema(file: Any):
    found: list[PipelineConfig] = []

    def read() -> PipelineConfig:
        found.extend(parse_pipelines(written(file), method_registry()))
        return found[0]

    if reads_or_refuses(read) is not None:
        VALIDATOR.validate(file)
        assert len({pipeline.name for pipeline in found}) == len(found)
        for pipeline in found:
            again = parse_pipeline(written(file), method_registry(), values=pipeline.values)
            assert again.name == pipeline.name


@settings(quickly, max_examples=600)
@given(values)
def test_any_json_is_read_or_refused(value: Any):
    reads_or_refuses(lambda: parse_pipeline(written(value), method_registry()))


@settings(quickly, max_examples=700)
@given(st.sampled_from(FILES), st.integers(0, 20_000), st.integers(0, 40), st.text(max_size=10))
def test_a_file_with_text_cut_out_and_put_in_is_read_or_refused(file: Any, start: int, length: int, inserted: str):
    text = written(file)
    start %= len(text)
    reads_or_refuses(lambda: parse_pipeline(text[:start] + inserted + text[start + length :], method_registry()))


@settings(quickly, max_examples=300)
@given(st.sampled_from(FILES), st.integers(0, 20_000))
def test_a_file_that_ends_early_is_refused(file: Any, end: int):
    text = written(file)
    assert reads_or_refuses(lambda: parse_pipeline(text[: end % len(text)], method_registry())) is None


@settings(quickly, max_examples=400)
@given(st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), min_size=1, max_size=5))
def test_a_file_with_other_bytes_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    file: Any,
    changes: list[tuple[int, int]],
):
    content = bytearray(written(file).encode())
    for place, byte in changes:
        content[place % len(content)] = byte
    path = tmp_path_factory.getbasetemp() / "changed.json"
    path.write_bytes(content)
    reads_or_refuses(lambda: load_pipeline(path, method_registry()))


@settings(quickly, max_examples=300)
@given(st.text(max_size=200) | st.text(alphabet='{}[]",:truefalsn0123456789eE+-. \\u\n', max_size=200))
def test_any_text_is_read_or_refused(text: str):
    reads_or_refuses(lambda: parse_pipeline(text, method_registry()))


def test_a_document_error_is_never_what_a_reader_sees():
    with pytest.raises(PipelineConfigurationException) as refused:
        parse_pipeline("{", method_registry())
    assert isinstance(refused.value.__cause__, DocumentError)
