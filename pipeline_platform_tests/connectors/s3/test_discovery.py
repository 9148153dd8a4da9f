"""Folders of a bucket, and the pipelines that are written for them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from devtools.services.s3 import S3Server
from pipeline_platform.cli import app
from pipeline_platform.connectors.s3.discovery import StoredFile, folders_of


@pytest.mark.parametrize(
    ("keys", "folders"),
    [
        (["raw/a.csv", "raw/b.csv.gz"], {"raw": "csv"}),
        (["top.json", "in/x.JSON"], {"": "json", "in": "json"}),
        (["t/day=1/hour=2/x.parquet", "t/_SUCCESS", "t/day=1/.x.crc"], {"t": "parquet"}),
        (["e/2024/01/x.jsonl", "e/2024-02-01/y.ndjson"], {"e": "json"}),
        (["l/_delta_log/0.json", "l/x.parquet", "l/part=1/y.parquet"], {"l": "delta"}),
        (["m/a.csv", "m/b.orc"], {"m": "several"}),
        (["d/a.pdf", "d/empty/"], {"d": "other"}),
        (["_private/x.csv"], {}),
    ],
    ids=str,
)
def test_a_folder_is_what_is_read_as_one(keys: list[str], folders: dict[str, str]):
    files = [StoredFile(key, 1, datetime(2024, 1, 1, tzinfo=UTC)) for key in keys]
    assert {folder.path: folder.format for folder in folders_of(files)} == folders


def test_a_bucket_is_told_and_a_pipeline_is_written_for_each_folder(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    s3.make_bucket("found")
    for key in ("raw/orders/a.csv", "raw/orders/b.csv", "events/2024/01/x.json", "odd [x]/a.csv", "above.csv"):
        s3.client().put_object(Bucket="found", Key=key, Body=b"12345")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_access_key)
    options = ["discover", "s3", "--bucket", "found", "--endpoint", s3.endpoint]
    result = CliRunner().invoke(app, [*options, "--json", "--write", str(tmp_path / "pipelines")])
    assert result.exit_code == 0, result.output
    assert {found["name"]: (found["files"], found["bytes"]) for found in json.loads(result.stdout)} == {
        "": (1, 5),
        "events": (1, 5),
        "odd [x]": (1, 5),
        "raw/orders": (2, 10),
    }
    assert "left out /: there are folders with other files in it" in result.stderr
    assert "left out odd [x]: its name would be read as a pattern" in result.stderr
    written = {path.name: json.loads(path.read_text()) for path in (tmp_path / "pipelines").iterdir()}
    assert {name: pipeline["steps"][0]["config"] for name, pipeline in written.items()} == {
        "events.json": {
            "bucket": "found",
            "path": "events",
            "format": "json",
            "options": {"recursiveFileLookup": True},
            "endpoint": s3.endpoint,
        },
        "raw_orders.json": {"bucket": "found", "path": "raw/orders", "format": "csv", "endpoint": s3.endpoint},
    }
    assert CliRunner().invoke(app, ["check", str(tmp_path / "pipelines")]).output == ""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret-key")
    refused = CliRunner().invoke(app, options)
    assert refused.exit_code == 1
    assert "does not accept the access key" in refused.stderr
    assert "not-the-secret-key" not in refused.output
