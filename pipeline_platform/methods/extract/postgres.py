"""`fromPostgres`: a table or a query of a PostgreSQL database."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pipeline_platform.config.values import Text, query_in
from pipeline_platform.methods.extract.jdbc import ReadsDatabase
from pipeline_platform.methods.jdbc import EntersPostgres


class FromPostgres(ReadsDatabase, EntersPostgres):
    """Reads a table or a query of a PostgreSQL database."""

    method: ClassVar[str] = "fromPostgres"

    query: Annotated[Text, query_in("postgres")] | None = None
    """A query in PostgreSQL's SQL; either this or `table`."""
