"""What only shows when steps are held together: frames, names, mode and schedule."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline_platform.config.step import Input
from pipeline_platform_tests.config.reading import (
    Json,
    extract,
    load,
    messages_of,
    pipeline,
    problems_of,
    read,
    transform,
    validate,
)

RATE: dict[str, Any] = {"rowsPerSecond": 1}


def rate(**config: Any) -> Json:
    return extract("fromRate", **RATE, **config)


def keep(**config: Any) -> Json:
    return transform("filterRows", condition="value > 1", **config)


def test_a_step_works_on_the_primary_frame_or_on_the_one_it_names():
    read_pipeline = read(
        pipeline(rate(registerAs="a"), rate(), keep(), keep(input="a"), load(), load(path="b", input="a")),
    )
    assert [step.inputs for step in read_pipeline.steps] == [
        (),
        (),
        (Input(1, None),),
        (Input(0, "a"),),
        (Input(3, None),),
        (Input(0, "a"),),
    ]


def test_a_validate_or_a_load_leaves_the_primary_frame_as_it_is():
    read_pipeline = read(pipeline(rate(), validate("validateRowCount", min=1), load(), load(path="b")))
    assert [step.inputs for step in read_pipeline.steps[1:]] == [(Input(0, None),)] * 3


def test_the_steps_above_are_those_whose_frames_are_needed():
    read_pipeline = read(pipeline(rate(registerAs="a"), rate(), keep(), load(), load(path="b", input="a")))
    assert read_pipeline.upstream_of({3}) == {1, 2, 3}
    assert read_pipeline.upstream_of({4}) == {0, 4}


def test_steps_are_named_uniquely():
    steps = pipeline(rate(registerAs="a-b"), rate(registerAs="a_b"), rate(), rate(), keep(registerAs="from_rate"))
    assert [step.name for step in read(steps).steps] == ["a_b", "a_b_2", "from_rate_2", "from_rate_3", "from_rate"]


def test_the_first_step_has_to_be_an_extract():
    (problem,) = problems_of(pipeline(keep(), load()))
    assert problem.message == "the first step has to be an extract"
    assert problem.source_line == '      "type": "transform",'


def test_a_mistake_in_the_first_step_makes_the_second_no_first():
    assert messages_of(pipeline(extract("fromRate", rowsPerSecond=0), keep(), load())) == ["must be greater than 0"]


def test_a_frame_that_is_registered_later_is_said_to_be_later():
    assert messages_of(pipeline(rate(), keep(input="late"), rate(registerAs="late"))) == [
        "there is no registered frame 'late' before this step (step 3 registers it, later)",
    ]


def test_a_step_cannot_read_what_it_registers_itself():
    assert messages_of(pipeline(rate(), keep(input="a", registerAs="a"))) == [
        "there is no registered frame 'a' before this step (this step registers it itself)",
    ]


def test_each_unknown_frame_of_a_join_is_reported_at_its_own_place():
    join = transform("joinDataFrames", inputDataFrames=["flights", "plains", "airprots"], joinColumn="id")
    steps = pipeline(rate(registerAs="flights"), rate(registerAs="planes"), rate(registerAs="airports"), join)
    plains, airprots = problems_of(steps)
    assert (plains.source_line, airprots.source_line) == ('          "plains",', '          "airprots"')
    assert (plains.hint, airprots.hint) == ("did you mean 'planes'?", "did you mean 'airports'?")


def test_a_name_that_is_registered_twice_is_reported_with_the_first():
    (problem,) = problems_of(pipeline(rate(registerAs="a"), rate(registerAs="a")))
    assert problem.message == "the name 'a' is registered twice"
    assert problem.hint == "first on line 10"


def test_what_a_step_with_a_mistake_registers_can_still_be_read():
    wrong = extract("fromRate", rowsPerSecond=0, registerAs="a")
    assert messages_of(pipeline(wrong, keep(input="a"))) == ["must be greater than 0"]
    unknown = {"type": "extract", "method": "fromNothing", "config": {"registerAs": "a"}}
    assert len(messages_of(pipeline(unknown, keep(input="a")))) == 1


def test_a_step_with_a_mistake_is_still_told_of_frames_it_does_not_find():
    assert len(messages_of(pipeline(rate(), transform("filterRows", condition="a >", input="nobody")))) == 2


def test_frames_are_not_missed_when_some_names_are_unknown():
    lost = {"type": "extract", "method": "fromRate", "configRef": "nothing.json"}
    assert len(messages_of(pipeline(lost, keep(input="a")))) == 1


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("99 * * * *", "not a cron string: [99 * * * *] is not acceptable, out of range"),
        ("every day", "not a cron string: Exactly 5, 6 or 7 columns has to be specified for iterator expression."),
        ("@reboot", "not a cron string: Exactly 5, 6 or 7 columns has to be specified for iterator expression."),
        ("* * * * * *", "expected a cron string of five fields, such as '0 6 * * *', not 6"),
        ("0 0 30 2 *", "no month of this cron string has such a day"),
        ("0 0 31 4,6 *", "no month of this cron string has such a day"),
        ("*/0 * * * *", "not a cron string: [*/0 * * * *] step '0' in field 0 is not acceptable"),
        ("", "must not be empty"),
    ],
)
def test_a_schedule_that_never_comes_is_refused(cron: str, message: str):
    assert messages_of(pipeline(rate(), schedule=cron)) == [message]


@pytest.mark.parametrize("cron", ["0 6 * * *", "@daily", "*/5 1-3 L * MON-FRI", "0 0 * * 5#3", "0 0 31 1 *"])
def test_a_schedule_is_what_dagster_takes_for_one(cron: str):
    from dagster._utils.schedules import is_valid_cron_string

    assert is_valid_cron_string(cron)
    assert read(pipeline(rate(), schedule=cron)).schedule == cron


def test_a_streaming_pipeline_with_a_schedule_has_to_end():
    streaming: dict[str, Any] = {"mode": "streaming", "schedule": "@hourly"}
    ends, goes_on = load(path="a", trigger="availableNow"), load(path="b", trigger="5 seconds")
    message = "a streaming pipeline with a schedule needs 'trigger': 'availableNow' in every load"
    found = problems_of(pipeline(rate(), ends, goes_on, load(path="c"), **streaming))
    assert [problem.message for problem in found] == [message, message]
    assert found[0].source_line == '        "trigger": "5 seconds"'
    assert read(pipeline(rate(), ends, **streaming)).schedule == "@hourly"
    assert read(pipeline(rate(), goes_on, schedule="@hourly")).schedule == "@hourly"


def test_what_does_not_go_in_a_mode_is_said_with_the_other_mistakes():
    files = extract(path="in", format="csv")
    assert messages_of(pipeline(files, keep(input="a"), mode="streaming")) == [
        "a stream of csv files needs a 'schema'",
        "there is no registered frame 'a' before this step (no frame is registered so far)",
    ]
    assert read(pipeline(extract(path="in", format="csv", schema="id INT"), load(), mode="streaming"))
    assert read(pipeline(extract(path="in", format="orc"), load(), mode="streaming"))


def test_a_pipeline_can_be_summed_up_for_people():
    assert read(pipeline(rate(registerAs="a"))).summary() == {
        "name": "flights",
        "mode": "batch",
        "steps": [{"step": "a", "type": "extract", "method": "fromRate"}],
    }


KAFKA = extract("fromKafka", topic="a", registerAs="a")
OTHER = extract("fromKafka", topic="b", registerAs="b")
TABLE = extract("fromPostgres", table="t", registerAs="t")
WATERMARK = {"column": "timestamp", "delay": "1 minute"}
BY_KEY = {"groupBy": "key", "aggregations": {"n": "count(*)"}, "watermark": WATERMARK}
COUNTED = transform("aggregateData", **{**BY_KEY, "groupBy": ["key", "Timestamp"]})
MINUTES = {"column": "timestamp", "duration": "1 minute"}
DISTINCT = transform("deduplicate", columns="key", watermark=WATERMARK)
RULE = validate("validateNulls", notNullColumns="key")
ASIDE = {"valueFormat": "json", "valueSchema": "id INT", "onMalformed": "quarantine"}
CONTINUOUS = load("toKafka", topic="b", trigger="continuous=1 second")


@pytest.mark.parametrize(
    ("steps", "head"),
    [
        ([KAFKA, load()], 0),
        ([KAFKA, COUNTED, load()], 1),
        ([KAFKA, keep(), COUNTED, RULE, load(), load(path="b")], 2),
        ([KAFKA, RULE, keep(), load()], 0),
        ([KAFKA, load(), keep(), load(path="b")], 0),
        ([extract("fromKafka", topic="a", **ASIDE), keep(), load()], 0),
        ([TABLE, KAFKA, transform("joinDataFrames", inputDataFrames=["a", "t"], joinColumn="key"), load()], 2),
        ([KAFKA, load(), TABLE, transform("joinDataFrames", inputDataFrames=["a", "t"], joinColumn="key"), load()], 0),
        ([KAFKA, OTHER, transform("unionDataFrames", inputDataFrames=["a", "b"]), load()], 2),
        ([KAFKA, transform("aggregateData", **BY_KEY, window=MINUTES), load()], 1),
        ([KAFKA, transform("aggregateData", **BY_KEY), load(path="a", outputMode="update")], 1),
        ([KAFKA, transform("aggregateData", **{**BY_KEY, "groupBy": "${env:HOME}"}), load()], 1),
        # The time of an earlier watermark may be a group under another name.
        ([KAFKA, DISTINCT, transform("aggregateData", **BY_KEY), load()], 2),
    ],
)
def test_a_stream_reaches_to_the_last_frame_that_everything_loaded_comes_from(steps: list[Json], head: int):
    assert read(pipeline(*steps, mode="streaming")).shape.head == head


def test_what_a_later_load_says_of_the_query_is_warned_about():
    same = {"trigger": "1 minute"}
    later = load(path="b", checkpointLocation="elsewhere", **same)
    found = read(pipeline(KAFKA, load(path="a", **same), later, mode="streaming"))
    [warning] = found.warnings
    assert "'checkpointLocation' of the first load counts" in warning.message
    assert '"elsewhere"' in (warning.source_line or "")


@pytest.mark.parametrize("mode", ["errorIfExists", "ignore"])
def test_a_stream_can_t_load_only_where_nothing_is(mode: str):
    [problem] = problems_of(pipeline(KAFKA, load(path="a", mode=mode), mode="streaming"))
    assert "the second micro-batch of a stream always finds the data of the first" in problem.message


def test_a_sink_that_takes_micro_batches_has_no_continuous_trigger():
    [problem] = problems_of(pipeline(KAFKA, load(path="a", trigger="continuous=1 second"), mode="streaming"))
    assert problem.message == "toDeltaLake takes micro-batches, not single rows; use an interval, such as '1 second'"
    assert '"continuous=1 second"' in (problem.source_line or "")


@pytest.mark.parametrize(
    ("steps", "step", "message"),
    [
        ([TABLE, load()], 0, "nothing in this streaming pipeline is a stream"),
        ([extract("fromDeltaLake", path="t", version=1), load()], 0, "nothing in this streaming pipeline is a stream"),
        ([KAFKA, keep()], 1, "a streaming pipeline needs a load"),
        ([KAFKA, TABLE, load()], 2, "toDeltaLake works on a frame that is not a stream"),
        ([KAFKA, load(), OTHER, load(path="b")], 3, "a streaming pipeline is one query"),
        ([KAFKA, load(), COUNTED, load(path="b")], 2, "it would see only the rows of one micro-batch"),
        ([KAFKA, RULE, COUNTED, load()], 2, "it would see only the rows of one micro-batch"),
        ([extract("fromKafka", topic="a", **ASIDE), COUNTED, load()], 1, "only the rows of one micro-batch"),
        ([KAFKA, COUNTED, load(), keep(input="a"), load(path="b")], 1, "only the rows of one micro-batch"),
        ([KAFKA, load(), transform("sqlQuery", query="SELECT DISTINCT key FROM a"), load(path="b")], 2, "micro-batch"),
        ([KAFKA, transform("aggregateData", groupBy="key", aggregations={"n": "count(*)"}), load()], 1, "'watermark'"),
        ([KAFKA, transform("deduplicate", columns="key"), load()], 1, "'watermark'"),
        ([KAFKA, transform("aggregateData", **BY_KEY), load()], 1, "none would ever be emitted"),
        (
            [KAFKA, transform("aggregateData", **BY_KEY, window={**MINUTES, "column": "other"}), load()],
            1,
            "once the watermark on 'timestamp' has passed it",
        ),
        ([KAFKA, transform("toAvroSchema"), load()], 1, "not a stream"),
        ([KAFKA, RULE, CONTINUOUS], 2, "a continuous stream has one load and nothing else"),
        ([extract("fromKafka", topic="a", **ASIDE), CONTINUOUS], 1, "a continuous stream has one load"),
    ],
)
def test_what_can_t_be_one_query_is_told_at_its_step(steps: list[Json], step: int, message: str):
    [problem] = problems_of(pipeline(*steps, mode="streaming"))
    assert message in problem.message
    before = json.dumps(pipeline(*steps, mode="streaming"), indent=2).split("\n")[: problem.line]
    assert before.count("    {") == step + 1


def named(name: object, *steps: Json) -> Json:
    return pipeline(*(steps or (extract(),)), {**load(), "name": name})


def test_a_step_is_called_by_its_name_and_by_what_it_registers_otherwise():
    steps = [
        extract(path="in", format="csv", registerAs="flights"),
        {**transform("filterRows", condition="true", registerAs="late"), "name": "late_flights"},
        {**load(), "name": "daily"},
        load(path="other"),
    ]
    found = read(pipeline(*steps)).steps
    assert [step.name for step in found] == ["flights", "late_flights", "daily", "to_delta_lake"]


def test_a_name_is_not_taken_by_a_step_that_has_none():
    found = read(pipeline(extract(), load(path="a"), {**load(path="b"), "name": "to_delta_lake"})).steps
    assert [step.name for step in found] == ["from_files", "to_delta_lake_2", "to_delta_lake"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (named("daily table"), "a step's name has letters, digits and underscores"),
        (named("1st"), "a step's name has letters, digits and underscores"),
        (named(7), "begins with none of the digits; not a number"),
        (named("x", {**extract(), "name": "x"}), "the name 'x' is given twice (first to step 1)"),
        (
            named("flights", extract(path="in", format="csv", registerAs="flights")),
            "step 1 registers a frame as 'flights', and is called so (give another name)",
        ),
    ],
)
def test_a_name_that_can_not_be_had_is_told(value: Json, message: str):
    assert message in " ".join(messages_of(value))


def test_a_schedule_may_have_its_time_zone_beside_it():
    found = read(pipeline(rate(), schedule={"cron": "0 6 * * *", "timezone": "Europe/Berlin"}))
    assert (found.cron, found.cron_timezone) == ("0 6 * * *", "Europe/Berlin")
    found = read(pipeline(rate(), schedule="@daily", scheduleTimezone="Asia/Tokyo"))
    assert (found.cron, found.cron_timezone) == ("@daily", "Asia/Tokyo")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"schedule": {"cron": "0 6 * *"}}, "not a cron string"),
        ({"schedule": {"cron": "0 6 * * *", "timezone": "Berlin"}}, "there is no time zone 'Berlin'"),
        ({"schedule": {"corn": "0 6 * * *"}}, "unknown key 'corn' (did you mean 'cron'?)"),
        (
            {"schedule": {"cron": "@daily"}, "scheduleTimezone": "UTC"},
            "the schedule has a 'timezone' of its own",
        ),
    ],
)
def test_a_schedule_that_is_none_is_told(keys: Json, message: str):
    assert message in " ".join(messages_of(pipeline(rate(), **keys)))
