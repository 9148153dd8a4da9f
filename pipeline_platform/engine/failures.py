"""Makes of whatever Spark throws an error that names the step and says what to do next."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.engine.failure_rules import rule_for
from pipeline_platform.engine.origins import casts_to, step_with, steps_above
from pipeline_platform.engine.spark.jvm_death import jvm_death
from pipeline_platform.exceptions import (
    PipelineCancelledException,
    PipelineException,
    PipelineExecutionException,
    StepLocation,
    ValidationException,
)
from pipeline_platform.frames.causes import Failure, failure_of
from pipeline_platform.frames.failure_text import failure_message
from pipeline_platform.logs import log_context

_HINT = "fix the step or its data and run again"
_MOST_CASTS = 3
# What Python raises for a mistake in a program; what Spark finds wrong with data comes as its own exceptions.
_OF_PROGRAMS = (AssertionError, AttributeError, ImportError, LookupError, NameError, NotImplementedError, TypeError)


@contextmanager
def error_context(step: Step, pipeline: PipelineConfig | None = None) -> Generator[None]:
    """Make of whatever is thrown in the block an error that names the step.

    Args:
        step: The step.
        pipeline: Its pipeline, where the steps before it may be what fails now.
    """
    try:
        with log_context(step=step.name):
            yield
    except PipelineException as error:
        raise error.locate(step.location, step.config.as_config()) from error.__cause__
    except Exception as error:
        raise explained(error, step, pipeline) from error


def explained(error: BaseException, step: Step, pipeline: PipelineConfig | None = None) -> PipelineException:
    """The error as one that names the step; causes are kept with `raise … from`.

    Args:
        error: What was thrown while the step was planned or run.
        step: That step.
        pipeline: Its pipeline, where the steps before it may be what failed: the error names the one whose expression
            did, as far as Spark tells.
    """
    if isinstance(error, PipelineException):
        return error.locate(step.location, step.config.as_config())
    if (death := jvm_death(error)) is not None:
        return death.error().locate(step.location, step.config.as_config())
    failure = failure_of(error)
    found = rule_for(failure)
    message = (found[0].message(found[1]) if found else None) or failure_message(failure) or type(error).__name__
    failed = step
    if pipeline is not None:
        above = steps_above(pipeline, step)
        if casts := _casts_of(failure, above):
            message += f" (it may be {' or '.join(casts)})"
        fragments = [fragment for cause in failure.causes for fragment in cause.fragments]
        failed = step_with(fragments, above) or step
    told = PipelineExecutionException(
        message,
        location=failed.location,
        config=failed.config.as_config(),
        hint=found[0].hint if found else _hint(error, failed),
        retryable=found is not None and found[0].transient,
    )
    told.is_maintenance = found is not None and found[0].is_maintenance
    return told


def _hint(error: BaseException, step: Step) -> str:
    is_sparks = type(error).__module__.partition(".")[0] == "pyspark"
    if isinstance(error, _OF_PROGRAMS) and not is_sparks:
        code = type(step.config).__module__.partition(".")[0]
        return (
            f"this is a fault in the code of '{step.config.method}' (package {code}), not in the file: report it there"
        )
    return _HINT


def says(error: BaseException, text: str) -> bool:
    """Whether a text stands in what was thrown, or in one of its causes."""
    return any(text in cause.message for cause in failure_of(error).causes)


def _casts_of(failure: Failure, steps: Sequence[Step]) -> list[str]:
    """The casts that may have failed, where Spark does not say which one did."""
    for cause in failure.causes:
        if cause.has_condition("CAST_OVERFLOW") and not cause.fragments:
            return casts_to(cause.parameters.get("targetType", ""), steps)[:_MOST_CASTS]
    return []


def is_transient(error: BaseException) -> bool:
    """Whether the same run may succeed when tried again unchanged in this process."""
    if not isinstance(error, Exception) or jvm_death(error) is not None:
        return False
    if isinstance(error, PipelineException):
        return error.retryable
    found = rule_for(failure_of(error))
    return found is not None and found[0].transient


MAINTENANCE_ATTEMPTS = 5
"""How often a load is tried again since its table was maintained meanwhile: each time it is the maintenance of another
moment, and nobody maintains a table all the time."""


def lost_to_maintenance(error: BaseException | None) -> bool:
    """Whether a load failed only because its table was maintained meanwhile.

    Args:
        error: What it failed at.
    """
    return isinstance(error, PipelineException) and error.is_maintenance


@contextmanager
def naming_dead_jvm(location: StepLocation) -> Generator[None]:
    """Say that Spark's process is dead, where that is what the block failed at, and not what tidying up failed at then.

    Args:
        location: The pipeline, for a failure at no step of it.
    """
    try:
        yield
    except (PipelineCancelledException, ValidationException):
        raise
    except Exception as error:
        death = jvm_death(error)
        if death is None:
            raise
        first = _first_told(error)
        dead = death.error()
        raise (dead.locate(first.location or location, first.config) if first else dead.locate(location)) from None


def _first_told(error: BaseException | None) -> PipelineException | None:
    """What the step was explained with, of errors that were raised while others were dealt with."""
    while error is not None:
        if isinstance(error, PipelineException) and error.location is not None:
            return error
        error = error.__context__
    return None
