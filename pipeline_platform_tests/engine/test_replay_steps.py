"""Which steps rows in quarantine take once more, and what is said where they can't."""

from __future__ import annotations

import pytest

from devtools.pipelines import StepValue, extract, load, pipeline_of, transform, validate
from pipeline_platform.engine.replay_steps import ReplaySteps, quarantine_step, replay_steps
from pipeline_platform.exceptions import PipelineConfigurationException

ORDERS = extract("fromFiles", path="orders.csv", format="csv", registerAs="orders")
PLACES = extract("fromFiles", path="places.csv", format="csv", registerAs="places")
POSITIVE = validate("validateRanges", input="orders", ranges={"amount": {"min": 0}}, onFailure="quarantine")
APPEND = load("toDeltaLake", path="out", mode="append")


def joined(*frames: str, kind: str) -> StepValue:
    return transform("joinDataFrames", inputDataFrames=list(frames), joinColumn=["place"], joinType=kind)


def way(*steps: StepValue) -> ReplaySteps:
    pipeline = pipeline_of(steps)
    return replay_steps(pipeline, quarantine_step(pipeline, "validate_ranges"))


def refusal(*steps: StepValue) -> str:
    with pytest.raises(PipelineConfigurationException) as refused:
        way(*steps)
    assert refused.value.hint
    return str(refused.value)


def test_the_loads_before_the_rule_and_what_other_frames_feed_are_no_part_of_a_replay():
    before = load("toFiles", path="all", format="json", input="orders", mode="append")
    aside = load("toFiles", path="places", format="json", input="places", mode="append")
    other = validate("validateNulls", input="orders", notNullColumns=["id"], onFailure="quarantine")
    steps = [ORDERS, PLACES, before, other, POSITIVE, joined("orders", "places", kind="left"), APPEND, aside]
    found = way(*steps)
    assert (found.head.name, [load.name for load in found.loads]) == ("orders", ["to_delta_lake"])
    assert found.steps == {0, 1, 3, 4, 5, 6}


@pytest.mark.parametrize(
    ("frames", "kind", "is_refused"),
    [
        (("orders", "places"), "inner", False),
        (("places", "orders"), "inner", False),
        (("orders", "places"), "left", False),
        (("places", "orders"), "left", True),
        (("places", "orders"), "right", False),
        (("orders", "places"), "right", True),
        (("orders", "places"), "full", True),
        (("orders", "places"), "anti", False),
        (("places", "orders"), "anti", True),
        (("places", "orders"), "semi", True),
    ],
)
def test_a_join_that_would_pass_on_rows_of_the_other_frame_again_is_refused(
    frames: tuple[str, str], kind: str, is_refused: bool
):
    steps = [ORDERS, PLACES, POSITIVE, joined(*frames, kind=kind), APPEND]
    if is_refused:
        assert "'joinDataFrames' also passes on rows of its other inputs" in refusal(*steps)
    else:
        assert way(*steps).steps == {0, 1, 2, 3, 4}


TOTAL = transform("aggregateData", input="orders", groupBy=["place"], aggregations={"amount": "sum"})
UNION = transform("unionDataFrames", inputDataFrames=["orders", "places"])
NUMBER = validate("validateRowCount", input="orders", min=1)
KEPT_PLACES = validate("validateNulls", input="places", notNullColumns=["place"], onFailure="quarantine")
JOIN = joined("orders", "places", kind="left")
ASIDE = {**POSITIVE, "config": {**POSITIVE["config"], "quarantinePath": "aside"}}
BIG = transform("filterRows", input="orders", condition="amount > 9", registerAs="big")


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([POSITIVE, TOTAL, APPEND], "depends on the other rows of 'orders'"),
        ([POSITIVE, UNION, APPEND], "also passes on rows of its other inputs"),
        ([NUMBER, POSITIVE, BIG, APPEND], "'validateRowCount' is about all rows together"),
        ([POSITIVE, NUMBER, APPEND], "'validateRowCount' is about all rows together"),
        ([KEPT_PLACES, POSITIVE, JOIN, APPEND], "with 'places', whose own bad rows would be put into quarantine again"),
        ([BIG, POSITIVE, joined("orders", "big", kind="left"), APPEND], "with others of them, by way of 'big'"),
        ([POSITIVE, load("toDeltaLake", input="orders", path="out", mode="overwrite")], "the load replaces all rows"),
        (
            [POSITIVE, load("toDeltaLake", input="orders", path="out", mode="ignore")],
            "with mode ignore the load adds no rows",
        ),
        (
            [ASIDE, load("toKafka", input="orders", topic="t", **{"bootstrap.servers": "b:1"})],
            "'toKafka' can't tell what it has loaded",
        ),
        ([POSITIVE, APPEND], "no load comes after"),
    ],
)
def test_what_would_not_make_of_some_rows_what_it_makes_of_all_is_refused(steps: list[StepValue], why: str):
    assert why in refusal(ORDERS, PLACES, *steps)


def test_what_could_not_be_read_has_no_way_back_and_neither_has_a_partition():
    steps = [{**ORDERS, "config": {**ORDERS["config"], "onMalformed": "quarantine", "schema": "id INT"}}, APPEND]
    pipeline = pipeline_of(steps)
    with pytest.raises(PipelineConfigurationException, match="could not be read, as it came"):
        replay_steps(pipeline, quarantine_step(pipeline, "orders"))
    by_day = {"type": "daily", "start": "2024-01-01", "column": "day"}
    overwrite = load("toDeltaLake", path="out", mode="overwrite")
    pipeline = pipeline_of([ORDERS, POSITIVE, overwrite], partitions=by_day)
    with pytest.raises(PipelineConfigurationException, match="run the partitions again that '_partition' names"):
        replay_steps(pipeline, pipeline.step("validate_ranges"))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nope", "there is no step called 'nope'; those with a quarantine are validate_ranges"),
        ("to_delta_lake", "the step 'to_delta_lake' puts no rows into quarantine; those with a quarantine are"),
    ],
)
def test_a_step_without_a_quarantine_is_told_which_have_one(name: str, told: str):
    with pytest.raises(PipelineConfigurationException, match=told):
        quarantine_step(pipeline_of([ORDERS, POSITIVE, APPEND]), name)
    with pytest.raises(PipelineConfigurationException, match="no step of the pipeline has a quarantine"):
        quarantine_step(pipeline_of([ORDERS, APPEND]), name)


def test_the_fingerprint_is_of_the_rules_and_what_comes_between_them_and_not_of_loads():
    def of(*steps: StepValue) -> str:
        pipeline = pipeline_of(steps)
        return replay_steps(pipeline, pipeline.step("validate_ranges")).fingerprint(pipeline)

    widened = {**POSITIVE, "config": {**POSITIVE["config"], "ranges": {"amount": {"min": -5}}}}
    other = load("toDeltaLake", path="other", mode="append")
    assert of(ORDERS, POSITIVE, BIG, APPEND) == of(ORDERS, POSITIVE, other)
    assert of(ORDERS, POSITIVE, APPEND) != of(ORDERS, widened, APPEND)
