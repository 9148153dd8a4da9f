"""What `check` accepts of mutated pipelines is planned, or refused in a sentence.

The number comes from `MUTATED_PLANS`; before a release it should be 200.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from pipeline_platform.cli import app
from pipeline_platform.config.loader import parse_pipeline
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.config.reading import extract, load, pipeline, transform, validate
from pipeline_platform_tests.mutated import TABLES, mutated_texts

ROWS = pa.table(
    {
        "id": pa.array([1, 2], pa.int64()),
        "name": pa.array(["one", "two"]),
        "at": pa.array([0, 0], pa.timestamp("us", "UTC")),
        "amount": pa.array([1.5, 2.5]),
        "value": pa.array([1, 2], pa.int64()),
        "timestamp": pa.array([0, 0], pa.timestamp("us", "UTC")),
    }
)
"""What the tables hold that mutated pipelines read and write: all that the pipelines look for."""
COUNT = int(os.environ.get("MUTATED_PLANS", "10"))
NOT_FOR_PEOPLE = ("Traceback", "An error occurred while calling", "Py4J", "java.lang.", "NoneType", "object at 0x")
"""None of these stands in an error that somebody can act on."""

FILES: list[Any] = [
    pipeline(
        extract(path="in/a.csv", format="csv", registerAs="a"),
        extract(path="in/b.json", format="json", schema="id BIGINT, at TIMESTAMP, amount DOUBLE", registerAs="b"),
        transform("joinDataFrames", inputDataFrames=["a", "b"], joinConditions=["a.id = b.id"], joinType="left"),
        transform("enrichData", columns={"total": "amount * 2", "day": "CAST(at AS DATE)"}),
        validate("validateNulls", notNullColumns=["id"], onFailure="warn"),
        validate("validateRanges", ranges={"total": {"min": 0, "max": 10.5}}, onFailure="quarantine"),
        validate("validateReferentialIntegrity", foreignKey="id", referencedDataFrame="b", referencedColumn="id"),
        load("toFiles", path="out/files", format="parquet", partitionBy="day"),
        load(path="out/table", mode="merge", mergeKeys=["id"]),
    ),
    pipeline(
        extract("fromRate", rowsPerSecond=10),
        transform("filterRows", condition="value % 2 = 0 AND timestamp IS NOT NULL"),
        transform("aggregateData", groupBy=["value"], aggregations={"timestamp": "max", "n": "count(*)"}),
        transform("repartition", numPartitions=2, columns=["value"]),
        transform("deduplicate", columns=["value"], orderBy="n DESC"),
        validate("validateUnique", columns=["value"]),
        validate("validateSchema", expectedColumns=[{"name": "value", "type": "bigint"}]),
        validate("validateBusinessRules", rules=["n > 0", {"name": "small", "rule": "value < 1000"}]),
        validate("validateRowCount", min=1),
        load(path="out/counts", mode="overwrite", partitionBy=["n"]),
        sparkConf={"spark.sql.shuffle.partitions": 3},
    ),
    pipeline(
        extract(path="in/a.csv", format="csv", schema="id INT, name STRING", registerAs="a"),
        extract(path="in/b.json", format="json", registerAs="b"),
        transform("sqlQuery", query="SELECT a.name, sum(b.amount) AS amount FROM a JOIN b USING (id) GROUP BY a.name"),
        transform("reshapeData", operation="pivot", pivotColumn="name", groupByColumns=["amount"]),
        transform("unionDataFrames", inputDataFrames=["a", "b"], allowMissingColumns=True),
        transform("coalesce", numPartitions=1),
        transform("toAvroSchema", namespace="com.flights", name="Flight"),
        load("toAvro", path="out/avro", mode="overwrite"),
    ),
    pipeline(
        extract("fromRate", rowsPerSecond=1),
        transform("enrichData", columns={"even": "value % 2 = 0"}),
        validate("validateNulls", notNullColumns="even", onFailure="quarantine"),
        load(path="out/stream", checkpointLocation="out/checkpoint", trigger="5 seconds"),
        mode="streaming",
    ),
]


def is_local(read: PipelineConfig) -> bool:
    """Whether no step asks a server, which would only be waited for."""
    kinds = {step.config.kind for step in read.steps}
    written = str([step.config.as_config() for step in read.steps])
    return kinds <= {"spark", "file", "deltalake", "avro"} and "://" not in written


def test_mutated_pipelines_are_planned_or_refused_in_a_sentence(
    tmp_path: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/a.csv").write_text("id,name\n1,one\n2,two\n")
    Path("in/b.json").write_text('{"id": 1, "at": "2026-01-01T00:00:00", "amount": 1.5}\n')
    for table in TABLES:
        write_deltalake(table, ROWS)
    planned: list[str] = []
    cli = CliRunner()
    for index, text in enumerate(mutated_texts(FILES, 20 * COUNT, "plans")):
        try:
            if not is_local(parse_pipeline(text, method_registry())):
                continue
        except PipelineConfigurationException:
            continue
        path = Path(f"{index}.json")
        path.write_text(text, encoding="utf-8")
        result = cli.invoke(app, ["check", "--plan", str(path)])
        planned.append(result.output)
        told = f"{path}: {text}\n{result.output}{result.exception!r}"
        assert result.exit_code in (0, 1), told
        assert result.exception is None or isinstance(result.exception, SystemExit), told
        assert (result.exit_code == 1) == ("error" in result.output.split("\n")[-2:][0]), told
        assert not any(mark in result.output for mark in NOT_FOR_PEOPLE), told
        if len(planned) == COUNT:
            break
    assert len(planned) == COUNT
    assert not Path("out").exists()
