"""A secret that is written in a file is warned about, and is shown nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.redaction import redact
from pipeline_platform_tests.config.reading import Json, extract, load, pipeline, problems_of, read, transform

WRITTEN = pipeline(
    extract(
        "fromPostgres",
        table="t",
        username="reader",
        password="sesame-open-2",
        properties={"sslpassword": "sesame-open-3", "ssl": "true"},
    ),
    extract("fromKafka", topic="t", **{"sasl.jaas.config": 'x password="sesame-open-4";', "ssl.protocol": "TLS"}),
    extract("fromS3", bucket="b", path="p", format="csv", accessKeyId="sesame-open-5", secretAccessKey="sesame-open-6"),
    load(path="s3a://lake/out"),
    sparkConf={"spark.hadoop.fs.s3a.secret.key": "sesame-open-1", "spark.sql.ansi.enabled": "true"},
)


def test_every_secret_that_is_written_is_warned_about_at_its_place():
    warnings = read(WRITTEN).warnings
    assert [warning.message for warning in warnings] == [
        "the secret 'spark.hadoop.fs.s3a.secret.key' is written in the file",
        "the secret 'password' is written in the file",
        "the secret 'sslpassword' is written in the file",
        "the secret 'sasl.jaas.config' is written in the file",
        "the secret 'accessKeyId' is written in the file",
        "the secret 'secretAccessKey' is written in the file",
    ]
    lines = json.dumps(WRITTEN, indent=2).splitlines()
    for number, warning in enumerate(warnings, 1):
        assert f"sesame-open-{number}" in lines[warning.line - 1]
        assert "sesame" not in str(warning)


@pytest.mark.parametrize(
    ("step", "keys"),
    [
        (load(path="s3a://user:sesame-open-7@lake/out"), {}),
        (load(path="s3a://user:sesame/open@7-@lake/out"), {}),
        (load(path="${env:ROOT_WITH_KEY}/out"), {}),
        (load(path="s3a://user:${env:KEY_OF_ROOT}@lake/out"), {}),
        (load("toKafka", topic="t", **{"bootstrap.servers": "SASL_SSL://u:sesame-open-7@kafka:9092"}), {}),
        (load("toPostgres", table="t", host="postgresql://u:sesame-open-7@db"), {}),
        (load("toPostgres", table="t", properties={"socksProxy": "http://u:sesame-open-7@proxy"}), {}),
        (load(), {"sparkConf": {"spark.hadoop.fs.s3a.endpoint": "https://u:sesame-open-7@${env:HOST}"}}),
        (load(), {"description": "see https://sesame-open-7@wiki/flights"}),
        (load(), {"streaming": {"checkpointRoot": "s3a://u:sesame-open-7@lake"}}),
        (load(checkpoint_location="s3a://u:sesame-open-7@lake", path="out"), {}),
    ],
)
def test_a_password_in_a_url_is_refused_and_shown_nowhere(
    step: Json, keys: Json, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("ROOT_WITH_KEY", "s3a://user:sesame-open-7@lake")
    monkeypatch.setenv("KEY_OF_ROOT", "sesame-open-7")
    file = tmp_path / "flights.json"
    file.write_text(json.dumps(pipeline(extract(), step, **keys), indent=2))
    (problem,) = problems_of(file)
    assert problem.message.startswith("the URL in '")
    assert "credentialPath" in (problem.hint or "")
    shown = file.read_text().splitlines()[problem.line - 1]
    assert "://" in shown or "ROOT_WITH_KEY" in shown
    assert "sesame" not in str(problem)
    assert "open@7" not in str(problem)
    assert str(problem).splitlines()[2].strip() == "^"


def test_a_url_with_a_password_from_the_environment_is_let_in_where_it_is_replaced_at_run_time():
    endpoint = "https://${env:KEY}:${env:SECRET}@proxy/a:b@c"
    read_pipeline = read(pipeline(extract(), load(), sparkConf={"spark.hadoop.fs.s3a.proxy.host": endpoint}))
    assert read_pipeline.spark_conf == {"spark.hadoop.fs.s3a.proxy.host": endpoint}


def test_a_secret_is_in_nothing_that_is_shown():
    read_pipeline = read(WRITTEN)
    shown = [json.dumps(step.config.as_config()) + repr(step) + str(step.config) for step in read_pipeline.steps[:3]]
    shown.append(repr(read_pipeline.spark_conf))
    shown.append(str(PipelineConfigurationException("no", config=WRITTEN["steps"][0]["config"]).config))
    assert "sesame" not in "".join(shown)


def test_a_secret_that_was_read_is_redacted_from_then_on():
    read(WRITTEN)
    assert redact("sesame-open-2, sesame-open-3 and sesame-open-1") == "***, *** and ***"


def test_variables_and_paths_in_vault_are_not_warned_about():
    kept = pipeline(
        extract("fromPostgres", table="t", password="${env:PG_PASSWORD}"),
        extract("fromMySQL", table="t", credentialPath="secret/data/mysql", credentialType="mysql"),
        extract("fromKafka", topic="t", **{"ssl.truststore.location": "/etc/trust.pem", "sasl.mechanism": "PLAIN"}),
    )
    assert read(kept).warnings == ()


def test_a_default_of_a_variable_is_a_secret_in_the_file():
    (warning,) = read(pipeline(extract("fromPostgres", table="t", password="${env:PG_PASSWORD:-sesame}"))).warnings
    assert warning.message == "the secret 'password' is written in the file"


def test_columns_may_be_called_like_secrets():
    columns = {"password_hash": "sha2(password, 256)", "token": "upper(token)"}
    read_pipeline = read(pipeline(extract(), transform("enrichData", columns=columns)))
    assert read_pipeline.warnings == ()
    assert read_pipeline.steps[1].config.as_config() == {"columns": columns}


def test_what_is_shown_does_not_depend_on_the_secrets_a_process_knows():
    shown = read(pipeline(extract(path="sesame-open-2/in", format="csv"))).steps[0].config.as_config()
    read(WRITTEN)
    assert read(pipeline(extract(path="sesame-open-2/in", format="csv"))).steps[0].config.as_config() == shown
