"""Buckets, both ways, on a real store; what is in them is written and read by AWS's own client, DuckDB and delta-rs."""

from __future__ import annotations

import http.client
import io
import itertools
import json
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import fastavro
import pyarrow.orc
import pyarrow.parquet
import pytest
from deltalake import DeltaTable
from pydantic import SecretStr
from pyspark.sql import SparkSession

from devtools.pipelines import (
    StepValue,
    extract,
    json_rows,
    last_step,
    load,
    pipeline_of,
    run,
    transform,
    validate,
)
from devtools.services.http import serving
from devtools.services.process import free_port
from devtools.services.s3 import S3Server, delta_rs_options
from pipeline_platform.connectors.storage.credentials import S3Credentials
from pipeline_platform.connectors.storage.location import place_of
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.batch import BatchRun
from pipeline_platform.engine.failures import is_transient
from pipeline_platform.engine.streaming.checkpoint_place import places_of, reset_checkpoint
from pipeline_platform.engine.streaming.stream import StreamRun
from pipeline_platform.exceptions import CredentialException, PipelineException, PipelineExecutionException

_numbers = itertools.count(1)
SCHEMA = "id BIGINT, kind STRING, amount DOUBLE"
ROWS: list[dict[str, Any]] = [
    {"id": number, "kind": "ab"[number % 2], "amount": None if number == 3 else number / 4} for number in range(20)
]


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """A bucket of the root user's."""
    name = f"lake-{next(_numbers)}"
    s3.make_bucket(name)
    return name


@pytest.fixture
def rows(tmp_path: Path) -> StepValue:
    return json_rows(tmp_path / "rows.json", ROWS, SCHEMA)


def to_s3(keys: dict[str, Any], bucket: str, path: str = "out", **config: Any) -> StepValue:
    return load("toS3", **{"bucket": bucket, "path": path, "format": "parquet", **keys, **config})


def from_s3(keys: dict[str, Any], bucket: str, path: str = "out", **config: Any) -> StepValue:
    return extract("fromS3", **{"bucket": bucket, "path": path, "format": "parquet", **keys, **config})


def data_keys(s3: S3Server, bucket: str, prefix: str = "out/") -> list[str]:
    return [key for key in s3.keys(bucket, prefix) if "/_" not in key]


def bodies(s3: S3Server, bucket: str) -> list[bytes]:
    return [s3.client().get_object(Bucket=bucket, Key=key)["Body"].read() for key in data_keys(s3, bucket)]


def read_by_others(file_format: str, body: bytes, folder: Path) -> list[dict[str, Any]]:
    """The rows of an object, read by something that is not Spark."""
    match file_format:
        case "parquet":
            return pyarrow.parquet.read_table(io.BytesIO(body)).to_pylist()
        case "orc":
            return pyarrow.orc.read_table(io.BytesIO(body)).to_pylist()
        case "avro":
            return list(fastavro.reader(io.BytesIO(body)))  # pyright: ignore[reportReturnType]
        case _:
            file = folder / f"object.{file_format}"
            file.write_bytes(body)
            columns = "{id: 'BIGINT', kind: 'VARCHAR', amount: 'DOUBLE'}"
            found = duckdb.connect().sql(f"SELECT * FROM read_{file_format}('{file}', columns={columns})")
            return found.to_arrow_table().to_pylist()


def table_of(uri: str, keys: dict[str, Any]) -> DeltaTable:
    return DeltaTable(uri, storage_options=delta_rs_options(keys))


def by_id(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: row["id"])


@pytest.mark.parametrize("file_format", ["parquet", "orc", "avro", "csv", "json"])
def test_every_format_goes_there_and_back(
    spark: SparkSession, s3: S3Server, bucket: str, rows: StepValue, tmp_path: Path, file_format: str
):
    keys = s3.credentials()
    run(spark, rows, to_s3(keys, bucket, "/out", format=file_format))
    found = [row for body in bodies(s3, bucket) for row in read_by_others(file_format, body, tmp_path)]
    assert by_id(found) == ROWS
    schema = {"schema": SCHEMA} if file_format in ("csv", "json") else {}
    source = from_s3(keys, bucket, format=file_format, **schema)
    run(spark, source, load("toDeltaLake", path=str(tmp_path / "back")))
    assert by_id(DeltaTable(tmp_path / "back").to_pyarrow_table().to_pylist()) == ROWS


