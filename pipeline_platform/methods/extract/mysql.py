"""`fromMySQL`: a table or a query of a MySQL database."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pipeline_platform.config.values import Text, query_in
from pipeline_platform.methods.extract.jdbc import ReadsDatabase
from pipeline_platform.methods.jdbc import EntersMySQL


class FromMySQL(ReadsDatabase, EntersMySQL):
    """Reads a table or a query of a MySQL or MariaDB database.

    Rows are streamed, whatever `fetchSize` is, so that a partition need not fit into memory; with `fetchSize` 0 they
    come all at once, and with `useCursorFetch` in `properties` in pieces of that size, from a copy the server makes.
    """

    method: ClassVar[str] = "fromMySQL"

    query: Annotated[Text, query_in("mysql")] | None = None
    """A query in MySQL's SQL; either this or `table`."""
