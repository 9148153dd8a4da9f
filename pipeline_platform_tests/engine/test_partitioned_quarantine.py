"""What a pipeline with partitions takes out: counted with the partition that it belongs to, and there once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from devtools.pipelines import StepValue, extract, load, pipeline_of, transform, validate
from pipeline_platform.connectors.delta import sink
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.exceptions import ValidationException
from pipeline_platform.metrics.run import RunMetrics
from pipeline_platform.resources.partitions import chosen_partitions

DAILY = {"type": "daily", "start": "2024-01-01", "end": "2024-02-01", "column": "day"}
AMOUNTS: list[tuple[int, str | None, int]] = [
    (1, "2024-01-01", 5),
    (2, "2024-01-01", -1),
    (3, "2024-01-02", -2),
    (4, "2024-01-02", 7),
    (5, None, -3),
]
POSITIVE = validate("validateRanges", ranges={"amount": {"min": 0}}, onFailure="quarantine")

Run = Callable[..., RunMetrics]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "rows.json", AMOUNTS)


def write(path: Path, rows: list[tuple[int, str | None, int]]) -> Path:
    path.write_text("".join(json.dumps({"id": n, "day": day, "amount": amount}) + "\n" for n, day, amount in rows))
    return path


@pytest.fixture
def run(spark: SparkSession, source: Path, tmp_path: Path) -> Run:
    """Run a pipeline with these steps between the source and the table, for a day or a range of days."""

    def once(first: str, *steps: StepValue, last: str | None = None) -> RunMetrics:
        pipeline = pipeline_of(
            [
                extract("fromFiles", path=str(source), format="json", schema="id INT, day DATE, amount INT"),
                *steps,
                load("toDeltaLake", path=str(tmp_path / "out"), mode="overwrite"),
            ],
            partitions=DAILY,
        )
        (partition,) = chosen_partitions(pipeline, first, last or first)
        return BatchRun(pipeline, spark, partition=partition).run()

    return once


def ids(tmp_path: Path, name: str = "out_quarantine") -> list[int]:
    return sorted(DeltaTable(tmp_path / name).to_pyarrow_table()["id"].to_pylist())


def test_a_validation_looks_at_the_rows_of_the_partition_and_at_those_of_none(run: Run, tmp_path: Path):
    done = run("2024-01-01", transform("enrichData", columns={"double": "amount * 2"}), POSITIVE)
    (found,) = [step for step in done.steps if step.type == "validate"]
    assert (found.rows, found.quarantined) == (3, 2)
    assert ids(tmp_path) == [2, 5]
    assert ids(tmp_path, "out") == [1]


def test_a_row_of_another_partition_fails_no_run(run: Run):
    strict = validate("validateRanges", ranges={"amount": {"min": -1}})
    with pytest.raises(ValidationException, match="2 of 3 rows"):
        run("2024-01-02", strict)
    with pytest.raises(ValidationException, match="1 of 3 rows"):
        run("2024-01-01", strict)


def test_a_partition_that_is_loaded_again_has_its_quarantined_rows_once(run: Run, source: Path, tmp_path: Path):
    # Two steps, with one table for both.
    even = validate("validateBusinessRules", rules=["id % 2 = 1"], onFailure="quarantine")
    steps = [POSITIVE, transform("filterRows", condition="id < 9"), even]
    for day in ("2024-01-01", "2024-01-02", "2024-01-02"):
        run(day, *steps)
    # The row without a day belongs to none, and so to each run that found it.
    assert ids(tmp_path) == [2, 3, 4, 5, 5]
    write(source, [(1, "2024-01-01", -1), (2, "2024-01-01", 1), (3, "2024-01-02", -2), (6, "2024-01-01", -9)])
    run("2024-01-01", *steps)
    assert ids(tmp_path) == [1, 2, 3, 4, 5, 6]
    run("2024-01-01", *steps, last="2024-01-31")
    assert ids(tmp_path) == [1, 2, 3, 5, 6]


def test_before_a_join_all_rows_are_looked_at_and_each_partition_has_its_own(run: Run, tmp_path: Path):
    total = transform("sqlQuery", query="SELECT *, sum(amount) OVER () AS total FROM amounts")
    register = transform("enrichData", columns={"double": "amount * 2"}, registerAs="amounts")
    for day in ("2024-01-01", "2024-01-02", "2024-01-02"):
        run(day, register, POSITIVE, total)
    # No row that breaks the rule is in any total.
    assert DeltaTable(tmp_path / "out").to_pyarrow_table()["total"].to_pylist() == [12, 12]
    rows = DeltaTable(tmp_path / "out_quarantine").to_pyarrow_table().select(["_partition", "id"]).to_pylist()
    assert sorted(tuple(row.values()) for row in rows) == [
        (day, n) for day in ("2024-01-01", "2024-01-02") for n in (2, 3, 5)
    ]


def test_records_that_can_not_be_read_are_there_once_however_often_their_partition_is_loaded(
    spark: SparkSession, tmp_path: Path
):
    (tmp_path / "rows.csv").write_text("1,2024-01-01\nx,y\n2,2024-01-02\n")
    steps = [
        extract(
            "fromFiles",
            path=str(tmp_path / "rows.csv"),
            format="csv",
            schema="id INT, day DATE",
            onMalformed="quarantine",
        ),
        load("toDeltaLake", path=str(tmp_path / "out"), mode="overwrite"),
    ]
    pipeline = pipeline_of(steps, partitions=DAILY)
    for day in ("2024-01-02", "2024-01-02"):
        (partition,) = chosen_partitions(pipeline, day, day)
        done = BatchRun(pipeline, spark, partition=partition).run()
        assert done.steps[0].quarantined == 1
    kept = DeltaTable(tmp_path / "out_quarantine").to_pyarrow_table()["_partition"].to_pylist()
    assert kept == ["2024-01-02"]


def test_what_the_last_version_kept_stays(run: Run, tmp_path: Path):
    run("2024-01-01", POSITIVE)
    old = DeltaTable(tmp_path / "out_quarantine").to_pyarrow_table().drop_columns(["_step", "_partition"])
    write_deltalake(tmp_path / "out_quarantine", old, mode="overwrite", schema_mode="overwrite")
    for _ in range(2):
        run("2024-01-01", POSITIVE)
    assert ids(tmp_path) == [2, 2, 5, 5]


def test_a_table_that_another_partition_makes_meanwhile_keeps_its_rows(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run("2024-01-01")
    looked: list[Any] = []
    opened = sink.open_table

    def not_there_yet(place: Any) -> Any:
        # When the frame is held against it, and before it is written, the other run has not committed yet.
        looked.append(place)
        return None if len(looked) <= 2 else opened(place)

    monkeypatch.setattr(sink, "open_table", not_there_yet)
    run("2024-01-02")
    assert ids(tmp_path, "out") == [1, 2, 3, 4]