def test_files_are_partitioned_and_compressed_as_said(spark: SparkSession, s3: S3Server, bucket: str, rows: StepValue):
    run(spark, rows, to_s3(s3.credentials(), bucket, partitionBy="kind", compression="zstd"))
    assert {key.split("/")[1] for key in data_keys(s3, bucket)} == {"kind=a", "kind=b"}
    file = pyarrow.parquet.ParquetFile(io.BytesIO(bodies(s3, bucket)[0]))
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_two_buckets_are_entered_with_two_secrets_in_one_pipeline(spark: SparkSession, s3: S3Server, rows: StepValue):
    number = next(_numbers)
    one = s3.make_owner(f"one-{number}", f"one{number}", "sesame+one/=&")
    two = s3.make_owner(f"two-{number}", f"two{number}", "sesame+two/=&")
    run(spark, rows, to_s3(one, f"one-{number}"))
    run(spark, from_s3(one, f"one-{number}"), to_s3(two, f"two-{number}"))
    found = [row for body in bodies(s3, f"two-{number}") for row in read_by_others("parquet", body, Path())]
    assert by_id(found) == ROWS
    # Both were entered rightly in this process, which must help nobody who has the wrong key.
    for reading, writing in ((two, two), (one, one), (one, {**two, "secretAccessKey": "sesame-wrong"})):
        with pytest.raises(CredentialException, match=r"denies|does not accept"):
            run(spark, from_s3(reading, f"one-{number}"), to_s3(writing, f"two-{number}", "more"))
    assert s3.keys(f"two-{number}", "more") == []


def test_a_bucket_is_entered_with_the_key_of_the_step_though_another_entered_it_before(
    spark: SparkSession, s3: S3Server, rows: StepValue, tmp_path: Path
):
    number = next(_numbers)
    bucket, owner = f"left-{number}", s3.make_owner(f"left-{number}", f"left{number}", "sesame-left")
    run(spark, rows, to_s3(owner, bucket))
    s3.remove_user(f"left{number}")
    run(spark, from_s3(s3.credentials(), bucket), load("toDeltaLake", path=str(tmp_path / "back")))
    assert by_id(DeltaTable(tmp_path / "back").to_pyarrow_table().to_pylist()) == ROWS


def test_delta_on_s3_takes_every_mode(spark: SparkSession, s3: S3Server, bucket: str, rows: StepValue, tmp_path: Path):
    keys, uri = s3.credentials(), f"s3://{bucket}/table"

    def write(source: StepValue, **config: Any) -> DeltaTable:
        run(spark, source, load("toDeltaLake", path=uri, **config, **keys))
        return table_of(uri, keys)

    assert by_id(write(rows, mode="errorIfExists").to_pyarrow_table().to_pylist()) == ROWS
    assert write(rows, mode="append").to_pyarrow_table().num_rows == 2 * len(ROWS)
    assert write(rows, mode="ignore").version() == 1
    with pytest.raises(PipelineExecutionException, match="errorIfExists"):
        write(rows, mode="errorIfExists")
    for _ in range(2):
        assert by_id(write(rows, mode="overwrite").to_pyarrow_table().to_pylist()) == ROWS
    changed = [{"id": 0, "kind": "z", "amount": 9.0}, {"id": 99, "kind": "z", "amount": 9.0}]
    merged = write(json_rows(tmp_path / "new.json", changed, SCHEMA), mode="merge", mergeKeys="id")
    assert by_id(merged.to_pyarrow_table().to_pylist()) == [changed[0], *ROWS[1:], changed[1]]
    run(spark, extract("fromDeltaLake", path=uri, version=0, **keys), load("toDeltaLake", path=str(tmp_path / "back")))
    assert by_id(DeltaTable(tmp_path / "back").to_pyarrow_table().to_pylist()) == ROWS
    run(spark, extract("fromDeltaLake", path=uri, **keys), load("toDeltaLake", path=str(tmp_path / "newest")))
    assert DeltaTable(tmp_path / "newest").to_pyarrow_table().num_rows == len(ROWS) + 1


