"""A secret that is written in a file is warned about, and is shown nowhere."""

from __future__ import annotations

import json

from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.redaction import redact
from pipeline_platform_tests.config.reading import extract, load, pipeline, read, transform

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
    load(path="s3a://user:sesame-open-7@lake/out"),
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
        "there is a password in the URL of 'path'",
    ]
    lines = json.dumps(WRITTEN, indent=2).splitlines()
    for number, warning in enumerate(warnings, 1):
        assert f"sesame-open-{number}" in lines[warning.line - 1]
        assert "sesame" not in str(warning)


def test_a_secret_is_in_nothing_that_is_shown():
    read_pipeline = read(WRITTEN)
    shown = [json.dumps(step.config.as_config()) + repr(step) + str(step.config) for step in read_pipeline.steps[:3]]
    shown.append(json.dumps(read_pipeline.steps[3].config.as_config()))
    shown.append(str(read_pipeline.steps[3].config.dataset()))
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
