"""What a pipeline may not do unless the deployment allows it: run code, read what no step has read, show secrets."""

from __future__ import annotations

import re
from typing import ClassVar

import pytest

from pipeline_platform.config.permissions import ALLOW_VARIABLE
from pipeline_platform.config.placeholders import variable_limit
from pipeline_platform.exceptions import CredentialException
from pipeline_platform.steps.credentialed import Credentialed
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

REFLECT = "reflect('java.lang.System', 'getenv', 'HOME')"


def filtered(condition: str) -> Json:
    return transform("filterRows", condition=condition)


def query(text: str) -> Json:
    return transform("sqlQuery", query=text)


def flights(*steps: Json, **keys: object) -> Json:
    return pipeline(extract(registerAs="flights", path="in", format="parquet"), *steps, load(), **keys)


CODE = [
    filtered(f"{REFLECT} = 'x'"),
    filtered("`Reflect`('a', 'b') IS NULL"),
    filtered("length(JAVA_METHOD('a', 'b')) > 1"),
    filtered("/* a */ try_reflect ('a', '${env:HOME}') = 1"),
    filtered("system.builtin.reflect('a', 'b') = 1"),
    filtered("id IN (SELECT java_method('a', 'b'))"),
    filtered("transform(xs, x -> reflect('a', x))[0] = 1"),
    transform("enrichData", columns={"home": REFLECT}),
    transform("aggregateData", groupBy="a", aggregations={"b": f"max({REFLECT})"}),
    transform("aggregateData", groupBy="a", aggregations={"b": "max(reflect('a', '${env:HOME}'))"}),
    transform("deduplicate", columns="a", orderBy=f"{REFLECT} DESC"),
    transform("joinDataFrames", inputDataFrames=["flights", "flights_2"], joinConditions=f"{REFLECT} = flights.a"),
    validate("validateBusinessRules", rules=[f"{REFLECT} = 1"]),
    validate("validateBusinessRules", rules=[{"name": "a", "rule": f"{REFLECT} = 1"}]),
    query(f"SELECT {REFLECT} FROM flights"),
    query(f"SELECT * FROM flights WHERE EXISTS (SELECT {REFLECT})"),
    query(f"WITH a AS (SELECT {REFLECT}) SELECT * FROM a, flights"),
    query("SELECT TRANSFORM(a) USING 'cat /etc/passwd' AS (b) FROM flights"),
    query("FROM flights SELECT TRANSFORM(a) USING 'cat' AS (b)"),
]


@pytest.mark.parametrize("step", CODE)
def test_sql_that_runs_code_is_refused_at_its_place(step: Json, monkeypatch: pytest.MonkeyPatch):
    second = extract(registerAs="flights_2", path="in", format="parquet")
    value = pipeline(extract(registerAs="flights", path="in", format="parquet"), second, step, load())
    (problem,) = problems_of(value)
    assert re.match(
        r"'(reflect|java_method|try_reflect)' runs any Java code|'TRANSFORM' runs a program", problem.message
    )
    assert problem.message.endswith("whoever runs pipelines may allow it with PIPELINE_PLATFORM_ALLOW=sql-code")
    assert str(problem).endswith("^")
    monkeypatch.setenv(ALLOW_VARIABLE, "spark-code, sql-code")
    assert read(value)


TABLES = [
    filtered("id IN (SELECT value FROM text.`/etc/passwd`)"),
    filtered("EXISTS (FROM binaryFile.`/run/secrets`)"),
    filtered("(SELECT max(value) FROM csv.`/x${env:HOME}`) = 1"),
    filtered("id IN (SELECT id FROM users)"),
    filtered("id IN (SELECT id FROM IDENTIFIER('text.`/x`'))"),
    filtered("id IN (SELECT version FROM table_changes_by_path('/x', 0))"),
    filtered("id IN (WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT * FROM b JOIN parquet.`/x`)"),
    transform("enrichData", columns={"a": "(SELECT first(value) FROM text.`/etc/passwd`)"}),
    transform("aggregateData", groupBy="a", aggregations={"b": "max((SELECT max(x) FROM json.`/x`))"}),
    validate("validateBusinessRules", rules=["id IN (SELECT id FROM spark_catalog.default.users)"]),
    query("SELECT * FROM flights JOIN delta.`s3a://lake/x` USING (id)"),
    query("SELECT * FROM flights, IDENTIFIER('text.`/etc/passwd`')"),
    query("SELECT * FROM flights, table_changes('x', 0)"),
    query("SELECT * FROM flights, LATERAL table_changes_by_path('/x', 0)"),
    query("SELECT (SELECT count(*) FROM orc.`/x`) FROM flights"),
    query("SELECT * FROM flights UNION ALL TABLE text.`/etc/passwd`"),
]