def test_avro_on_s3_is_entered_with_the_step_s_own_key(
    spark: SparkSession, s3: S3Server, bucket: str, rows: StepValue, tmp_path: Path
):
    keys = s3.credentials()
    run(spark, rows, load("toAvro", path=f"s3a://{bucket}/out", **keys))
    found = [row for body in bodies(s3, bucket) for row in read_by_others("avro", body, tmp_path)]
    assert by_id(found) == ROWS
    run(spark, extract("fromAvro", path=f"s3://{bucket}/out", **keys), load("toDeltaLake", path=str(tmp_path / "back")))
    assert by_id(DeltaTable(tmp_path / "back").to_pyarrow_table().to_pylist()) == ROWS


def test_a_load_that_is_tried_again_is_there_once_and_the_next_one_replaces_it(
    spark: SparkSession, s3: S3Server, bucket: str, rows: StepValue
):
    keys = s3.credentials()
    skipped = [last_step(run(spark, rows, to_s3(keys, bucket), load_id="same")).skipped for _ in range(2)]
    assert skipped[0] is None
    assert skipped[1] is not None
    assert sum(len(read_by_others("parquet", body, Path())) for body in bodies(s3, bucket)) == len(ROWS)
    for kept in (7, 4):
        run(spark, rows, transform("filterRows", condition=f"id < {kept}"), to_s3(keys, bucket, mode="overwrite"))
        found = [row for body in bodies(s3, bucket) for row in read_by_others("parquet", body, Path())]
        assert by_id(found) == ROWS[:kept]
    with pytest.raises(PipelineExecutionException, match="errorIfExists"):
        run(spark, rows, to_s3(keys, bucket, mode="errorIfExists"))
    assert last_step(run(spark, rows, to_s3(keys, bucket, mode="ignore"))).skipped is not None


def test_an_object_is_put_beside_others_with_their_columns_which_are_read_with_the_key_of_the_step(
    spark: SparkSession, s3: S3Server, rows: StepValue, tmp_path: Path
):
    number = next(_numbers)
    bucket, keys = f"beside-{number}", s3.make_owner(f"beside-{number}", f"beside{number}", "sesame-beside")
    run(spark, rows, to_s3(keys, bucket))
    other = json_rows(tmp_path / "other.json", [{"id": 20, "more": "x"}], "id INT, more STRING")
    policy = {"newColumns": "ignore", "missingColumns": "allow", "typeChanges": "widen"}
    run(spark, other, to_s3(keys, bucket, schemaPolicy=policy))
    found = [row for body in bodies(s3, bucket) for row in read_by_others("parquet", body, Path())]
    assert by_id(found) == [*ROWS, {"id": 20, "kind": None, "amount": None}]
    # As an earlier version has left the folder.
    s3.client().delete_object(Bucket=bucket, Key="out/_pipeline_platform/newest.json")
    with pytest.raises(PipelineExecutionException, match=r"'id' is int, and part-.* has it as bigint"):
        run(spark, other, to_s3(keys, bucket))


