"""The partitions of a pipeline, as its file has them, and what stands for them in a run."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pipeline_platform.config.partitions import Partition, Partitions
from pipeline_platform.config.placeholders import strings_in
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.resources.partitions import partition_of
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

DAILY = {"type": "daily", "start": "2024-01-01", "column": "day"}
OVERWRITE = {"path": "out", "mode": "overwrite"}


def by_day(*steps: Json, **partitions: Any) -> Json:
    """A pipeline with daily partitions."""
    return pipeline(*(steps or (extract(), load(**OVERWRITE))), partitions={**DAILY, **partitions})


def only_message(value: Any) -> str:
    (message,) = messages_of(value)
    return message


@pytest.mark.parametrize(
    ("partitions", "message"),
    [
        ({"type": "daily", "column": "day"}, "partitions of type daily need 'start'"),
        ({"type": "static", "column": "day"}, "partitions of type static need 'keys'"),
        ({"type": "dynamic", "column": "day"}, "partitions of type dynamic need 'name'"),
        ({**DAILY, "keys": ["a"]}, "partitions of type daily have no 'keys'"),
        ({"type": "static", "keys": ["a"], "column": "k", "timezone": "UTC"}, "of type static have no 'timezone'"),
        ({"type": "static", "keys": ["a"], "column": "k", "lookback": 1}, "of type static have no 'lookback'"),
        ({**DAILY, "lookback": -1}, "must be 0 or more"),
        ({**DAILY, "lookback": 10_001}, "must be 10000 or less"),
        ({**DAILY, "start": "yesterday"}, "expected a date, such as '2024-01-01', not 'yesterday'"),
        ({**DAILY, "start": "2024-01-01T06:00"}, "partitions of type daily begin at a whole day"),
        ({**DAILY, "type": "hourly", "start": "2024-01-01T06:30"}, "partitions of type hourly begin at a whole hour"),
        ({**DAILY, "type": "monthly", "start": "2024-01-02"}, "a month begins on its first day"),
        ({**DAILY, "end": "2024-01-01"}, "'end' has to be after 'start'"),
        ({**DAILY, "type": "weekly", "end": "2024-01-10"}, "'end' is within a week"),
        ({"type": "static", "keys": ["${env:X}"], "column": "k"}, "a key must not hold commas, '...', '${'"),
        ({**DAILY, "timezone": "Berlin"}, "there is no time zone 'Berlin'"),
        ({"type": "static", "keys": ["a", "a"], "column": "k"}, "the key 'a' is there twice"),
        ({"type": "static", "keys": ["a,b"], "column": "k"}, "a key must not hold commas"),
        ({"type": "static", "keys": ["a\tb"], "column": "k"}, "control characters or space around it: 'a\\tb'"),
        ({"type": "static", "keys": ["a", "__HIVE_DEFAULT_PARTITION__"], "column": "k"}, "stands for NULL in names"),
        ({"type": "static", "keys": [" "], "column": "k"}, "must not be empty or blank"),
        ({"type": "static", "keys": [""], "column": "k"}, "must not be empty"),
        ({**DAILY, "start": "0001-01-01"}, "expected a year from 1000 on"),
        ({**DAILY, "column": " "}, "must not be blank"),
        ({**DAILY, "column": ""}, "must not be empty"),
        ({**DAILY, "column": "${env:X}"}, "no placeholder is replaced here: '${env:X}'"),
        ({**DAILY, "column": "a${var:x}"}, "no placeholder is replaced here: 'a${var:x}'"),
        ({**DAILY, "start": "${var:n}"}, "no placeholder is replaced here: '${var:n}'"),
        ({"type": "dynamic", "column": "k", "name": "${env:X}"}, "no placeholder is replaced here: '${env:X}'"),
        ({"type": "dynamic", "column": "k", "name": " "}, "must not be blank"),
        ({**DAILY, "colum": "x"}, "unknown key 'colum' (did you mean 'column'?)"),
        ({**DAILY, "type": "dayly"}, "did you mean 'daily'?"),
    ],
)
def test_partitions_that_are_none_are_told_at_their_key(partitions: Json, message: str):
    value = pipeline(extract(), load(**OVERWRITE), partitions=partitions)
    assert message in only_message(value)
    (problem,) = problems_of(value)
    assert "partitions" in (problem.source_line or "") or problem.line > 3


def test_a_static_key_that_is_none_is_told_at_its_own_line():
    keys = ["a", "__HIVE_DEFAULT_PARTITION__"]
    value = pipeline(extract(), load(**OVERWRITE), partitions={"type": "static", "keys": keys, "column": "k"})
    (problem,) = problems_of(value)
    assert keys[1] in (problem.source_line or "")


@pytest.mark.parametrize("key", ["", " ", "__HIVE_DEFAULT_PARTITION__"])
def test_a_dynamic_key_that_is_none_is_refused_before_anything_runs(key: str):
    shops = read(pipeline(extract(), load(**OVERWRITE), partitions={"type": "dynamic", "name": "s", "column": "k"}))
    shops.require_ready(partition=Partition("k", ("north",)))
    with pytest.raises(PipelineConfigurationException, match="the key"):
        shops.require_ready(partition=Partition("k", (key,)))


def test_a_stream_has_no_partitions():
    value = {**by_day(extract("fromRate", rowsPerSecond=1), load()), "mode": "streaming"}
    assert "a streaming pipeline has no partitions" in " ".join(messages_of(value))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"path": "out"}, "use overwrite, which replaces its rows alone, or merge"),
        ({"path": "out", "mode": "ignore"}, "use overwrite, which replaces its rows alone, or merge"),
        ({**OVERWRITE, "replaceWhere": "day > '2024'"}, "leave out 'replaceWhere'"),
        ({**OVERWRITE, "overwriteSchema": True}, "changes the whole table"),
    ],
)
def test_a_load_that_can_not_be_repeated_for_a_partition_is_refused(config: Json, message: str):
    assert message in only_message(by_day(extract(), load(**config)))


def test_a_load_of_groups_that_may_lie_in_several_partitions_is_refused():
    table = {"table": "t", "mergeKeys": "shop", "credentialPath": "secret/shop"}
    groups = load("toPostgres", mode="deleteInsert", **table)
    assert "a group may have rows of other partitions" in only_message(by_day(extract(), groups))
    read(by_day(extract(), load("toPostgres", mode="merge", **table)))


def test_a_sink_that_only_adds_is_refused_with_partitions():
    topic = load("toKafka", topic="days", credentialPath="secret/data/kafka")
    assert "so a partition that is run twice would be there twice" in only_message(by_day(extract(), topic))


def test_files_need_a_folder_for_each_partition():
    files = {**OVERWRITE, "format": "csv"}
    assert "name the column 'day'" in only_message(by_day(extract(), load("toFiles", **files)))
    read(by_day(extract(), load("toFiles", **files, partitionBy=["DAY"])))
    read(by_day(extract(), load("toFiles", **{**files, "path": "out/${partition:key}"})))


def test_a_place_of_its_own_for_each_partition_is_as_good():
    read(by_day(extract(), load(path="out/${partition:key}", mode="overwrite", overwriteSchema=True)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("day = '${partition:day}'", "there is no '${partition:day}' (did you mean 'key'?)"),
        ("day = '${partition:ky}'", "there is no '${partition:ky}' (did you mean 'key'?)"),
    ],
)
def test_what_a_partition_does_not_have_is_told_at_its_place(text: str, message: str):
    found = only_message(by_day(extract(), transform("filterRows", condition=text), load(**OVERWRITE)))
    assert found.startswith(message.split(" (")[0])


def test_a_partition_in_a_pipeline_without_is_told():
    value = pipeline(extract(), transform("filterRows", condition="day = '${partition:key}'"), load())
    assert only_message(value) == (
        "'${partition:key}' stands here, and the pipeline has no partitions (add the key 'partitions')"
    )


def test_keys_have_no_start():
    value = pipeline(
        extract(),
        transform("filterRows", condition="k >= '${partition:start}'"),
        load(**OVERWRITE),
        partitions={"type": "static", "keys": ["a"], "column": "k"},
    )
    assert only_message(value) == "partitions of type static have no start (use '${partition:key}')"


def test_a_range_is_one_run_unless_a_step_needs_the_key():
    assert read(by_day()).loads_ranges
    start = transform("filterRows", condition="day >= '${partition:start}' AND day < '${partition:end}'")
    assert read(by_day(extract(), start, load(**OVERWRITE))).loads_ranges
    key = transform("filterRows", condition="day = '${partition:key}'")
    assert not read(by_day(extract(), key, load(**OVERWRITE))).loads_ranges
    static = {"type": "static", "keys": ["a", "b"], "column": "k"}
    assert not read(pipeline(extract(), load(**OVERWRITE), partitions=static)).loads_ranges


BACK = [
    ("daily", 6, "day >= DATE '${partition:start}' - INTERVAL 6 DAYS AND day < '${partition:end}'"),
    ("daily", 6, "day BETWEEN date_sub('${partition:start}', 6) AND '${partition:key}'"),
    ("daily", 6, "day >= date_add('${partition:key}', -6)"),
    ("daily", 5, "day > date_sub('${partition:end}', 7)"),
    ("daily", 6, "day > DATE '${partition:start}' - INTERVAL 7 DAYS"),
    ("daily", 6, "date_sub('${partition:start}', 7) < day"),
    ("daily", 7, "at > TIMESTAMP '${partition:start}' - INTERVAL 7 DAYS"),
    ("hourly", 6, "at > TIMESTAMP '${partition:start}' - INTERVAL 6 HOURS"),
    ("daily", 9, "date_add(day, 9) >= '${partition:start}'"),
    ("daily", 9, "day + INTERVAL 9 DAYS >= '${partition:start}'"),
    ("daily", 9, "'${partition:start}' <= date_add(day, 9)"),
    ("daily", 9, "datediff('${partition:start}', day) <= 9"),
    ("daily", 9, "10 > datediff('${partition:start}', day)"),
    ("daily", 9, "datediff(day, '${partition:start}') >= -9"),
    ("daily", 6, "day >= timestampadd(DAY, -6, '${partition:start}')"),
    ("daily", 7, "day >= DATE '${partition:start}' - INTERVAL '6' DAY - INTERVAL 2 HOURS"),
    ("daily", 31, "day >= add_months('${partition:start}', -1)"),
    ("daily", 30, "day >= date_trunc('MONTH', '${partition:start}')"),
    ("daily", 1, "unix_timestamp(day) >= unix_timestamp('${partition:start}') - 86400"),
    ("hourly", 24, "day >= TIMESTAMP '${partition:start}' - INTERVAL 1 DAY"),
    ("weekly", 1, "day >= DATE '${partition:start}' - 7"),
    ("monthly", 1, "day >= DATE '${partition:start}' - INTERVAL 1 MONTH"),
    ("monthly", 2, "day >= DATE '${partition:start}' - INTERVAL 30 DAYS"),
    ("monthly", 11, "day >= date_trunc('YEAR', '${partition:start}')"),
]


def warned(condition: str, step: str = "filterRows", **partitions: Any) -> list[str]:
    key = "query" if step == "sqlQuery" else "condition"
    value = by_day(
        extract(path="in", format="parquet", registerAs="t"),
        transform(step, **{key: condition}),
        load(**OVERWRITE),
        **partitions,
    )
    return [str(warning) for warning in read(value).warnings]


@pytest.mark.parametrize(("kind", "partitions", "condition"), BACK)
def test_a_condition_that_reaches_before_the_partition_needs_the_key_that_says_so(
    kind: str, partitions: int, condition: str
):
    (warning,) = warned(condition, type=kind)
    assert "this reads further back than the partition, and there is no 'lookback'" in warning
    assert warned(f"SELECT * FROM t WHERE {condition}", "sqlQuery", type=kind)
    assert not warned(condition, type=kind, lookback=partitions)
    # Whoever writes it has decided.
    assert not warned(condition, type=kind, lookback=0)
    if partitions > 1:
        assert f"'lookback' says {partitions - 1}" in warned(condition, type=kind, lookback=partitions - 1)[0]


def test_the_query_of_a_database_that_reaches_before_the_partition_is_found_too():
    query = "SELECT * FROM t WHERE day >= '${partition:start}'::date - interval '6 days'"
    source = extract("fromPostgres", credentialPath="secret/shop", query=query)
    (warning,) = read(by_day(source, load(**OVERWRITE))).warnings
    assert "further back" in warning.message


@pytest.mark.parametrize(
    "condition",
    [
        "day >= '${partition:start}' AND day < '${partition:end}'",
        "day <= date_sub('${partition:end}', 1)",
        "day < DATE '${partition:start}' + INTERVAL 1 DAY",
        "to_date('${partition:start}') <= day",
        "datediff('${partition:end}', '${partition:start}') < 7",
        "datediff('${partition:end}', day) <= 1",
        "datediff(day, '${partition:start}') <= 9",
        "day > date_sub('${partition:start}', 1)",
        "date_sub(day, 9) >= '${partition:start}'",
        "a - 6 > b AND day = '${partition:key}'",
    ],
)
def test_a_condition_within_the_partition_is_no_reason_for_a_warning(condition: str):
    assert not warned(condition)


def test_a_path_with_a_partition_is_no_subtraction():
    assert not read(by_day(extract(path="in/${partition:start}-6.csv", format="csv"), load(**OVERWRITE))).warnings


def test_a_range_replaces_its_own_partitions_whatever_it_looks_back_on():
    partitions = Partitions(type="daily", start="2024-01-01", column="day", lookback=6)
    assert partition_of(partitions, ["2024-01-15", "2024-01-16"]).texts() == {
        "start": "2024-01-15",
        "end": "2024-01-17",
    }


def day(zone: str = "UTC", *keys: str) -> Partition:
    start = datetime(2024, 3, 31, tzinfo=ZoneInfo(zone))
    return Partition("day", keys or ("2024-03-31",), start, datetime(2024, 4, 1, tzinfo=ZoneInfo(zone)))


def test_the_placeholders_of_a_partition_are_replaced_in_one_pass(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRICK", "${partition:key}")
    condition = "day >= '${partition:start}' AND day < '${partition:end}' AND key = '${partition:key}${env:TRICK}'"
    value = by_day(extract(), transform("filterRows", condition=condition), load(**OVERWRITE))
    resolved = read(value).resolve(partition=day())
    assert resolved.steps[1].config.model_dump()["condition"] == (
        "day >= '2024-03-31 00:00:00' AND day < '2024-04-01 00:00:00' AND key = '2024-03-31${partition:key}'"
    )
    assert resolved.steps[1].config.as_config() == {"condition": condition}


@pytest.mark.parametrize(
    ("is_one_run", "text"),
    [
        (True, "day >= '${partition:start}' AND day < '${partition:end}'"),
        (True, "day >= DATE '${partition:start}' - INTERVAL 6 DAYS AND day < CAST('${partition:end}' AS DATE)"),
        (True, "to_date('${partition:start}') <= day AND TIMESTAMP '${partition:end}' > day"),
        (True, "day BETWEEN date_sub('${partition:start}', 6) AND to_date('${partition:end}')"),
        (False, "day = '${partition:start}'"),
        (False, "day = DATE '${partition:start}'"),
        (False, "'${partition:start}' = day"),
        (False, "day <=> '${partition:start}'"),
        (False, "day <> '${partition:start}'"),
        (False, "'${partition:start}' <=> day"),
        (False, "day IN ('${partition:start}')"),
        (False, "day >= '${partition:start}' AND day = date_sub('${partition:end}', 1)"),
        (False, "transform(days, d -> '${partition:start}')[0] < day"),
        (False, "day > date_trunc('MONTH', '${partition:start}') AND '${partition:start}' LIKE day"),
    ],
)
def test_a_range_is_one_run_where_the_steps_take_its_bounds_for_bounds(is_one_run: bool, text: str):
    found = read(by_day(extract(), transform("filterRows", condition=text), load(**OVERWRITE)))
    assert found.loads_ranges == is_one_run


@pytest.mark.parametrize("key", ["path", "quarantinePath"])
def test_a_place_by_the_time_of_a_partition_is_for_one_at_a_time(key: str):
    steps = [extract(), validate("validateNulls", notNullColumns=["a"], onFailure="quarantine"), load(**OVERWRITE)]
    step: Any = steps[0] if key == "path" else steps[1]
    step["config"] = {**step["config"], key: "in/${partition:start}"}
    assert not read(by_day(*steps)).loads_ranges


def test_the_beginning_of_a_day_is_right_beside_dates_that_are_kept_as_text():
    keys, by_hour = ["2024-03-30", "2024-03-31"], ["2024-03-31-00:00"]
    daily = Partitions(type="daily", start="2024-03-01", column="day")
    assert partition_of(daily, keys).texts() == {"start": "2024-03-30", "end": "2024-04-01"}
    hourly = Partitions(type="hourly", start="2024-03-01", column="at")
    assert partition_of(hourly, by_hour).texts()["start"] == "2024-03-31 00:00:00"


def test_times_of_another_zone_have_their_offset_also_where_the_clock_is_changed():
    assert day("Europe/Berlin").texts() == {
        "key": "2024-03-31",
        "start": "2024-03-31 00:00:00+01:00",
        "end": "2024-04-01 00:00:00+02:00",
    }


def test_several_partitions_have_no_key():
    assert "key" not in day("UTC", "2024-03-31", "2024-04-01").texts()


def test_a_path_by_key_is_the_partitions_own():
    config = read(by_day(extract(), load(path="out/${partition:key}", mode="overwrite"))).steps[1].config
    resolved = config.resolved(day().texts())
    assert resolved.model_dump()["path"] == "out/2024-03-31"
    assert date.fromisoformat(resolved.model_dump()["path"].rpartition("/")[2]) == date(2024, 3, 31)


@pytest.mark.parametrize(
    "text",
    [
        "${Partition:key}",
        "${partition}",
        "${ partition:key }",
        "${VAR:x}",
        "${var}",
        "${ENV:X}",
        "${env:}",
        "${env: X}",
    ],
)
def test_a_placeholder_that_is_misspelled_is_told(text: str):
    value = by_day(extract(), transform("filterRows", condition=f"day = '{text}'"), load(**OVERWRITE))
    assert f"'{text}' is no placeholder" in only_message(value)


def test_the_default_of_a_misspelled_placeholder_is_not_shown():
    config = {"host": "h", "database": "d", "username": "u", "password": "${ENV:PASSWORD:-hunter2}", "table": "t"}
    value = pipeline({"type": "extract", "method": "fromPostgres", "config": config}, load(**OVERWRITE))
    found = only_message(value)
    assert "'${ENV:PASSWORD:-…}' is no placeholder" in found
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("setting", "value"),
    [("spark.sql.session.timeZone", "Europe/Berlin"), ("spark.sql.parser.escapedStringLiterals", True)],
)
def test_settings_that_give_conditions_another_meaning_are_refused(setting: str, value: Any):
    found = only_message({**by_day(), "sparkConf": {setting: value}})
    assert f"with partitions '{setting}' has to be" in found


@pytest.mark.parametrize("key", ["..", ".", "a/b", "a\\b", "*", "a?", "[ab]", "{a}"])
def test_a_key_that_would_lead_somewhere_else_is_no_part_of_a_path(key: str):
    partitions = {"type": "static", "keys": [key], "column": "k"}
    value = pipeline(extract(), load(path="out/${partition:key}", mode="overwrite"), partitions=partitions)
    with pytest.raises(PipelineConfigurationException, match="can't be a part of a path"):
        read(value).require_ready(partition=Partition("k", (key,)))


@pytest.mark.parametrize("key", ["a.b", 'a"."b', "a`b", "a'b", "a/b"])
def test_a_key_that_would_name_something_else_is_no_part_of_a_table_s_name(key: str):
    partitions = {"type": "static", "keys": [key], "column": "k"}
    sink = load("toPostgres", table="of_${partition:key}", mode="overwrite", credentialPath="secret/shop")
    with pytest.raises(PipelineConfigurationException, match="can't be a part of a table's name"):
        read(pipeline(extract(), sink, partitions=partitions)).resolve(partition=Partition("k", (key,)))


def with_key(step: Json, key: str) -> Any:
    """The config of a step in a run of this partition."""
    partitions = {"type": "dynamic", "name": "customers", "column": "k"}
    source = extract(path="in", format="parquet", registerAs="t")
    steps = [step] if step["type"] == "extract" else [source, step]
    value = pipeline(*steps, load(**OVERWRITE), partitions=partitions)
    return read(value).resolve(partition=Partition("k", (key,))).steps[-2].config


def texts_of(config: Any) -> str:
    return "\n".join(strings_in(config.model_dump(exclude_unset=True)))


SHOP = {"credentialPath": "secret/shop"}
IN_QUOTES = {
    "a condition": transform("filterRows", condition="k = '${partition:key}'"),
    "part of a text": transform("filterRows", condition="k LIKE '%-${partition:key}-%' AND x = 1"),
    "a column": transform("enrichData", columns={"of": "upper('${partition:key}')"}),
    "an aggregate": transform("aggregateData", aggregations={"of": "max(k = '${partition:key}')"}),
    "an order": transform("deduplicate", columns=["id"], orderBy="k = '${partition:key}' DESC"),
    "a query": transform("sqlQuery", query="SELECT *, '${partition:key}' AS of FROM t"),
    "a rule": validate("validateBusinessRules", rules=[{"name": "r", "rule": "k <> '${partition:key}'"}]),
    "PostgreSQL": extract("fromPostgres", **SHOP, query="SELECT * FROM t WHERE k = '${partition:key}'"),
    "MySQL": extract("fromMySQL", **SHOP, query="SELECT * FROM t WHERE k = '${partition:key}'"),
}
IN_OTHER_QUOTES = {
    '"': transform("filterRows", condition='k = "${partition:key}"'),
    "`": transform("sqlQuery", query="SELECT a AS `of ${partition:key}` FROM t"),
}
WORDS = ["north", "2024-01-31", "a b;c -- d", "%_/*", "größe", "7", "1 OR 1=1"]


@pytest.mark.parametrize("step", IN_QUOTES.values(), ids=IN_QUOTES)
def test_a_key_in_quotes_is_one_text_or_refused(step: Json):
    for key in (*WORDS, 'o"brien', "o`brien"):
        assert key in texts_of(with_key(step, key))
    of_backslashes = [] if step["method"] == "fromPostgres" else ["a\\nb", "a\\\\b", "x\\"]
    for key in ("o'brien", "x' OR '1'='1", "x' OR 1=1 -- ", "x''y", "'", "x\\' OR 1=1 -- ", *of_backslashes):
        with pytest.raises(PipelineConfigurationException, match="would not be one text, number or name in this SQL"):
            with_key(step, key)


@pytest.mark.parametrize("quote", IN_OTHER_QUOTES)
def test_a_key_in_other_quotes_may_hold_all_but_these(quote: str):
    for key in (*WORDS, "o'brien"):
        assert key in texts_of(with_key(IN_OTHER_QUOTES[quote], key))
    for key in (f"o{quote}brien", f"x{quote}{quote}y", f"x{quote} OR {quote}1{quote}={quote}1", quote):
        with pytest.raises(PipelineConfigurationException, match="would not be one text, number or name in this SQL"):
            with_key(IN_OTHER_QUOTES[quote], key)


def test_without_quotes_a_key_is_a_number_or_a_word_and_no_sql_of_its_own():
    step = transform("filterRows", condition="k = ${partition:key} AND of_${partition:key} = 1")
    for key in ("7", "north", "2024"):
        assert with_key(step, key).condition == f"k = {key} AND of_{key} = 1"
    for key in ("1 OR 1=1", "2024-01-31", "a b", "7--", "f()", "-1", "7/*"):
        with pytest.raises(PipelineConfigurationException, match="put the placeholder in quotes"):
            with_key(step, key)


def test_a_time_without_quotes_is_refused_and_not_a_subtraction():
    value = by_day(extract(), transform("filterRows", condition="day = ${partition:key}"), load(**OVERWRITE))
    with pytest.raises(PipelineConfigurationException, match="'2024-03-31' of the partition would not be one text"):
        read(value).resolve(partition=day())
