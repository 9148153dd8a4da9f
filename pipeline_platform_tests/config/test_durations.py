"""Durations in a file, as of the limits of a quarantine."""

from __future__ import annotations

from datetime import timedelta

import pytest

from devtools.pipelines import extract, load, pipeline_of
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import PipelineConfigurationException

STEPS = [extract("fromRate", rowsPerSecond=1), load("toDeltaLake", path="out")]


def limited(**limits: str) -> PipelineConfig:
    return pipeline_of(STEPS, quarantine=limits)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90 days", timedelta(days=90)),
        ("1 day", timedelta(days=1)),
        ("2 weeks", timedelta(weeks=2)),
        ("36 hours", timedelta(hours=36)),
        ("5 minutes", timedelta(minutes=5)),
    ],
)
def test_the_limits_of_a_quarantine_are_durations_as_people_write_them(text: str, meant: timedelta):
    found = limited(maxAge=text, keep=text).quarantine
    assert (found.oldest, found.kept, pipeline_of(STEPS).quarantine.kept) == (meant, meant, None)


@pytest.mark.parametrize("text", ["7", "7d", "0 days", "-1 days", "1.5 days", "soon", "90 months", "٣ days"])
def test_what_is_no_duration_is_told_with_its_line(text: str):
    with pytest.raises(PipelineConfigurationException) as refused:
        limited(keep=text)
    [problem] = refused.value.problems
    assert problem.message.startswith("expected a duration, such as '7 days'")
    assert problem.line == 5
