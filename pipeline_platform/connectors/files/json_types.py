"""The columns of json files, where nobody says them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import HELPER_PREFIX
from pipeline_platform.frames.nested_values import types_in
from pipeline_platform.frames.remote import is_remote

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import DataType, StructType

    from pipeline_platform.connectors.files.listing import FileListing

# What stands before an object, on lines and in arrays.
_BETWEEN = re.compile(r"[\s\[,\ufeff]*")
_CORRUPT = f"{HELPER_PREFIX}corrupt"
# By itself Spark's reader takes more than JSON.
_STRICT = {
    "mode": "PERMISSIVE",
    "columnNameOfCorruptRecord": _CORRUPT,
    "allowSingleQuotes": "false",
    "allowNonNumericNumbers": "false",
}


def found_columns(
    spark: SparkSession, listing: FileListing, options: Mapping[str, str], partitions: StructType
) -> StructType:
    """The fields of all objects in the files, with the types that Spark finds.

    Args:
        spark: The session.
        listing: The files.
        options: Of Spark's reader.
        partitions: Columns whose values stand in the names of folders: they are left out.

    Raises:
        PipelineExecutionException: There is no object, or there are keys that differ in their case alone.
    """
    from pyspark.errors import AnalysisException
    from pyspark.sql import types as T

    # Otherwise Spark takes `ID` and `id` for one, and later finds the values of the first alone.
    one: Any = spark
    session = one.cloneSession() if is_remote(spark) else one.newSession()
    session.conf.set("spark.sql.caseSensitive", "true")
    try:
        found = listing.load(session.read.format("json").options(**{**_STRICT, **options})).schema
    except AnalysisException as error:
        if error.getCondition() != "COLUMN_ALREADY_EXISTS":
            raise
        raise PipelineExecutionException(
            f"an object in the files of {listing.place.uri} has a key twice, so no types can be inferred",
            hint="name the columns to read in 'schema': such an object is malformed then",
        ) from error
    fields = [field for field in found.fields if field.name not in (_CORRUPT, *partitions.names)]
    if not fields and _CORRUPT in found.names:
        raise PipelineExecutionException(
            f"there is no JSON object in the files of {listing.place.uri}",
            hint="one object is expected on each line; for objects over several lines set 'multiLine'",
        )
    wanted = T.StructType(fields)
    pair = next(_same_but_for_case(wanted), None)
    if pair is not None:
        raise PipelineExecutionException(
            f"the objects in the files of {listing.place.uri} have the keys '{pair[0]}' and '{pair[1]}', "
            "which are the same to Spark",
            hint="name the columns to read in 'schema', with one of the two",
        )
    return wanted


def keys_in(text: str) -> set[str]:
    """The keys of the objects at the beginning of a json file, as far as they are whole.

    Args:
        text: The first characters of the file.
    """
    decoder, keys, position = json.JSONDecoder(), set[str](), 0
    while True:
        begin = _BETWEEN.match(text, position)
        try:
            found: Any
            found, position = decoder.raw_decode(text, begin.end() if begin is not None else position)
        except (ValueError, RecursionError):
            return keys
        keys |= {*found} if isinstance(found, dict) else set[str]()


def _same_but_for_case(wanted: DataType) -> Iterator[tuple[str, str]]:
    """The names of fields of one struct that differ in their case alone."""
    from pyspark.sql import types as T

    for kind in types_in(wanted):
        seen: dict[str, str] = {}
        for name in kind.names if isinstance(kind, T.StructType) else ():
            other = seen.setdefault(name.lower(), name)
            if other != name:
                yield other, name
