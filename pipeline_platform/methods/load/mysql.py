"""`toMySQL`: a table of a MySQL database, written all or not at all."""

from __future__ import annotations

from typing import ClassVar

from pipeline_platform.methods.jdbc import EntersMySQL
from pipeline_platform.methods.load.jdbc import WritesDatabase


class ToMySQL(WritesDatabase, EntersMySQL):
    """Writes to a table of a MySQL or MariaDB database, all rows or none."""

    method: ClassVar[str] = "toMySQL"
