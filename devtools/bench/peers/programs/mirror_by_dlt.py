"""Mirror tables of PostgreSQL into Delta tables with dlt: `mirror_by_dlt.py SETTINGS`."""

import json
import sys
from pathlib import Path

import dlt
from dlt.sources.sql_database import sql_table

settings = json.loads(Path(sys.argv[1]).read_text())
lake = Path(settings["lake"])
tables = [
    sql_table(
        credentials=dlt.sources.credentials.ConnectionStringCredentials(settings["credentials"]),
        table=name,
        backend="pyarrow",
        incremental=dlt.sources.incremental("changed_at", lag=settings["lag"]),
        write_disposition={"disposition": "merge", "strategy": "upsert"},
        primary_key="id",
    )
    for name in settings["tables"]
]
for table in tables:
    table.apply_hints(table_format="delta")
dlt.pipeline(
    "mirror",
    pipelines_dir=settings["state"],
    destination=dlt.destinations.filesystem(bucket_url=lake.parent.as_uri()),
    dataset_name=lake.name,
).run(tables)
