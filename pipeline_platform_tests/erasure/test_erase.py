"""`erase`: a person's rows leave every sink of a project, and nothing else does."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from typer.testing import CliRunner, Result

from pipeline_platform.cli import app
from pipeline_platform.connectors.delta.erasing import table as delta_table
from pipeline_platform.connectors.files import committer

KEY = "kEy-00007-zq"
COMMAND = ("erase", "--key", f"customer_id={KEY}")
TABLES = ("orders", "orders_quarantine", "history", "renamed", "totals")


def _step(kind: str, method: str, name: str | None = None, **config: Any) -> dict[str, Any]:
    return {"type": kind, "method": method, "config": config, **({"name": name} if name else {})}


def _write_pipelines(folder: Path) -> None:
    source = _step(
        "extract",
        "fromFiles",
        path="data/orders.csv",
        format="csv",
        schema="customer_id STRING, name STRING, amount INT, day DATE",
    )
    checked = _step("validate", "validateRanges", "checked", ranges={"amount": {"min": 0}}, onFailure="quarantine")
    changes = {"keys": ["customer_id"], "sequenceBy": "amount", "scdType": 2}
    orders = _step("extract", "fromDeltaLake", path="lake/orders") | {
        "config": {"path": "lake/orders", "registerAs": "orders"}
    }
    pipelines: dict[str, list[dict[str, Any]]] = {
        "orders": [
            source,
            checked,
            _step("load", "toDeltaLake", "load", path="lake/orders", mode="merge", mergeKeys=["customer_id"]),
        ],
        "history": [
            source,
            _step(
                "load",
                "toDeltaLake",
                "load",
                path="lake/history",
                mode="applyChanges",
                changes={**changes, "deleteWhen": "amount = 70"},
            ),
        ],
        "exports": [
            source,
            _step("load", "toFiles", "parquet", path="out/parquet", format="parquet", partitionBy=["day"]),
            _step("load", "toFiles", "csv", path="out/csv", format="csv", compression="gzip"),
            _step("load", "toFiles", "json", path="out/json", format="json"),
            _step("load", "toAvro", "avro", path="out/avro"),
        ],
        "renamed": [
            orders,
            _step("transform", "sqlQuery", query="SELECT customer_id AS client, amount FROM orders"),
            _step("load", "toDeltaLake", "load", path="lake/renamed", mode="overwrite"),
        ],
        "totals": [
            orders,
            _step("transform", "aggregateData", groupBy=["day"], aggregations={"amount": "sum"}),
            _step("load", "toDeltaLake", "load", path="lake/totals", mode="overwrite"),
        ],
    }
    for name, steps in pipelines.items():
        (folder / f"{name}.json").write_text(json.dumps({"name": name, "mode": "batch", "steps": steps}))


@pytest.fixture(scope="module")
def loaded(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose pipelines have run, one of them twice."""
    folder = tmp_path_factory.mktemp("loaded")
    (folder / "pipelines").mkdir()
    (folder / "data").mkdir()
    _write_pipelines(folder / "pipelines")
    rows = [
        f'kEy-{number:05d}-zq,"say ""{number}"", please",{number * 10},2026-01-0{1 + number % 2}'
        for number in range(12)
    ]
    (folder / "data/orders.csv").write_text(
        "\n".join(["customer_id,name,amount,day", *rows, f"{KEY},late,-5,2026-01-01", ""])
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner().invoke(app, ["run", "pipelines"])
        assert done.exit_code == 0, done.output
        assert CliRunner().invoke(app, ["run", "pipelines/renamed.json"]).exit_code == 0
    return folder


@pytest.fixture
def project(loaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(loaded, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    return folder


def erase(*options: str) -> Result:
    named = () if "renamed.load=-" in options else ("--column", "renamed.load=client")
    return CliRunner().invoke(app, [*COMMAND, *named, *options])


def _holding(folder: Path, text: str) -> set[str]:
    """Every file below a folder in whose name or bytes a text stands, once they are unpacked."""
    found: set[str] = set()
    for file in (path for path in folder.rglob("*") if path.is_file()):
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
        if file.suffix == ".parquet":
            data += repr(pq.ParquetFile(file).read().to_pylist()).encode()
        if file.suffix == ".avro":
            with file.open("rb") as opened:
                data += repr(list(fastavro.reader(opened))).encode()
        if text.encode() in data or text in str(file.relative_to(folder)):
            found.add(str(file.relative_to(folder)))
    return found


def _rows(folder: Path) -> dict[str, list[Any]]:
    """All rows of all sinks but the person's, by readers that are not ours."""
    with duckdb.connect() as db:
        found = {
            "parquet": db.sql(f"FROM read_parquet('{folder}/out/parquet/*/*.parquet')").fetchall(),
            "csv": db.sql(f"FROM read_csv('{folder}/out/csv/*.csv.gz', all_varchar=true)").fetchall(),
            "json": db.sql(f"FROM read_json('{folder}/out/json/*.json')").fetchall(),
        }
    with next((folder / "out/avro").glob("*.avro")).open("rb") as opened:
        found["avro"] = [tuple(dict(record).values()) for record in fastavro.reader(opened) if isinstance(record, dict)]
    for table in TABLES:
        found[table] = [
            tuple(row.values()) for row in DeltaTable(folder / "lake" / table).to_pyarrow_table().to_pylist()
        ]
    return {name: sorted((row for row in rows if KEY not in row), key=repr) for name, rows in found.items()}


def _loads(folder: Path) -> set[tuple[str, str]]:
    """What each table says that it has loaded."""
    logs = {table: (folder / "lake" / table / "_delta_log").glob("*.json") for table in TABLES}
    lines = ((table, json.loads(line)) for table, log in logs.items() for file in log for line in file.open())
    return {(table, action["txn"]["appId"]) for table, action in lines if "txn" in action}


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_without_yes_each_place_is_told_and_none_is_changed(project: Path):
    before = _bytes(project)
    looked = CliRunner().invoke(app, [*COMMAND, "--json"])
    assert looked.exit_code == 1, "a column of another name is for a person to decide"
    told = {place["place"]: place for place in json.loads(looked.stdout)["places"]}
    rows = {name: (place["state"], place["found"]["rows"]) for name, place in told.items()}
    assert rows == {
        "exports.parquet": ("found", 2),
        "exports.csv": ("found", 2),
        "exports.json": ("found", 2),
        "exports.avro": ("found", 2),
        "history.load": ("found", 2),
        "orders.checked/quarantine": ("found", 1),
        "orders.load": ("found", 1),
        "renamed.load": ("undecided", 0),
        "totals.load": ("found", 0),
    }
    assert told["renamed.load"]["told"] == ["no column 'customer_id'; made of it: client"]
    assert told["totals.load"]["told"] == ["no column 'customer_id', and none made of it"]
    refused = CliRunner().invoke(app, [*COMMAND, "--yes"])
    assert refused.exit_code == 1
    assert "say --column renamed.load=COLUMN" in refused.stderr
    assert KEY not in refused.output + looked.output
    assert _bytes(project) == before


def test_nothing_of_the_person_is_left_and_everything_of_others_is(project: Path):
    rows, files, loads = _rows(project), _bytes(project), _loads(project)
    holding = _holding(project, KEY)
    done = erase("--yes", "--now")
    assert done.exit_code == 0, done.output
    assert _holding(project, KEY) == {"data/orders.csv"}, "the source is not the platform's"
    # Also not by what the log said of the smallest and largest values of other columns.
    assert _holding(project, 'say "7", please') <= {"data/orders.csv"}
    assert _rows(project) == rows
    after = _bytes(project)
    changed = {name for name in files if after.get(name) != files[name]}
    assert {name for name in changed if name.startswith("out/")} == {
        name for name in holding if name.startswith("out/")
    }
    [csv] = (name for name in changed if name.startswith("out/csv"))
    lines = gzip.decompress(files[csv]).splitlines(keepends=True)
    assert gzip.decompress(after[csv]) == b"".join(line for line in lines if KEY.encode() not in line)
    assert KEY not in done.output
    [proof] = (project / "erasures").glob("*.json")
    told = json.loads(proof.read_text())
    assert told["complete"]
    assert KEY not in proof.read_text()
    deleted = {place["place"]: place["rows_deleted"] for place in told["places"].values()}
    assert deleted["history.load"] == 2, "one in the table, one in what is remembered of changes"
    assert deleted["renamed.load"] == 1
    said = {place["place"]: place["told"] for place in told["places"].values()}
    assert said["history.load"] == [], "what was so before, and is not any more"
    assert not any(place["left"] for place in told["places"].values())
    assert loads
    for table, load in loads:
        assert DeltaTable(project / "lake" / table).transaction_version(load) is not None, "it would be loaded again"
    again = erase("--yes", "--now")
    assert again.exit_code == 0
    assert "no row of any place has one of these values" in again.output


def test_a_stream_is_not_broken_unasked_and_earlier_versions_wait_for_their_readers(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    stream = [
        _step("extract", "fromDeltaLake", path="lake/orders"),
        _step("load", "toDeltaLake", "load", path="lake/live", checkpointLocation="checkpoints/live"),
    ]
    live = {"name": "live", "mode": "streaming", "steps": stream}
    (project / "pipelines/live.json").write_text(json.dumps(live))
    before = _bytes(project)
    # Others are erased by the other tests.
    some = ("--yes", "--column", "history.load=-", "--column", "renamed.load=-")
    refused = erase(*some)
    assert refused.exit_code == 1
    assert "the stream 'live' reads" in refused.stderr
    assert "nothing was erased" in refused.stderr
    assert _bytes(project) == before
    version = DeltaTable(project / "lake/orders").version()
    first = erase(*some, "--break-streams")
    assert first.exit_code == 3, first.output
    assert f'set "startingVersion": {version + 2} in the step' in " ".join(first.output.split())
    tables = {name.split("/")[1] for name in _holding(project, KEY) if name.startswith("lake/")}
    assert tables == {"orders", "orders_quarantine", "history", "renamed"}
    for table in ("orders", "orders_quarantine"):
        assert KEY not in repr(DeltaTable(project / "lake" / table).to_pyarrow_table().to_pylist())
        assert KEY not in json.dumps(DeltaTable(project / "lake" / table).history(), default=str)
    [proof] = (project / "erasures").glob("*.json")
    told = json.loads(proof.read_text())
    assert not told["complete"]
    monkeypatch.setattr(delta_table, "_DEFAULT_RETENTION", timedelta(0))
    second = erase(*some)
    assert second.exit_code == 0, second.output
    assert {Path(name).parts[1] for name in _holding(project, KEY)} == {"orders.csv", "history", "renamed"}
    [proof] = (project / "erasures").glob("*.json")
    told = json.loads(proof.read_text())
    assert told["complete"]
    assert {place["state"] for place in told["places"].values()} == {"erased", "nothing", "left out"}


def test_what_is_cut_off_is_ended_by_the_same_command(project: Path, monkeypatch: pytest.MonkeyPatch):
    rows = _rows(project)
    some = ("--yes", "--now", "--column", "history.load=-", "--column", "orders.checked/quarantine=-")

    def killed(*_: object) -> Iterator[None]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # The manifest is written, and no file is in its place.
        patch.setattr(committer, "_move", killed)
        assert erase(*some).exit_code != 0
    assert len(list((project / "out/parquet").glob("_pipeline_platform/pending/*/manifest.json"))) == 1
    with monkeypatch.context() as patch:
        # Rows are deleted, files are removed, and the log still tells of them.
        patch.setattr(delta_table, "cut_log", killed)
        assert erase(*some).exit_code != 0
    [proof] = (project / "erasures").glob("*.json")
    assert not json.loads(proof.read_text())["complete"]
    done = erase(*some)
    assert done.exit_code == 0, done.output
    left = {"orders.csv", "history", "orders_quarantine"}
    assert {Path(name).parts[1] for name in _holding(project, KEY)} == left
    assert _rows(project) == rows
    assert len(list((project / "erasures").glob("*.json"))) == 1


def test_a_key_that_nobody_has_is_told_and_leaves_a_proof(project: Path):
    done = CliRunner().invoke(
        app,
        ["erase", "--keys-from", "-", "--column", "renamed.load=client", "--yes"],
        input="customer_id\nnobody-at-all\n",
    )
    assert done.exit_code == 0, done.output
    assert "no row of any place has one of these values" in done.output
    [proof] = (project / "erasures").glob("*.json")
    assert json.loads(proof.read_text())["complete"]