@pytest.mark.parametrize("step", TABLES)
def test_sql_that_reads_what_no_step_has_registered_is_refused(step: Json):
    (problem,) = problems_of(flights(step))
    assert "registered name" in problem.message or problem.message.startswith("SQL syntax: ")
    assert str(problem).endswith("^")


def test_tables_and_files_may_be_read_by_sql_where_the_deployment_allows_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(ALLOW_VARIABLE, "sql-tables")
    assert read(flights(filtered("id IN (SELECT value FROM text.`/etc/passwd`)")))
    step = read(flights(query("SELECT * FROM flights JOIN delta.`s3a://lake/x` USING (id), range(2)"))).steps[1]
    assert [edge.name for edge in step.inputs] == ["flights"]


@pytest.mark.parametrize(
    "step",
    [
        filtered("id IN (SELECT max(x) FROM (VALUES (1), (2)) AS t(x))"),
        filtered("id IN (WITH a AS (SELECT 1 AS x) SELECT x FROM a)"),
        filtered("EXISTS (SELECT * FROM explode(xs))"),
        filtered("reflection = 'reflect(a)' AND \"java_method('x')\" <> name -- reflect('a', 'b')"),
        transform("enrichData", columns={"x": "explode_outer(xs)", "reflect": "json_tuple(a, 'b')"}),
        query("WITH a AS (SELECT * FROM flights) SELECT * FROM a JOIN flights USING (id), range(10)"),
        query("SELECT * FROM flights JOIN LATERAL (SELECT id + 1) LATERAL VIEW explode(xs) e AS x"),
        query("SELECT * FROM flights, LATERAL posexplode_outer(flights.xs), inline(array(struct(1)))"),
        query("SELECT * FROM flights, LATERAL variant_explode(flights.v), stack(2, 1, 2)"),
        query("SELECT (SELECT max(id) FROM flights) AS `text.x` FROM VALUES (1) AS t(a)"),
    ],
)
def test_sql_over_frames_and_values_is_let_in(step: Json):
    assert read(flights(step))


@pytest.mark.parametrize(
    "key",
    [
        *("spark.driver.extraJavaOptions", "spark.executor.extraJavaOptions", "spark.driver.defaultJavaOptions"),
        *("spark.yarn.am.extraJavaOptions", "spark.driver.extraClassPath", "spark.executor.extraLibraryPath"),
        *("spark.jars", "spark.jars.packages", "spark.jars.ivySettings", "spark.files", "spark.archives"),
        *("spark.submit.pyFiles", "spark.plugins", "spark.plugins.defaultList", "spark.sql.extensions"),
        *("spark.extraListeners", "spark.sql.queryExecutionListeners", "spark.sql.streaming.streamingQueryListeners"),
        *("spark.pyspark.python", "spark.pyspark.driver.python", "spark.sql.execution.pyspark.python"),
        *("spark.python.daemon.module", "spark.executorEnv.LD_PRELOAD", "spark.kubernetes.executor.podTemplateFile"),
        *("spark.executor.resource.gpu.discoveryScript", "spark.sql.catalog.x", "spark.sql.catalog.x.url"),
        *("spark.driver.userClassPathFirst", "spark.kryo.registrator", "spark.serializer", "spark.hadoop.fs.x.impl"),
        *("spark.redaction.regex", "spark.sql.redaction.string.regex", "SPARK.JARS", " spark.jars"),
    ],
)
def test_settings_of_spark_that_run_code_or_show_secrets_are_refused(key: str, monkeypatch: pytest.MonkeyPatch):
    value = pipeline(extract(), load(), sparkConf={"spark.sql.ansi.enabled": True, key: "x"})
    (problem,) = problems_of(value)
    assert problem.message.endswith("whoever runs pipelines may allow it with PIPELINE_PLATFORM_ALLOW=spark-code")
    assert f'"{key}": "x"' in (problem.source_line or "")
    monkeypatch.setenv(ALLOW_VARIABLE, "spark-code")
    assert read(value)


def test_other_settings_of_spark_are_let_in():
    keys = (
        *("spark.master", "spark.driver.memory", "spark.executor.instances", "spark.sql.shuffle.partitions"),
        *("spark.kubernetes.container.image", "spark.kubernetes.driver.pod.name", "spark.driver.host"),
        *("spark.hadoop.fs.s3a.access.key", "spark.hadoop.fs.s3a.aws.credentials.provider", "spark.local.dir"),
        *("spark.databricks.delta.properties.defaults.checkpointInterval", "spark.sql.files.maxPartitionBytes"),
    )
    assert read(pipeline(extract(), load(), sparkConf=dict.fromkeys(keys, "${env:X}"))).spark_conf.keys() == {*keys}


