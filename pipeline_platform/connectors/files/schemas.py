"""What files say of their own columns: in their footers, their headers, and the names of their folders."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pipeline_platform.config.partitions import NULL_FOLDER
from pipeline_platform.connectors.files.avro_resolution import logical_difference
from pipeline_platform.connectors.files.heads import MOST_HEADS, spread
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.widening import holds

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructField, StructType

MOST_FOOTERS = 200
"""Of so many files, spread over all of them, the columns are compared."""
_THREADS = 16
AVRO_HEADER_BYTES = 1 << 20
"""So much is looked at of an avro file: its header holds the schema, with all that is said about its columns."""
_CANONICAL = {
    "int": r"0|-?[1-9][0-9]*",
    "bigint": r"0|-?[1-9][0-9]*",
    "double": r"-?(0|[1-9][0-9]*)[.][0-9]+",
    "date": r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "timestamp": r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T].*",
}

Columns = dict[str, str]
"""The type of each column, as the library that read it spells it."""


def folder_values(paths: Sequence[str]) -> dict[str, set[str]]:
    """The values of each column that stands in the names of folders, `name=value`."""
    found: dict[str, set[str]] = {}
    for folder in {path.rpartition("/")[0] for path in paths}:
        for part in folder.split("/"):
            name, is_value, value = part.partition("=")
            if is_value and name:
                found.setdefault(unquote(name), set()).add(unquote(value))
    return found


def known_type(known: StructType | None, name: str) -> DataType | None:
    """The type that a column had in other files; None if it is not known."""
    return next((field.dataType for field in (known.fields if known is not None else ()) if field.name == name), None)


def kept_type(found: DataType | None, known: DataType | None) -> DataType:
    """The type of a column of texts: the one that it had before, if that has all of the texts.

    Args:
        found: The type that the texts are the canonical ones of; None if there are none.
        known: The type that the column had in other files, if that is known.
    """
    from pyspark.sql import types as T

    if known is not None and (found is None or isinstance(known, T.StringType) or holds(known, found)):
        return known
    return found if found is not None else T.StringType()


def partition_field(field: StructField, values: set[str], known: DataType | None = None) -> StructField:
    """A column of folder names: of the type that Spark made of them if each is its canonical text, else text.

    Args:
        field: As Spark has it.
        values: Its values in the names of folders.
        known: The type that it had before, as for `kept_type`.
    """
    from pyspark.sql import types as T

    pattern = _CANONICAL.get(field.dataType.simpleString())
    is_canonical = pattern is not None and all(v == NULL_FOLDER or re.fullmatch(pattern, v) for v in values)
    kind: DataType = field.dataType if is_canonical else T.StringType()
    return T.StructField(field.name, kept_type(None if values == {NULL_FOLDER} else kind, known))


def require_one_schema(found: Sequence[tuple[str, Columns | None]], file_format: str) -> None:
    """Raise unless the files have the same columns: Spark takes those of one of them, and leaves out the others'.

    Args:
        found: What `file_columns` gave for the files.
        file_format: Spark's name of it.

    Raises:
        PipelineExecutionException: Two of them differ.
    """
    known = [(path, columns) for path, columns in found if columns is not None]
    for path, columns in known[1:]:
        first_path, first = known[0]
        names = sorted(name for name in {*first, *columns} if first.get(name) != columns.get(name))
        if names:
            told = ", ".join(f"'{n}' ({first.get(n, 'none')} and {columns.get(n, 'none')})" for n in names[:5])
            raise PipelineExecutionException(
                f"{first_path} and {path} differ in their columns: {told}", hint=hint_for_columns(file_format)
            )


def require_same_logical_types(found: Sequence[tuple[str, Columns | None]], avro_schema: str) -> None:
    """Raise where Avro files have other logical types than the schema they are read with, which Avro does not notice.

    Args:
        found: What `file_columns` gave for the files.
        avro_schema: The reader's schema.

    Raises:
        PipelineExecutionException: Values of a file would be taken for others.
    """
    for path, columns in found:
        fields = [{"name": name, "type": json.loads(kind)} for name, kind in (columns or {}).items()]
        why = logical_difference(avro_schema, json.dumps({"type": "record", "name": "written", "fields": fields}))
        if why is not None:
            raise PipelineExecutionException(
                f"{path} would be read as other values with 'avroSchema': {why}",
                hint="give the field the type it was written with, and cast it with enrichData; "
                "files with different types are read by steps of their own",
            )


def hint_for_columns(file_format: str) -> str:
    """What to do about files of different columns.

    Args:
        file_format: Spark's name of it.
    """
    if file_format == "avro":
        return "read them with fromAvro and an 'avroSchema', which says what becomes of the columns"
    return "set 'mergeSchema' to have all columns, or name those to read in 'schema'"


def file_columns(paths: Sequence[str], file_format: str, place: StorageLocation) -> list[tuple[str, Columns | None]]:
    """The columns of each file by itself; None for a file that this process can't look into.

    Of nested columns in parquet and orc each part is one, such as `address.zip`.

    Args:
        paths: The files; of avro up to `MOST_HEADS` are looked at, of the others `MOST_FOOTERS`, spread over all.
        file_format: `parquet`, `orc` or `avro`.
        place: Where they are.
    """

    def of(file: Any) -> Columns | None:
        if file_format == "avro":
            return avro_columns(file.read(AVRO_HEADER_BYTES))
        fields = arrow_schema(file, file_format)
        return {name: kind for field in fields for name, kind in _leaves(field.name, field.type)}

    return _each(spread(paths, MOST_HEADS if file_format == "avro" else MOST_FOOTERS), place, of)


def arrow_schema(file: Any, file_format: str) -> Any:
    """The schema in the footer of a file, as pyarrow has it, which comes without types.

    Args:
        file: Opened to read bytes.
        file_format: `parquet` or `orc`.
    """
    from pyarrow import orc, parquet

    library: Any = parquet if file_format == "parquet" else orc
    return library.read_schema(file) if file_format == "parquet" else library.ORCFile(file).schema


def _each(
    paths: Sequence[str], place: StorageLocation, of: Callable[[Any], Columns | None]
) -> list[tuple[str, Columns | None]]:
    import pyarrow

    arrow: Any = pyarrow

    def look(path: str) -> tuple[str, Columns | None]:
        try:
            with replace(place, uri=path).path().open("rb") as file:
                return path, of(file)
        except (OSError, ValueError, ImportError, NotImplementedError, arrow.ArrowException):
            # Not seen from here, or damaged, which Spark says better.
            return path, None

    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(look, paths))


def _leaves(name: str, kind: Any) -> Iterator[tuple[str, str]]:
    """The parts of a column of Arrow, and their types; what is the same for Spark is spelled the same."""
    import pyarrow

    types: Any = pyarrow.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_struct(kind):
        for index in range(kind.num_fields):
            field = kind.field(index)
            yield from _leaves(f"{name}.{field.name}", field.type)
    elif types.is_map(kind):
        yield from _leaves(f"{name}.key", kind.key_type)
        yield from _leaves(f"{name}.value", kind.item_type)
    elif types.is_list(kind) or types.is_large_list(kind):
        yield from _leaves(f"{name}.element", kind.value_type)
    else:
        yield name, re.sub(r"timestamp\[[^]]*\]", "timestamp", str(kind).replace("large_", ""))


def avro_columns(data: bytes) -> Columns | None:
    """The columns in the header of an Avro file; None if they do not stand there.

    Args:
        data: How the file begins.
    """
    match json.loads(avro_schema_in(data) or "null"):
        case {"fields": [*fields]}:
            return {field["name"]: json.dumps(field["type"], sort_keys=True) for field in fields}
        case _:
            return None


def avro_schema_in(data: bytes) -> str | None:
    """The schema in the header of an Avro file, in JSON; None if it does not stand there.

    Args:
        data: How the file begins.
    """
    import fastavro

    # https://avro.apache.org/docs/1.12.0/specification/#object-container-files
    magic = b"Obj\x01"
    if not data.startswith(magic):
        return None
    try:
        # Not `fastavro.reader`: it refuses schemas that Spark takes.
        untyped: Any = fastavro
        said = untyped.schemaless_reader(io.BytesIO(data[len(magic) :]), {"type": "map", "values": "bytes"}, None)
        return json.dumps(json.loads(said["avro.schema"]))
    except (EOFError, LookupError, ValueError):
        return None