def test_each_object_is_loaded_once_by_its_name_and_content(
    spark: SparkSession, s3: S3Server, bucket: str, tmp_path: Path
):
    keys, client = s3.credentials(), s3.client()
    source = from_s3(keys, bucket, "i*/day=*", format="csv", schema="id BIGINT", incremental={})
    steps = [source, load("toDeltaLake", path=str(tmp_path / "t"))]

    def put(name: str, number: int) -> None:
        client.put_object(Bucket=bucket, Key=f"in/{name}", Body=f"id\n{number}\n".encode())

    put("day=1/a.csv", 1)
    put("day=1/b 1%20+é.csv", 2)
    assert last_step(run(spark, *steps)).rows == 2
    put("day=2/a.csv", 3)
    # With a later time.
    put("day=1/a.csv", 1)
    assert last_step(run(spark, *steps)).rows == 1
    assert last_step(run(spark, *steps)).skipped == "there is nothing new in the source"
    assert sorted(DeltaTable(tmp_path / "t").to_pyarrow_table()["id"].to_pylist()) == [1, 2, 3]
    put("day=2/a.csv", 4)
    with pytest.raises(
        PipelineExecutionException, match=rf"changed since it was loaded: s3a://{bucket}/in/day=2/a.csv"
    ):
        run(spark, *steps)
    for key in s3.keys(bucket):
        client.delete_object(Bucket=bucket, Key=key)
    assert last_step(run(spark, *steps)).skipped == "there is nothing new in the source"


def test_no_key_is_left_in_the_session(spark: SparkSession, s3: S3Server, bucket: str, rows: StepValue):
    keys = s3.credentials()
    run(spark, rows, to_s3(keys, bucket))
    run(spark, from_s3(keys, bucket), load("toDeltaLake", path=f"s3://{bucket}/table", **keys))
    in_java: Any = spark.sparkContext._jsc
    hadoop = in_java.hadoopConfiguration()
    everywhere = [*spark.sparkContext.getConf().getAll(), *spark.conf.getAll.items()]
    everywhere += [(entry.getKey(), entry.getValue()) for entry in hadoop.iterator()]
    assert len(everywhere) > 100
    assert [name for name, value in everywhere if keys["secretAccessKey"] in str(value)] == []
    assert [name for name, value in everywhere if keys["accessKeyId"] in str(value)] == []


def test_what_breaks_a_rule_is_kept_beside_a_table_on_s3(
    spark: SparkSession, s3: S3Server, bucket: str, rows: StepValue
):
    keys, uri = s3.credentials(), f"s3a://{bucket}/table"
    rule = validate("validateNulls", notNullColumns="amount", onFailure="quarantine")
    run(spark, rows, rule, load("toDeltaLake", path=uri, **keys))
    kept = table_of(f"s3://{bucket}/table_quarantine", keys).to_pyarrow_table().to_pylist()
    loaded = table_of(f"s3://{bucket}/table", keys).to_pyarrow_table().to_pylist()
    assert [row["id"] for row in kept] == [3]
    assert by_id(loaded) == [row for row in ROWS if row["id"] != 3]


def wrong_secret(s3: S3Server, bucket: str) -> StepValue:
    return to_s3({**s3.credentials(), "secretAccessKey": "sesame-wrong"}, bucket)


def no_such_key(s3: S3Server, bucket: str) -> StepValue:
    return to_s3({**s3.credentials(), "accessKeyId": "nobody"}, bucket)


def no_such_bucket(s3: S3Server, bucket: str) -> StepValue:
    return to_s3(s3.credentials(), "lake-nowhere")


def a_bucket_of_somebody_else(s3: S3Server, bucket: str) -> StepValue:
    number = next(_numbers)
    return to_s3(s3.make_owner(f"own-{number}", f"own{number}", "sesame-own"), bucket)


def a_store_that_is_down(s3: S3Server, bucket: str) -> StepValue:
    return to_s3({**s3.credentials(), "endpoint": f"http://127.0.0.1:{free_port()}"}, bucket)


MISTAKES: list[tuple[Callable[[S3Server, str], StepValue], str, bool]] = [
    (wrong_secret, "does not accept the access key", False),
    (no_such_key, "does not accept the access key", False),
    (no_such_bucket, "has no bucket 'lake-nowhere'", False),
    (a_bucket_of_somebody_else, "denies this access key access to the bucket", False),
    (a_store_that_is_down, "does not answer", True),
]


