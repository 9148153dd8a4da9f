"""Names the columns of a Parquet file that Spark has no type for: it says the type alone."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from pipeline_platform.connectors.files.schemas import arrow_schema
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.causes import failure_of

# Files of one folder are alike.
_FILES_LOOKED_AT = 20


@contextmanager
def naming_columns(place: StorageLocation) -> Generator[None]:
    """Say of which columns it is that Spark says in the block that their type is none of its own.

    Args:
        place: The file or folder that is read.

    Raises:
        PipelineExecutionException: There are columns with nanoseconds, which it names.
    """
    try:
        yield
    except Exception as error:
        is_illegal = any(cause.has_condition("PARQUET_TYPE_ILLEGAL") for cause in failure_of(error).causes)
        found = next(_with_nanoseconds(place), None) if is_illegal else None
        if found is None:
            raise
        file, columns = found
        raise PipelineExecutionException(
            f"Spark's timestamps have microseconds, but {', '.join(columns)} in {file} have nanoseconds",
            hint="write the files with microseconds, or set 'spark.sql.legacy.parquet.nanosAsLong' to true in "
            "sparkConf, which reads nanoseconds as a number",
        ) from error


def _with_nanoseconds(place: StorageLocation) -> Iterator[tuple[str, list[str]]]:
    root = place.path()
    files = [root] if root.is_file() else sorted(root.rglob("*"))
    seen = 0
    for file in files:
        if file.name.startswith((".", "_")) or not file.is_file():
            continue
        seen += 1
        if seen > _FILES_LOOKED_AT:
            return
        with file.open("rb") as opened:
            schema = arrow_schema(opened, "parquet")
        columns = [f"'{field.name}'" for field in schema if _has_nanoseconds(field.type)]
        if columns:
            yield file.name, columns


def _has_nanoseconds(kind: Any) -> bool:
    return getattr(kind, "unit", None) == "ns" or any(
        _has_nanoseconds(kind.field(index).type) for index in range(kind.num_fields)
    )
