"""Shows a Delta table on the terminal: its version, its files and a few rows. Needs no JVM."""

import sys

from deltalake import DeltaTable, QueryBuilder
from rich.console import Console
from rich.table import Table

ROWS, COLUMNS = 8, 6


def main(path: str) -> None:
    """Print the table at a path."""
    table = DeltaTable(path)
    rows = sum(table.get_add_actions(flatten=True).column("num_records").to_pylist())
    shown = Table(title=f"{table.table_uri}\nversion {table.version()}, {rows:,} rows", title_justify="left")
    names = [field.name for field in table.schema().fields]
    for name in names[:COLUMNS]:
        shown.add_column(name)
    found = QueryBuilder().register("t", table).execute(f"SELECT * FROM t LIMIT {ROWS}").read_all()
    for row in zip(*(found.column(name).to_pylist() for name in names[:COLUMNS]), strict=True):
        shown.add_row(*map(str, row))
    if len(names) > COLUMNS:
        shown.caption = f"and {len(names) - COLUMNS} more columns: {', '.join(names[COLUMNS:])}"
    Console().print(shown)


if __name__ == "__main__":
    main(sys.argv[1])