VARIABLES = [
    (filtered("a = '${env:VAULT_TOKEN}'"), {}),
    (filtered("a = '${env:VAULT_SECRET_ID:-none}'"), {}),
    (filtered("a = '${env:PGPASSWORD}'"), {}),
    (filtered("a = '${env:AWS_SECRET_ACCESS_KEY}'"), {}),
    (load(path="out/${env:VAULT_TOKEN}"), {}),
    (load(path="out/${env:AWS_SESSION_TOKEN}"), {}),
    (load(path="out", mode="${env:VAULT_TOKEN}"), {}),
    (extract(path="in", format="csv", cacheStorageLevel="${env:VAULT_TOKEN}"), {}),
    (extract(path="in", format="csv", header="${env:VAULT_TOKEN}"), {}),
    (load("toPostgres", table="t", password="${env:VAULT_TOKEN}"), {}),
    (load("toKafka", topic="t", **{"client.id": "${env:VAULT_ROLE_ID}"}), {}),
    (load(), {"description": "${env:OPENLINEAGE_API_KEY}"}),
    (load(), {"sparkConf": {"spark.app.name": "${env:DAGSTER_POSTGRES_PASSWORD}"}}),
    (load(), {"sparkConf": {"spark.app.name": "${env:MYSQL_PASSWORD}"}}),
    (load(), {"metadata": {"tags": ["a", "${env:PIPELINE_PLATFORM_ALERTS}"]}}),
]


@pytest.mark.parametrize(("step", "keys"), VARIABLES)
def test_the_platforms_own_credentials_are_no_variables_of_a_pipeline(
    step: Json, keys: Json, monkeypatch: pytest.MonkeyPatch
):
    names = re.findall(r"\$\{env:(\w+)", str((step, keys)))
    for name in names:
        monkeypatch.setenv(name, "sesame-open-9")
    value = pipeline(*([] if step["type"] == "extract" else [extract()]), step, **keys)
    problems = problems_of(value)
    assert len(problems) == 1, problems
    assert f"the environment variable {names[0]} is " in problems[0].message
    assert f"{{env:{names[0]}" in (problems[0].source_line or "")
    assert "sesame" not in str(problems[0])


def test_the_variables_of_a_credential_are_those_that_its_method_names():
    class FromShop(Credentialed):
        method: ClassVar[str] = "fromShop"
        credential_types: ClassVar = {}
        credential_variables: ClassVar = {"password": "SHOP_LOGIN", "host": "SHOP_HOST"}

    assert "SHOP_LOGIN is a credential" in (variable_limit("${env:SHOP_LOGIN}", in_secret=False) or "")
    assert variable_limit("${env:SHOP_LOGIN}", in_secret=True) is None
    assert variable_limit("${env:SHOP_HOST}", in_secret=False) is None
    assert FromShop.credential_variables


def test_credentials_in_the_environment_may_stand_in_the_keys_for_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PGPASSWORD", "sesame-open-9")
    read_pipeline = read(pipeline(extract("fromPostgres", table="t", password="${env:PGPASSWORD}"), load()))
    assert read_pipeline.warnings == ()
    config = read_pipeline.steps[0].config.resolved()
    assert isinstance(config, Credentialed)
    assert config.inline_credentials() == {"password": "sesame-open-9"}


def test_a_variable_that_turns_up_at_run_time_is_refused_then_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(ALLOW_VARIABLE, "platform-variables")
    step = read(flights(filtered("a = '${env:VAULT_TOKEN:-x}'"))).steps[1]
    monkeypatch.delenv(ALLOW_VARIABLE)
    with pytest.raises(CredentialException, match="VAULT_TOKEN is reserved for the platform"):
        step.config.resolved()


def test_a_variable_can_not_bring_code_into_sql(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CONDITION", f"{REFLECT} = 'x'")
    step = read(flights(filtered("a = 1 OR ${env:CONDITION}"))).steps[1]
    with pytest.raises(Exception, match="'reflect' runs any Java code"):
        step.config.resolved()


def test_what_can_not_be_allowed_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(ALLOW_VARIABLE, "sql-code,spark-cod")
    (message,) = messages_of(pipeline(extract(), load()))
    assert message.startswith("the environment variable PIPELINE_PLATFORM_ALLOW lists 'spark-cod'")
    assert "did you mean 'spark-code'?" in message
