"""The types of columns that stand in the names of folders, where other files had them before."""

from __future__ import annotations

import pytest
from pyspark.sql import types as T

from pipeline_platform.connectors.files.schemas import partition_field

NONE = "__HIVE_DEFAULT_PARTITION__"
INT, LONG, TEXT, DATE = T.IntegerType(), T.LongType(), T.StringType(), T.DateType()


@pytest.mark.parametrize(
    ("spark_has", "values", "before", "kind"),
    [
        (INT, {"7", "10"}, None, INT),
        (INT, {"7", "07"}, None, TEXT),
        (INT, {"10"}, TEXT, TEXT),
        (INT, {"10", NONE}, LONG, LONG),
        (TEXT, {NONE}, None, TEXT),
        (TEXT, {NONE}, DATE, DATE),
        (INT, {"07"}, INT, TEXT),
        (LONG, {"99999999999"}, INT, LONG),
        (INT, {"7"}, DATE, INT),
    ],
)
def test_a_folder_column_keeps_the_type_it_had_if_its_values_are_of_it(
    spark_has: T.DataType, values: set[str], before: T.DataType | None, kind: T.DataType
) -> None:
    assert partition_field(T.StructField("m", spark_has), values, before).dataType == kind
