"""Filter orders into a Delta table with DuckDB and delta-rs: `by_duckdb.py ORDERS TABLE CONDITION`."""

import sys

import duckdb
from deltalake import write_deltalake

orders, table, condition = sys.argv[1:]
rows = duckdb.sql(f"SELECT * FROM '{orders}/*.parquet' WHERE {condition}")
write_deltalake(table, rows.to_arrow_reader(100_000), mode="overwrite")
