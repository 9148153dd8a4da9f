"""Values of sensitive columns in what Spark or another system says of a failure."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.engine.hidden_columns import hidden_by_step, marked_columns
from pipeline_platform.engine.planned import PlannedFrame
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.causes import Cause, Failure, failure_of
from pipeline_platform.redaction import looks_secret, redact, remember_value

_WORD = re.compile(r"\w+")
# SQL states of what is wrong with data, not with a program or a system.
_OF_DATA = ("22", "23", "P0")
# Exceptions without a state, whose text repeats what they could not read.
_READERS = (
    "ValueError",
    "java.lang.IllegalArgumentException",
    "java.lang.NumberFormatException",
    "java.time.DateTimeException",
)
# What Spark calls the value in its message; of a cast it is the expression, though it is none.
_PARAMETERS = ("value", "badRecord", "badValue", "str", "inputString", "input", "url", "errorMessage")
_CASTS = ("CAST_INVALID_INPUT", "CAST_OVERFLOW")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.|'')*)'", re.DOTALL)
# PostgreSQL's: Key (mail)=(ann@example.com) already exists; invalid input syntax for type integer: "x".
_BY_DATABASES = re.compile(r"=\((.*?)\)|: \"(.*?)\"", re.DOTALL)


@contextmanager
def values_hidden(pipeline: PipelineConfig, frames: Mapping[int, PlannedFrame]) -> Generator[None]:
    """Have an error that is raised in the block tell no value of a sensitive column.

    Where it tells the expression that failed, this is so if the expression reads such a column; otherwise if a step
    before the one that failed has any.

    Args:
        pipeline: The pipeline.
        frames: What its extracts and transforms make, as planned.

    Raises:
        PipelineExecutionException: The error, with `***` in place of the values.
    """
    try:
        yield
    except PipelineExecutionException as error:
        if error.__cause__ is not None:
            failure = failure_of(error.__cause__)
            if _is_about_sensitive(failure, pipeline, _names(error, pipeline, frames)):
                values = sorted(set(_values(failure)), key=len, reverse=True)
                for value in values:
                    remember_value("", value)
                error.hide(values)
        raise


def _names(
    error: PipelineExecutionException, pipeline: PipelineConfig, frames: Mapping[int, PlannedFrame]
) -> frozenset[str] | None:
    """The sensitive columns of the steps that one that failed is made of; None where nobody can tell."""
    place = error.location
    step = next((one for one in pipeline.steps if place is not None and one.name == place.step), None)
    above = pipeline.upstream_of({step.index}) if step is not None else set(frames)
    # Spark is asked for the types of the columns, and may be gone.
    with suppress(Exception):
        hidden = hidden_by_step(pipeline, frames)
        return frozenset(name.lower() for index in above & hidden.keys() for name in hidden[index])
    return None


def _is_about_sensitive(failure: Failure, pipeline: PipelineConfig, names: frozenset[str] | None) -> bool:
    fragments = [fragment for cause in failure.causes for fragment in cause.fragments]
    if not fragments:
        return names is None or bool(names)
    known = (names or frozenset()) | {part for one in marked_columns(pipeline) for part in one.split(".")}
    words = {word.lower() for fragment in fragments for word in _WORD.findall(fragment)}
    text = " ".join(fragments).lower()
    return any(map(looks_secret, words)) or any(
        name in words or (not name.isidentifier() and name in text) for name in known
    )


def _values(failure: Failure) -> Iterator[str]:
    for cause in failure.causes:
        for value in _values_of(cause):
            # The message is one line, in which known secrets are hidden already.
            line = " ".join(value.split())
            yield from (one for one in (value, line, redact(line)) if one)


def _values_of(cause: Cause) -> Iterator[str]:
    if not (cause.has_state(*_OF_DATA) or (cause.sql_state is None and cause.is_a(*_READERS))):
        return
    if cause.has_condition("USER_RAISED_EXCEPTION") and not cause.fragments:
        # It is the platform that raises it, by no SQL of the pipeline's.
        return
    yield from _QUOTED.findall(cause.message)
    if cause.condition is None:
        yield from (one or other for one, other in _BY_DATABASES.findall(cause.message))
        return
    names = (*_PARAMETERS, "expression") if cause.has_condition(*_CASTS) else _PARAMETERS
    yield from (cause.parameters[name].strip("'\"") for name in names if name in cause.parameters)
