"""`fromMySQL`: a table or a query of a MySQL database."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pipeline_platform.config.values import Text, query_in
from pipeline_platform.methods.extract.jdbc import ReadsDatabase
from pipeline_platform.methods.jdbc import EntersMySQL


class FromMySQL(ReadsDatabase, EntersMySQL):
    """Reads a table or a query of a MySQL or MariaDB database."""

    method: ClassVar[str] = "fromMySQL"

    query: Annotated[Text, query_in("mysql")] | None = None
    """A query in MySQL's SQL; either this or `table`."""
