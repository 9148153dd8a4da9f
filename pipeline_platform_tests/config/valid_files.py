"""Valid pipelines that between them use every method and most keys, with the spellings that old files have."""

from __future__ import annotations

from typing import Any

from pipeline_platform_tests.config.reading import Json, extract, load, pipeline, transform, validate

_S3 = {"credentialPath": "secret/data/s3", "credentialType": "aws"}

FILES: list[Json] = [
    pipeline(
        extract(path="in", format="CSV", header="true", inferSchema=False, delimiter=";", registerAs="flights"),
        extract("fromFiles", path="planes", format="json", multiLine="TRUE", schema="id BIGINT, name STRING"),
        extract("fromDeltaLake", path="s3a://lake/airports", version="3", registerAs="airports", **_S3),
        extract("fromAvro", path="planes", avroSchema={"type": "record", "name": "p", "fields": []}),
        extract("fromRate", rowsPerSecond="10", cache="true", cacheStorageLevel="MEMORY_AND_DISK_SER"),
        transform("filterRows", condition="delay > ${env:LIMIT:-15}", input="flights", registerAs="late"),
        transform("enrichData", columns={"hours": "delay / 60", "half": "hours / 2"}),
        transform(
            "joinDataFrames",
            inputDataFrames=["late", "airports"],
            joinConditions=["late.dest = airports.faa"],
            joinType="LEFT_OUTER",
            broadcast="airports",
        ),
        transform("aggregateData", groupBy=["origin"], aggregations={"delay": "mean", "n": "count(*)"}),
        transform("reshapeData", operation="pivot", pivotColumn="month", groupByColumns=["origin"]),
        transform("unionDataFrames", inputDataFrames=["flights", "late"], distinct="false"),
        transform("toAvroSchema", namespace="com.flights", name="Flight"),
        transform("repartition", numPartitions="8", columns=["origin"]),
        transform("coalesceData", numPartitions=2),
        transform("repartitionByColumns", columns="origin"),
        transform("sqlQuery", query="SELECT origin, count(*) AS n FROM flights GROUP BY origin", registerAs="counts"),
        transform("deduplicate", columns=["origin"], orderBy="delay DESC"),
        validate("validateSchema", expectedColumns=[{"name": "origin", "type": "string", "nullable": "true"}]),
        validate("validateNulls", notNullColumns="origin", onFailure="WARN", tolerance=0.05),
        validate("validateRanges", ranges={"delay": {"min": -60, "max": 1500.5}}, onFailure="quarantine"),
        validate(
            "validateReferentialIntegrity",
            foreignKey="dest",
            referencedDataFrame="airports",
            referencedColumn="faa",
            tolerance="3",
        ),
        validate("validateBusinessRules", rules=["delay < 9999", {"name": "has carrier", "rule": "carrier <> ''"}]),
        validate("validateValues", values={"origin": ["JFK", "LGA"], "delay": {"forbidden": [9999, "9998.5"]}}),
        validate("validatePatterns", patterns={"tail": "^N[0-9]{3,5}", "dest": "${env:PATTERN:-[A-Z]}"}),
        validate("validateLengths", lengths={"dest": {"min": "3", "max": 3}}),
        validate("validateFreshness", column="time", maxAge="36 Hours", allowEmpty="true", onFailure="warn"),
        validate(
            "validateStatistics", columns={"delay": {"mean": {"max": "60.5"}, "quantiles": {"0.99": {"max": 600}}}}
        ),
        validate("validateTotals", referencedDataFrame="airports", rows="true", sums={"delay": "alt"}, maxDifference=1),
        validate("validateRowCountChange", maxDecrease="0.5", last="14"),
        validate("validateUnique", columns=["origin"], sensitiveColumns=["tail"]),
        validate("validateRowCount", min="1", max=None),
        load(path="out/${env:STAGE:-dev}", mode="MERGE", mergeKeys="origin", mergeSchema="true"),
        load("toFiles", path="out/csv", format="csv", mode="errorifexists", partitionBy="origin", compression="gzip"),
        load("toAvro", path="out/avro", mode="Overwrite", avroSchema='{"type": "string"}'),
        description="Flights of 2013",
        metadata={"owner": "team:flights", "team": "flights", "version": 2, "tags": ["daily"]},
        schedule="0 6 * * *",
        retry={"maxAttempts": "5", "delaySeconds": "2.5", "backoff": "Exponential"},
        sparkConf={"spark.sql.shuffle.partitions": 8, "spark.sql.ansi.enabled": True},
    ),
    pipeline(
        extract(
            "fromPostgres",
            table="public.flights",
            partitionColumn="id",
            lowerBound="0",
            upperBound=1000,
            numPartitions="4",
            fetchSize="500",
            host="db",
            port="5432",
            database="shop",
            username="reader",
            password="${env:PG_PASSWORD}",
            properties={"ssl": True, "connectTimeout": 10},
        ),
        extract("fromMySQL", query="SELECT `id` FROM `orders` LIMIT 5", credentialPath="secret/mysql"),
        extract("fromS3", bucket="lake", path="/in", format="parquet", **_S3),
        transform(
            "evolveAvroSchema",
            targetSchema={"type": "record", "name": "r", "fields": [{"name": "id", "type": "long"}]},
        ),
        load("toPostgres", table="flights", batchSize="1000", numPartitions=2, credentialType="POSTGRESQL"),
        load("toPostgres", table="places", mode="deleteinsert", mergeKeys="origin", credentialPath="secret/postgres"),
        load("toMySQL", table="shop.flights", mode="ignore", credentialPath="secret/mysql"),
        load(
            "toS3",
            bucket="lake",
            path="out",
            format="orc",
            accessKeyId="${env:AWS_ID}",
            secretAccessKey="${env:AWS_KEY}",
            pathStyleAccess="true",
            endpoint="http://localhost:7070",
        ),
    ),
    pipeline(
        extract(
            "fromKafka",
            topic="orders",
            valueFormat="Avro",
            valueFraming="confluent",
            schemaRegistry={"url": "http://localhost:8081", "subject": "orders", "version": "3"},
            **{"bootstrap.servers": "localhost:9092", "schema.registry.basic.auth.user.info": "${env:REGISTRY_LOGIN}"},
        ),
        load(
            "toKafka",
            topic="copies",
            credentialPath="secret/kafka",
            valueFormat="avro",
            schemaRegistry={"subject": "copies", "autoRegister": "false"},
        ),
    ),
    pipeline(
        extract(
            "fromKafka",
            topic=["flights", "weather"],
            startingOffsets={"flights": {"0": 23, "1": -2}},
            failOnDataLoss="false",
            maxOffsetsPerTrigger="1000",
            valueFormat="json",
            valueSchema="origin STRING, delay INT",
            valueFraming="Confluent",
            tombstones="DROP",
            onMalformed="quarantine",
            **{
                "bootstrap.servers": "localhost:9092",
                "security.protocol": "SASL_SSL",
                "sasl.jaas.config": "${env:JAAS}",
                "kafka.request.timeout.ms": 3000,
            },
        ),
        extract(
            "fromKafka",
            topicPattern="fl.*",
            minPartitions=2,
            credentialPath="secret/kafka",
            valueFormat="avro",
            valueFraming="confluent",
            valueSchema={"type": "record", "name": "F", "fields": [{"name": "a", "type": "long"}]},
            writerSchemas={"17": {"type": "record", "name": "F", "fields": [{"name": "a", "type": "int"}]}},
        ),
        transform(
            "aggregateData",
            groupBy="origin",
            aggregations={"delay": "avg"},
            watermark={"column": "timestamp", "delay": "10 minutes"},
            window={"column": "timestamp", "duration": "5 minutes", "slide": "1 minute"},
        ),
        load("toKafka", topic="delays", keyColumn="origin", outputMode="Update", trigger="availableNow"),
        load(path="out", checkpointLocation="checkpoints/delays", queryName="delays", trigger="availableNow"),
        mode="streaming",
        schedule="@hourly",
        streaming={"maxRestarts": "3", "stallTimeoutSeconds": 60, "checkpointRoot": "${env:ROOT:-checkpoints}"},
    ),
]

FOR_EACH: Json = pipeline(
    extract(path="in/${var:table}", format="csv"),
    transform("filterRows", condition="${var:key} IS NOT NULL"),
    load(path="out/${var:table}"),
    name="mirror_${var:table}",
    description="${var:table} by ${var:key}",
    schedule="${var:minute} 6 * * *",
    metadata={"owner": "team:${var:key}", "tags": ["${var:table}"]},
    variables={"table": {}, "key": {"default": "id"}, "minute": {"type": "integer"}, "since": {"default": "2024"}},
    forEach=[{"table": "orders", "minute": 5}, {"table": "customers", "key": "name", "minute": 20}],
)
"""A file that makes two pipelines."""


def steps_of(file: Json) -> list[dict[str, Any]]:
    return list(file["steps"])
