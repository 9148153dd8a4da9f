"""`toPostgres`: a table of a PostgreSQL database, written all or not at all."""

from __future__ import annotations

from typing import ClassVar

from pipeline_platform.methods.jdbc import EntersPostgres
from pipeline_platform.methods.load.jdbc import WritesDatabase


class ToPostgres(WritesDatabase, EntersPostgres):
    """Writes to a table of a PostgreSQL database, all rows or none."""

    method: ClassVar[str] = "toPostgres"
