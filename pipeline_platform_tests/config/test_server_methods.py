"""The methods of servers: what may stand together, what identifies a dataset, and that they run later."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline_platform_tests.config.reading import Json, extract, load, messages_of, pipeline, problems_of, read_step

KAFKA = {"bootstrap.servers": "localhost:9092"}


def postgres(**config: Any) -> Json:
    return extract("fromPostgres", **config)


def kafka(**config: Any) -> Json:
    return extract("fromKafka", **config)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (postgres(fetchSize=1), "one of 'table' and 'query' is required"),
        (postgres(table="t", query="SELECT 1"), "'table' and 'query' are mutually exclusive"),
        (postgres(query="SELEC 1"), "SQL syntax: "),
        (postgres(query="DELETE FROM t"), "SQL syntax: expected a SELECT; other statements are not allowed"),
        (postgres(table="t", lowerBound=1), "'lowerBound' needs 'partitionColumn'"),
        (
            postgres(table="t", partitionColumn="id", lowerBound=True),
            "expected a number or a string, not a boolean",
        ),
        (postgres(table="t", upperBound="2026-01-01"), "'upperBound' needs 'partitionColumn'"),
        (
            postgres(table="t", partitionColumn="id", lowerBound=5, upperBound=5),
            "'upperBound' must be above 'lowerBound'",
        ),
        (postgres(table="t", numPartitions="0"), "must be greater than 0"),
        (postgres(table="t", timeoutSeconds=0), "must be greater than 0"),
        (postgres(table="t", timeoutSeconds=100_001), "must be 100000 or less"),
        (postgres(table="t", invalidDates="zero"), "expected 'fail' or 'null', not 'zero'"),
        (postgres(table="t", port="high"), "expected an integer, not a string"),
        (postgres(table="t", properties={"ssl": []}), "expected a string"),
        (
            postgres(table="t", properties={"user": "me"}),
            "'user' has a key of its own, 'username', beside 'properties'",
        ),
        (
            postgres(table="t", properties={"ssl mode": "prefer"}),
            "'ssl mode' is no name of a property: expected letters, digits, '.', '_' and '-'",
        ),
        (
            postgres(table="t", properties={"querytimeout": 5}),
            "'querytimeout' is an option of Spark's, and 'properties' are the JDBC driver's",
        ),
        (
            postgres(table="t", credentialType="s3"),
            "'fromPostgres' takes credentials of type postgres or postgresql, not s3",
        ),
        (postgres(table="t", pasword="x"), "unknown key 'pasword' (did you mean 'password'?)"),
        (kafka(minPartitions=1), "one of 'topic' and 'topicPattern' is required"),
        (kafka(topic="a", topicPattern="b"), "'topic' and 'topicPattern' are mutually exclusive"),
        (kafka(topic=[]), "expected at least 1, found 0"),
        (kafka(topic="a b"), "'a b' is not a topic name: expected letters, digits, '.', '_' and '-', at most 249"),
        (kafka(topic="a", startingOffsets="first"), "expected 'earliest', 'latest' or offsets by topic and partition"),
        (kafka(topic="a", startingOffsets={"a": 3}), "expected an offset for each partition of 'a'"),
        (kafka(topic="a", startingOffsets={"a": {"p": 3}}), "'p' of 'a' is not a partition number"),
        (
            kafka(topic="a", startingOffsets={"a": {"0": -3}}),
            "the offset of 'a', partition 0, is not a number of -2 (earliest) or more",
        ),
        (kafka(topic="a", startingOffsets={"b": {"0": 3}}), "'startingOffsets' names topics that are not read: b"),
        (kafka(topic="a", endingOffsets="earliest"), "'endingOffsets' can't be earliest: nothing would be read"),
        (kafka(topic="a", endingOffsets={"a": {"0": -2}}), "'endingOffsets' can't be earliest: nothing would be read"),
        (
            kafka(topic="a", startingOffsets="latest"),
            "a batch that starts at the latest offset reads nothing; leave it out",
        ),
        (kafka(topic="a", valueFormat="json"), "'valueFormat' json needs a 'valueSchema'"),
        (kafka(topic="a", valueFormat="avro"), "'valueFormat' avro needs a 'valueSchema'"),
        (kafka(topic="a", valueSchema="id INT"), "'valueSchema' needs 'valueFormat' json, avro or debezium"),
        (kafka(topic="a", valueFormat="json", valueSchema="id INTT"), "expected a schema in Spark DDL"),
        (kafka(topic="a", valueFormat="avro", valueSchema="id INT"), "the Avro schema is not JSON: "),
        (
            kafka(topic="a", valueFormat="string", valueFraming="confluent"),
            "'valueFraming' needs 'valueFormat' json, avro or debezium",
        ),
        (
            kafka(topic="a", valueFormat="avro", valueSchema={}, valueFraming="confluent"),
            "'valueFraming' confluent needs 'schemaRegistry' or 'writerSchemas' for avro",
        ),
        (kafka(topic="a", valueFormat="avro"), "'valueFormat' avro needs a 'valueSchema' or a 'schemaRegistry'"),
        (kafka(topic="a", schemaRegistry={}), "'schemaRegistry' needs 'valueFormat' avro or debezium"),
        (
            kafka(topic="a", valueFormat="avro", valueSchema={}, schemaRegistry={"version": 2}),
            "'valueSchema' says what the columns are, so leave out 'version' in 'schemaRegistry'",
        ),
        (
            kafka(topic="a", valueFormat="avro", schemaRegistry={"url": "localhost:8081"}),
            "expected a URL that begins with http:// or https://",
        ),
        (
            kafka(topic="a", valueFormat="avro", schemaRegistry={"url": "http://u:secret@localhost:8081"}),
            "the login is no part of the URL",
        ),
        (
            kafka(topicPattern="a.*", valueFormat="avro", schemaRegistry={}),
            "'schemaRegistry' needs a 'subject' beside 'topicPattern'",
        ),
        (
            kafka(topic="a", valueFormat="avro", valueSchema={}, writerSchemas={"1": {}}),
            "'writerSchemas' needs 'valueFormat' avro and 'valueFraming' confluent",
        ),
        (
            kafka(topic="a", valueFormat="avro", valueSchema={}, valueFraming="confluent", writerSchemas={"one": {}}),
            "'one' is not a schema id, which is a number",
        ),
        (
            kafka(topic="a", valueFormat="avro", valueSchema={}, valueFraming="confluent", writerSchemas={"1": "{"}),
            "the Avro schema is not JSON: ",
        ),
        (kafka(topic="a", tombstones="ignore"), "expected 'keep' or 'drop', not 'ignore'"),
        (kafka(topic="a", Foo=[1]), "unknown key 'Foo'"),
        (
            kafka(topic="a", **{"bootstrap.server": "b:9092"}),
            "unknown key 'bootstrap.server' (did you mean 'bootstrap.servers'?)",
        ),
        (kafka(topic="a", **{"ssl.keystore.password": [1]}), "expected a string, not a list"),
        (extract("fromS3", bucket="s3://b", path="in", format="csv"), "must match "),
        (
            extract("fromS3", bucket="b", path="in", format="csv", accessKeyId="AKIA"),
            "'accessKeyId' and 'secretAccessKey' go together",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(step: Json, message: str):
    found = messages_of(pipeline(step))
    assert len(found) == 1, found
    assert found[0].startswith(message)


def test_a_mistake_between_two_keys_points_at_one_of_them():
    (problem,) = problems_of(pipeline(postgres(table="t", query="SELECT 1")))
    assert problem.source_line == '        "query": "SELECT 1"'


def test_a_stream_may_start_at_the_latest_offset():
    assert read_step(kafka(topic="a", startingOffsets="Latest"), mode="streaming").starting_offsets == "latest"


def test_offsets_may_be_an_object_or_its_json():
    as_object = read_step(kafka(topic="a", startingOffsets={"a": {"0": 23}})).starting_offsets
    assert read_step(kafka(topic="a", startingOffsets='{"a":{"0":23}}')).starting_offsets == as_object


def test_a_query_may_be_of_the_databases_own_sql():
    assert read_step(postgres(query="SELECT DISTINCT ON (a) a, b::jsonb ->> 'c' FROM t;")).query.endswith("FROM t")
    assert read_step(extract("fromMySQL", query="SELECT `a` FROM t LIMIT 5, 10")).query


def location(step: Json) -> str:
    return read_step(step).dataset().location


def test_a_table_is_one_dataset_however_it_is_spelled():
    spellings = ["flights", "Flights", "public.flights", '"flights"', 'PUBLIC."flights"']
    assert {location(postgres(table=table, database="shop")) for table in spellings} == {
        "postgres://localhost:5432/shop/public.flights",
    }
    assert location(postgres(table='"Flights"', database="shop")).endswith("/public.Flights")
    assert location(extract("fromMySQL", table="shop.orders")) == "mysql://localhost:3306/shop/orders"
    assert location(extract("fromMySQL", table="`orders`", database="shop")) == "mysql://localhost:3306/shop/orders"


def test_a_query_of_one_table_reads_the_dataset_of_that_table():
    table = location(postgres(table="flights", database="shop"))
    assert location(postgres(query="WITH f AS (SELECT * FROM Flights) SELECT * FROM f", database="shop")) == table
    assert location(postgres(query="SELECT * FROM b JOIN a USING (id)")) == (
        "postgres://localhost:5432/public.a+public.b"
    )
    assert location(postgres(query="SELECT 1")) == "postgres://localhost:5432/query"


def test_a_server_that_only_vault_knows_is_named_by_its_secret_however_that_is_spelled():
    api, logical = (location(postgres(table="t", credentialPath=f"secret/{path}")) for path in ("data/pg", "pg"))
    assert api == logical == "postgres://secret/pg/public.t"


def test_a_server_that_only_the_environment_knows_is_named_by_its_variable():
    assert location(postgres(table="t", host="${env:PG_HOST:-db}")) == "postgres://pg_host:5432/public.t"


@pytest.mark.parametrize(
    ("method", "variables", "uri"),
    [
        ("Postgres", {"PGHOST": "db.example"}, "postgres://pghost:5432/public.t"),
        (
            "Postgres",
            {"PGHOST": "db.example", "PGPORT": "6543", "PGDATABASE": "shop"},
            "postgres://pghost:6543/PGDATABASE/public.t",
        ),
        ("MySQL", {"MYSQL_HOST": "db.example", "MYSQL_DATABASE": "stock"}, "mysql://mysql_host:3306/MYSQL_DATABASE/t"),
    ],
)
def test_a_server_that_a_variable_of_the_systems_own_names_is_not_called_localhost(
    method: str, variables: dict[str, str], uri: str, monkeypatch: pytest.MonkeyPatch
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert location(extract(f"from{method}", table="t")) == uri
    assert location(load(f"to{method}", table="t")) == uri
    # What the step says itself wins, and a secret that does not say leaves it to Vault.
    assert "//here:" in location(extract(f"from{method}", table="t", host="here"))
    assert "//secret/db" in location(extract(f"from{method}", table="t", credentialPath="secret/db"))


def test_what_is_written_and_what_is_read_is_one_dataset():
    assert location(postgres(table="t")) == location(load("toPostgres", table="public.T"))
    servers = {"bootstrap.servers": "B2:9092, b1:9092"}
    assert location(kafka(topic="t", **servers)) == location(
        load("toKafka", topic="t", **{"bootstrap.servers": "b1:9092,b2:9092"}),
    )
    s3 = {"bucket": "lake", "path": "/in//flights/", "format": "csv"}
    assert read_step(extract("fromS3", **s3)).dataset() == read_step(load("toS3", **s3)).dataset()
    assert read_step(extract("fromS3", **s3)).dataset() == (
        read_step(extract(path="s3a://lake/in/flights", format="csv")).dataset()
    )


@pytest.mark.parametrize(
    ("step", "key"),
    [
        (postgres(table="flights", host="db", database="shop"), ("postgres", "db", "5432", "shop", "public_flights")),
        (load("toMySQL", table="shop.t"), ("mysql", "localhost", "3306", "shop", "t")),
        (kafka(topic="flights", **KAFKA), ("kafka", "localhost", "9092", "flights")),
        (kafka(topic="a,b", credentialPath="secret/data/kafka"), ("kafka", "secret", "kafka", "a_b")),
        (load("toS3", bucket="lake", path="out", format="csv"), ("s3", "lake", "out")),
    ],
)
def test_a_dataset_is_named_by_system_and_place(step: Json, key: tuple[str, ...]):
    assert read_step(step).dataset().key == key


def test_inline_credentials_are_legible_to_the_system_alone():
    inline = {
        "host": "db",
        "port": "5433",
        "username": "reader",
        "password": "sesame-open",
        "properties": {"sslpassword": "sesame-key", "ssl": True},
    }
    config = read_step(postgres(table="t", **inline))
    assert config.inline_credentials() == {
        "host": "db",
        "port": 5433,
        "username": "reader",
        "password": "sesame-open",
        "properties": {"sslpassword": "sesame-key", "ssl": "true"},
    }
    assert "sesame" not in repr(config) + str(config.as_config())


def test_kafka_client_properties_are_taken_under_their_own_names_or_sparks():
    config = read_step(kafka(topic="t", **{"kafka.acks": "all", "ssl.truststore.type": "PEM", **KAFKA}))
    assert config.inline_credentials() == {
        "acks": "all",
        "ssl.truststore.type": "PEM",
        "bootstrap.servers": "localhost:9092",
    }
