"""The columns that a step wants of files: those of its schema, and those of the names of folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline_platform.exceptions import PipelineExecutionException

if TYPE_CHECKING:
    from pyspark.sql.types import StructType


def wanted_columns(ddl: str | None) -> StructType | None:
    """The columns of a schema in DDL; None without one."""
    from pyspark.sql.types import StructType

    if ddl is None:
        return None
    schema = StructType.fromDDL(ddl)
    assert isinstance(schema, StructType)
    return schema


def with_folders(wanted: StructType, partitions: StructType) -> StructType:
    """The schema, and after it those columns of folder names that it does not name, as Spark has them."""
    from pyspark.sql.types import StructType

    named = {name.lower() for name in wanted.names}
    return StructType([*wanted.fields, *(field for field in partitions.fields if field.name.lower() not in named)])


def replace_fields(schema: StructType, given: dict[str, Any]) -> StructType:
    """The schema with the fields that are given in place of those of the same name."""
    from pyspark.sql.types import StructType

    return StructType([given.get(field.name, field) for field in schema.fields])


def require_no_column_twice(names: Sequence[str], partitions: StructType) -> None:
    """Raise if a column of the files has the name of one whose values stand in the names of folders.

    Raises:
        PipelineExecutionException: There is one.
    """
    folders = {name.lower() for name in partitions.names}
    twice = sorted(name for name in {*names} if name.lower() in folders)
    if twice:
        raise PipelineExecutionException(
            f"the column {twice[0]} is both in the files and in the names of their folders",
            hint="rename the folders; or set 'recursiveFileLookup' in 'options', which makes no columns of their names",
        )