@pytest.mark.parametrize(("mistake", "told", "passes"), MISTAKES, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_wrong_with_a_bucket_is_told_at_planning_and_nothing_is_written(
    spark: SparkSession,
    s3: S3Server,
    bucket: str,
    rows: StepValue,
    tmp_path: Path,
    mistake: Callable[[S3Server, str], StepValue],
    told: str,
    passes: bool,
):
    steps = [rows, load("toDeltaLake", path=str(tmp_path / "out")), mistake(s3, bucket)]
    with pytest.raises(PipelineException) as raised:
        run(spark, *steps, retry={"maxAttempts": 1})
    assert told in raised.value.message
    assert raised.value.hint
    assert raised.value.retryable is passes
    assert raised.value.location is not None
    assert raised.value.location.method == "toS3"
    assert "sesame" not in str(raised.value)
    assert not (tmp_path / "out").exists()
    assert s3.keys(bucket) == []


@contextmanager
def busy_store(endpoint: str, busy: Callable[[], bool]) -> Generator[str]:
    """The URL of a store that answers 503 while it is busy, and hands on to the real one else."""
    real = urlsplit(endpoint).netloc

    class Forward(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if busy():
                self.answer(503, [], b"<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>")
                return
            connection = http.client.HTTPConnection(real)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            self.answer(response.status, response.getheaders(), response.read())
            connection.close()

        def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            length = str(len(body))
            for name, value in headers:
                if name.lower() == "content-length" and self.command == "HEAD":
                    length = value
                elif name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return None

    for method in ("GET", "PUT", "POST", "HEAD", "DELETE"):
        setattr(Forward, f"do_{method}", Forward.forward)
    with serving(Forward) as url:
        yield url


REFUSALS = 15


def test_a_store_that_is_busy_for_a_while_is_waited_for(
    spark: SparkSession, s3: S3Server, bucket: str, rows: StepValue
):
    loading = threading.Event()
    refusals = itertools.count()

    def busy() -> bool:
        # As often as all of one attempt's own tries, so that the run has to try again.
        return loading.is_set() and next(refusals) < REFUSALS

    with busy_store(s3.endpoint, busy) as endpoint:
        steps = rows, to_s3({**s3.credentials(), "endpoint": endpoint}, bucket)
        pipeline = pipeline_of(steps, retry={"maxAttempts": 20, "delaySeconds": 0.5})
        found = BatchRun(pipeline, spark, listener=lambda *_: loading.set()).run()
    assert next(refusals) > REFUSALS
    assert found.attempts > 1
    assert sum(len(read_by_others("parquet", body, Path())) for body in bodies(s3, bucket)) == len(ROWS)


@pytest.mark.parametrize("is_planned", [False, True], ids=["at once", "while loading"])
def test_a_store_that_does_not_answer_is_not_waited_for_longer_than_the_key_says(
    spark: SparkSession, s3: S3Server, bucket: str, rows: StepValue, is_planned: bool
):
    silent, released = threading.Event(), threading.Event()

    def busy() -> bool:
        return silent.is_set() and released.wait()

    with busy_store(s3.endpoint, busy) as endpoint, ExitStack() as stack:
        stack.callback(released.set)
        keys = {**s3.credentials(), "endpoint": endpoint, "timeoutSeconds": 1}
        pipeline = pipeline_of((rows, to_s3(keys, bucket)), retry={"maxAttempts": 1})
        if not is_planned:
            silent.set()
        with pytest.raises(PipelineException) as raised:
            BatchRun(pipeline, spark, listener=lambda *_: silent.set()).run()
    assert raised.value.retryable
    assert "timeoutSeconds" in (raised.value.hint or "")


@pytest.mark.parametrize("config", [{}, {"timestamp": "2024-01-01"}])
def test_a_table_that_is_not_in_the_bucket_is_told_with_what_to_do(
    spark: SparkSession, s3: S3Server, bucket: str, tmp_path: Path, config: dict[str, Any]
):
    missing = extract("fromDeltaLake", path=f"s3://{bucket}/nowhere", **s3.credentials(), **config)
    with pytest.raises(PipelineExecutionException) as raised:
        run(spark, missing, load("toDeltaLake", path=str(tmp_path / "out")))
    assert f"{bucket}/nowhere" in raised.value.message
    assert (raised.value.hint or "").startswith("check the path; if another pipeline creates ")


def test_a_busy_store_that_is_asked_for_one_file_passes_by_itself(s3: S3Server, bucket: str):
    with busy_store(s3.endpoint, lambda: True) as endpoint:
        key = S3Credentials.model_validate({**s3.credentials(), "endpoint": endpoint})
        file = place_of(f"s3://{bucket}/file", key).path()
        with pytest.raises(OSError, match="Service Unavailable") as raised:
            file.exists()
    assert is_transient(raised.value)


@pytest.mark.parametrize("validated", [False, True], ids=["Spark's own sink", "validated"])
def test_a_stream_keeps_its_place_in_a_bucket_entered_with_the_key_of_its_load(
    spark: SparkSession, s3: S3Server, bucket: str, tmp_path: Path, validated: bool
):
    keys = s3.credentials()
    (tmp_path / "in").mkdir()
    # As written, and fixed by the pipeline's name.
    place = "checkpoints/flow" if validated else "checkpoints/tested/stream"
    written = {"checkpointLocation": f"s3a://{bucket}/{place}"} if validated else {}
    sink = load("toDeltaLake", path=f"s3a://{bucket}/out", trigger="availableNow", **written, **keys)
    options = {"checkpointRoot": f"s3a://{bucket}/checkpoints"}
    rules = [validate("validateRanges", ranges={"id": {"max": 5}}, onFailure="quarantine")] if validated else []
    source = extract("fromFiles", path=str(tmp_path / "in"), format="json", schema="id BIGINT, at TIMESTAMP")
    distinct = transform("deduplicate", columns=["id", "at"], watermark={"column": "at", "delay": "1 hour"})
    pipeline = pipeline_of([source, distinct, *rules, sink], mode="streaming", streaming=options)
    for number in range(2):
        ids = (*range(5 * number + 5), 0)
        lines = [json.dumps({"id": number, "at": "2026-11-23T10:00:00Z"}) for number in ids]
        (tmp_path / "in" / f"{number}.json").write_text("\n".join(lines))
        StreamRun(pipeline, spark).run()
    table = DeltaTable(f"s3://{bucket}/out", storage_options=place_of("s3://out", key_of(s3)).delta_rs_options())
    assert sorted(table.to_pyarrow_table()["id"].to_pylist()) == list(range(6 if validated else 10))
    assert any("/state/" in key for key in s3.keys(bucket, f"{place}/"))
    settings = {**dict(spark.sparkContext.getConf().getAll()), **spark.conf.getAll}
    assert not any(s3.secret_access_key in str(value) for value in settings.values())
    place_at = places_of(pipeline, RunCredentials.from_environment("test", pipeline.location))
    [aside] = reset_checkpoint(pipeline, place_at)
    assert s3.keys(bucket, f"{place}/") == []
    assert s3.keys(bucket, f"{place.rpartition('/')[0]}/{aside.rpartition('/')[2]}/")


def key_of(s3: S3Server) -> S3Credentials:
    return S3Credentials.model_validate(s3.credentials())


def test_a_checkpoint_is_not_written_with_the_keys_that_another_step_has_for_its_bucket():
    def settings(access_key_id: str) -> dict[str, str]:
        keys = S3Credentials(access_key_id=SecretStr(access_key_id), secret_access_key=SecretStr("s"))
        return place_of("s3a://kept-for-the-first/x", keys).session_settings()

    first, second = settings("first"), settings("second")
    assert first["fs.s3a.bucket.kept-for-the-first.access.key"] == "first"
    assert "fs.s3a.impl.disable.cache" not in first
    assert second["fs.s3a.bucket.kept-for-the-first.access.key"] == "second"
    assert second["fs.s3a.impl.disable.cache"] == "true"
