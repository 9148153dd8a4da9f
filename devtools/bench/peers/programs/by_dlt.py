"""Filter orders into a Delta table with dlt: `by_dlt.py ORDERS TABLE CONDITION`."""

import sys
import tempfile
from pathlib import Path

import dlt
import duckdb

source, table, condition = sys.argv[1:]


@dlt.resource(name=Path(table).name, table_format="delta", write_disposition="replace")
def kept():
    yield from duckdb.sql(f"SELECT * FROM '{source}/*.parquet' WHERE {condition}").to_arrow_reader(100_000)


with tempfile.TemporaryDirectory() as state:
    dlt.pipeline(
        "orders",
        pipelines_dir=state,
        destination=dlt.destinations.filesystem(bucket_url=Path(table).parent.parent.as_uri()),
        dataset_name=Path(table).parent.name,
    ).run(kept())
