"""Types as files hold them: without what Spark says of a column beside its type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_platform.frames.nested_values import with_leaves

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType


def plain_columns(columns: StructType) -> StructType:
    """The columns, all of which may be NULL, without metadata; a text is a text, whatever its length or its collation.

    Args:
        columns: Of a frame, or of files.
    """
    from pyspark.sql.types import StructType

    plain = with_leaves(columns, _plain)
    assert isinstance(plain, StructType)
    return plain


def _plain(kind: DataType) -> DataType:
    from pyspark.sql import types as T

    match kind:
        case T.StringType() | T.CharType() | T.VarcharType():
            return T.StringType()
        case T.UserDefinedType():
            return with_leaves(kind.sqlType(), _plain)
        case _:
            return kind
