"""Write the tables, the queries and the answers of TPC-H with DuckDB: `tpch_data.py FOLDER SCALE`."""

import json
import sys
from pathlib import Path

import duckdb
from duckdb_extensions import import_extension

folder, scale = Path(sys.argv[1]), float(sys.argv[2])
import_extension("tpch")
connection = duckdb.connect()
connection.execute("LOAD tpch")
connection.execute(f"CALL dbgen(sf = {scale})")
for (table,) in connection.execute("SHOW TABLES").fetchall():
    connection.execute(f"COPY {table} TO '{folder}/{table}.parquet'")
texts = connection.execute("FROM tpch_queries()").fetchall()
# The one column without a name of its own, which Delta does not take as it is.
unnamed, named = "sum(l_quantity)\nFROM", "sum(l_quantity) AS quantity\nFROM"
queries = {f"q{number:02}": text.strip().rstrip(";").replace(unnamed, named) for number, text in texts}
(folder / "queries.json").write_text(json.dumps(queries))
(folder / "answers").mkdir()
for name, text in queries.items():
    connection.execute(f"COPY ({text}) TO '{folder}/answers/{name}.parquet'")
