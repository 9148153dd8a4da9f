"""Environment variables in a pipeline: which are replaced when it is loaded, which only at run time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.placeholders import substitute, variable_names
from pipeline_platform.exceptions import CredentialException, PipelineConfigurationException
from pipeline_platform.redaction import redact
from pipeline_platform_tests.config.reading import extract, load, messages_of, pipeline, read, read_step, transform


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOT", "s3a://lake")
    monkeypatch.setenv("SIZE", "7")
    monkeypatch.setenv("YES", "true")
    monkeypatch.setenv("FORMAT", "CSV")
    monkeypatch.setenv("FRAME", "flights")
    monkeypatch.setenv("CARRIER", "united-carrier")
    monkeypatch.setenv("PG_PASSWORD", "sesame-variable")
    monkeypatch.delenv("NOWHERE", raising=False)


def test_variables_in_what_identifies_a_dataset_are_replaced_when_the_file_is_loaded():
    assert read_step(load(path="${env:ROOT}/out")).path == "s3a://lake/out"
    table = "${env:NOWHERE:-public}.flights"
    assert read_step(extract("fromPostgres", table=table)).table == "public.flights"
    assert read_step(extract("fromKafka", topic=["${env:FRAME}", "b"])).topic == ["flights", "b"]
    s3 = read_step(extract("fromS3", bucket="${env:FRAME}", path="in", format="csv"))
    assert s3.bucket == "flights"


def test_variables_in_numbers_flags_and_choices_are_replaced_when_the_file_is_loaded():
    config = read_step(extract(path="in", format="${env:FORMAT}", header="${env:YES}", cache="${env:NOWHERE:-false}"))
    assert (config.format, config.header, config.cache) == ("csv", True, False)
    assert read_step(extract("fromRate", rowsPerSecond="${env:SIZE}")).rows_per_second == 7
    assert read(pipeline(extract(), load(), mode="${env:NOWHERE:-streaming}")).mode == "streaming"
    assert read(pipeline(extract(), retry={"delaySeconds": "${env:SIZE}"})).retry.delay_seconds == 7
    assert read(pipeline(extract(), schedule="${env:NOWHERE:-0 6 * * *}")).schedule == "0 6 * * *"


def test_variables_in_the_names_of_frames_connect_steps():
    named = read(
        pipeline(
            extract("fromRate", rowsPerSecond=1, registerAs="${env:FRAME}"),
            extract(),
            transform("filterRows", condition="true", input="flights"),
        ),
    )
    assert named.steps[2].inputs[0].step == 0


def test_all_other_variables_are_replaced_at_run_time_only():
    config = read_step(transform("filterRows", condition="carrier = '${env:CARRIER}'"))
    assert config.condition == "carrier = '${env:CARRIER}'"
    assert config.resolved().condition == "carrier = 'united-carrier'"


def test_what_is_shown_holds_variables_as_they_are_written():
    config = read_step(transform("filterRows", condition="carrier = '${env:CARRIER}'"))
    assert config.as_config() == {"condition": "carrier = '${env:CARRIER}'"}
    assert config.resolved() is not config


def test_a_value_that_was_used_is_redacted_from_then_on():
    read_step(transform("filterRows", condition="carrier = '${env:CARRIER}'")).resolved()
    assert redact("no carrier united-carrier") == "no carrier ***"


def carriers(where: str = "${env:CARRIER}", then: str = "true") -> PipelineConfig:
    conditions = (f"carrier = '{where}'", then)
    return read(pipeline(extract(), *(transform("filterRows", condition=condition) for condition in conditions)))


def test_a_pipeline_is_resolved_as_a_whole_and_still_shown_as_it_is_written():
    resolved = carriers().resolve()
    step: Any = resolved.steps[1]
    assert step.config.condition == "carrier = 'united-carrier'"
    assert step.config.as_written.condition == "carrier = '${env:CARRIER}'"
    assert step.config.as_config() == {"condition": "carrier = '${env:CARRIER}'"}


def test_a_value_that_looks_like_a_variable_is_not_replaced_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CARRIER", "${env:FRAME}")
    twice: Any = carriers().resolve().resolve().steps[1].config
    assert twice.condition == "carrier = '${env:FRAME}'"


def test_steps_that_do_not_run_need_no_variables():
    found: Any = carriers(then="carrier = '${env:NOWHERE}'").resolve({0, 1}).steps
    assert [step.config.condition for step in found[1:]] == ["carrier = 'united-carrier'", "carrier = '${env:NOWHERE}'"]


def test_a_variable_that_is_not_set_is_told_with_the_step_that_needs_it():
    with pytest.raises(CredentialException, match="NOWHERE is not set") as refused:
        carriers(then="carrier = '${env:NOWHERE}'").resolve()
    assert refused.value.location is not None
    assert refused.value.location.step_index == 2


def test_the_environment_does_not_change_what_of_a_pipeline_is_the_stream():
    watermark = {"column": "timestamp", "delay": "1 minute"}
    by_variable = {"groupBy": "${env:CARRIER}", "aggregations": {"n": "count(*)"}, "watermark": watermark}
    steps = [extract("fromKafka", topic="a"), transform("aggregateData", **by_variable), load()]
    written = read(pipeline(*steps, mode="streaming"))
    # Of the file alone nobody knows that it groups by no time.
    resolved = written.resolve()
    assert resolved.steps[1].config.append_error() is not None
    assert resolved.shape == written.shape
    assert resolved.steps[1].traits == written.steps[1].traits


def test_a_secret_is_resolved_at_run_time_and_never_shown():
    config = read_step(extract("fromPostgres", table="t", password="${env:PG_PASSWORD}"))
    resolved = config.resolved()
    assert resolved.inline_credentials() == {"password": "sesame-variable"}
    assert "sesame-variable" not in json.dumps(resolved.as_config()) + repr(resolved) + str(resolved)
    assert redact("login with sesame-variable failed") == "login with *** failed"


def test_session_settings_are_resolved_at_run_time():
    settings = {"spark.a": "${env:CARRIER}", "spark.hadoop.fs.s3a.secret.key": "${env:PG_PASSWORD}", "spark.b": True}
    read_pipeline = read(pipeline(extract(), sparkConf=settings))
    assert read_pipeline.spark_conf["spark.a"] == "${env:CARRIER}"
    assert read_pipeline.spark_settings() == {
        "spark.a": "united-carrier",
        "spark.hadoop.fs.s3a.secret.key": "sesame-variable",
        "spark.b": "true",
    }
    assert "sesame-variable" not in repr(read_pipeline)


def test_a_variable_that_is_not_set_is_a_mistake_where_it_is_needed_to_load_the_file():
    (message,) = messages_of(pipeline(extract(path="${env:NOWHERE}/in", format="csv")))
    expected = "the environment variable NOWHERE is not set; set it, or write ${env:NOWHERE:-default}"
    assert message == expected


def test_a_variable_that_is_not_set_fails_the_run_where_it_is_needed_then():
    config = read_step(transform("filterRows", condition="carrier = '${env:NOWHERE}'"))
    with pytest.raises(CredentialException, match="NOWHERE is not set"):
        config.resolved()


def test_a_value_that_makes_the_config_invalid_fails_the_run_without_showing_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CARRIER", "'very-secret-carrier")
    config = read_step(transform("filterRows", condition="carrier = '${env:CARRIER}'"))
    with pytest.raises(PipelineConfigurationException, match="'condition': ") as refused:
        config.resolved()
    assert "very-secret-carrier" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${env:A}", "1"),
        ("x${env:A}y${env:A}", "x1y1"),
        ("${env:B:-}", ""),
        ("${env:B:-a:-b}", "a:-b"),
        ("${env:A:-2}", "1"),
        ("${ENV:A}", "${ENV:A}"),
        ("$env:A", "$env:A"),
        ("${env:1}", "${env:1}"),
    ],
)
def test_a_placeholder_is_replaced_by_value_or_default(text: str, result: str):
    assert substitute(text, {"A": "1"}) == result


def test_the_names_of_variables_stand_in_for_them_in_names():
    assert variable_names("${env:PG_HOST:-localhost}:5432") == "PG_HOST:5432"


def test_variables_that_are_not_set_are_all_told_with_their_steps(monkeypatch: pytest.MonkeyPatch):
    for name in ("NO_LIMIT", "NO_HEAP", "NO_KEY", "NO_DEFAULT"):
        monkeypatch.delenv(name, raising=False)
    read_in = read(
        pipeline(
            extract(
                "fromMySQL", table="t", password="${env:NO_KEY}", properties={"trustStorePassword": "${env:NO_KEY}"}
            ),
            transform("filterRows", condition="a > ${env:NO_LIMIT} AND b < ${env:NO_DEFAULT:-3}"),
            transform("enrichData", columns={"b": "a + ${env:NO_LIMIT}"}),
            load(),
            sparkConf={"spark.driver.memory": "${env:NO_HEAP}"},
        )
    )
    with pytest.raises(CredentialException) as error:
        read_in.require_variables()
    assert error.value.message == (
        "the environment variables NO_HEAP (in sparkConf), NO_KEY (in step 1), NO_LIMIT (in step 2 and step 3) are not "
        "set"
    )
    assert error.value.location == read_in.steps[0].location
    monkeypatch.setenv("NO_HEAP", "1g")
    read_in.require_variables({3})
    with pytest.raises(CredentialException, match=r"variable NO_LIMIT \(in step 2\) is not set"):
        read_in.require_variables({1})
    monkeypatch.setenv("NO_LIMIT", "")
    monkeypatch.setenv("NO_KEY", "x")
    read_in.require_variables()
