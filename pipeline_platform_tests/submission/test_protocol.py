"""What a driver tells of a failure, and what is made of it on the other side."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from pipeline_platform.config.partitions import Partition
from pipeline_platform.exceptions import (
    CredentialException,
    PipelineCancelledException,
    PipelineConfigurationException,
    PipelineException,
    PipelineExecutionException,
    StepLocation,
    ValidationException,
)
from pipeline_platform.submission.protocol import TOLD, RunFailed, RunRequest, asked_of

BERLIN = ZoneInfo("Europe/Berlin")
PLACE = StepLocation("sales", Path("pipelines/sales.json"), 12, 1, "validate", "validateNulls", "no_nulls")
BROKEN = ValidationException(
    "2 of 60 rows", rule="value is not null", violations=2, rows=60, samples=[{"id": 1}], location=PLACE, hint="look"
)


def told(error: PipelineException) -> PipelineException:
    """The exception after its way through JSON."""
    message = TOLD.validate_json(RunFailed.by(error).model_dump_json())
    assert isinstance(message, RunFailed)
    return message.error()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BROKEN, ValidationException),
        (PipelineCancelledException("stopped", location=PLACE), PipelineCancelledException),
        (CredentialException("no such secret", location=PLACE, hint="write it"), PipelineExecutionException),
        (PipelineExecutionException("it is gone"), PipelineExecutionException),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_failure_says_the_same_on_the_other_side(error: PipelineException, kind: type[PipelineException]):
    found = told(error)
    assert type(found) is kind
    assert str(found) == str(error)
    assert found.location == error.location


def test_a_broken_rule_keeps_its_samples():
    found = told(BROKEN)
    assert isinstance(found, ValidationException)
    assert (found.rule, found.violations, found.rows, [*found.samples]) == ("value is not null", 2, 60, [{"id": 1}])


def test_the_text_of_a_cause_is_told_and_its_type_alone_if_nobody_can_be_asked_for_it():
    class Silent(Exception):
        def __str__(self) -> str:
            raise ConnectionError

    for cause, said in ((ValueError("a hundred lines"), "a hundred lines"), (Silent(), "Silent")):
        error = PipelineExecutionException("it failed")
        error.__cause__ = cause
        assert str(told(error).__cause__) == said
    assert told(PipelineExecutionException("it failed")).__cause__ is None


@pytest.mark.parametrize("zone", [ZoneInfo("UTC"), BERLIN], ids=str)
def test_a_partition_stands_for_the_same_where_the_driver_runs(zone: ZoneInfo):
    days = (datetime(2026, 3, 29, tzinfo=zone), datetime(2026, 3, 30, tzinfo=zone))
    partition = Partition("day", ("2026-03-29",), *days, whole_days=True)
    asked = RunRequest(file=Path("sales.json"), run_id="r", load_id="l", steps=[], selection=[], partition=partition)
    found = RunRequest.model_validate_json(asked.model_dump_json()).partition
    assert found is not None
    assert found.texts() == partition.texts()
    assert (found.start, found.end, found.keys) == (partition.start, partition.end, partition.keys)


def test_a_driver_of_another_version_says_so_whatever_else_it_is_asked():
    with pytest.raises(PipelineConfigurationException, match=r"the driver has version .*, and Dagster has 0\.1\.0"):
        asked_of({"platform": "0.1.0", "since_then": "renamed"})
