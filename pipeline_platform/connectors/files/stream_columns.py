"""Holds the files of each micro-batch against the columns that their stream began with.

A stream of files that say their own columns takes those of the files that are there when it starts. Of a later file
Spark drops a column that the stream does not have, makes null of one that the file does not have, and reads an ORC
column of another type as null.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.files.heads import plain_path
from pipeline_platform.connectors.files.schemas import (
    Columns,
    file_columns,
    folder_values,
    hint_for_columns,
    require_same_logical_types,
)
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery
    from pyspark.sql.types import DataType, StructType

# Option of Spark's reader, which it ignores: the `StreamColumns` of the files that are read with it.
_COLUMNS_OPTION = "pipeline_platform.columns"
_FOLDER = "of a folder"


@dataclass(frozen=True)
class StreamColumns:
    """What the files of a stream have to hold.

    Args:
        uri: Where the stream looks for files.
        file_format: Spark's name of it.
        types: By column, the types that the files of the start have; none where that is not known.
        merges: Whether a file may lack columns.
        has_folder_columns: Whether folders `name=value` below `uri` are columns.
        leaves_out: Whether columns that are not among the types are left out, as a schema wants it.
        avro_schema: The reader's schema of Avro files, whose columns may then be any that it can be made of.
    """

    uri: str
    file_format: str
    types: dict[str, list[str]]
    merges: bool
    has_folder_columns: bool
    leaves_out: bool = False
    avro_schema: str | None = None

    def option(self) -> dict[str, str]:
        """The option that goes along with the reader of the stream."""
        return {_COLUMNS_OPTION: json.dumps(asdict(self))}

    @classmethod
    def from_option(cls, text: str) -> StreamColumns:
        """What an option says."""
        return cls(**json.loads(text))

    def require(self, paths: Sequence[str], place: StorageLocation) -> None:
        """Raise unless new files have the columns of the stream; of many files up to 200 are looked at.

        Args:
            paths: The files.
            place: Where the stream looks for files, with its credentials.

        Raises:
            PipelineExecutionException: A file has others, or, of those with a reader's schema, other logical types.
        """
        found = file_columns(paths, self.file_format, place)
        if self.avro_schema is not None:
            require_same_logical_types(found, self.avro_schema)
            return
        for path, columns in found:
            if columns is not None:
                self._require(path, columns)

    def _require(self, path: str, columns: Columns) -> None:
        found = _with_folders(path, columns, self.uri if self.has_folder_columns else None)
        if self.merges:
            found = {name.lower(): kind for name, kind in found.items()}
        names = [name for name, kind in found.items() if not self._takes(name, kind)]
        if not self.merges:
            names += [name for name in self.types if name not in found]
        if not names:
            return
        told = ", ".join(
            f"'{name}' ({' or '.join(self.types.get(name, ['none']))} and {found.get(name, 'none')})"
            for name in sorted(names)[:5]
        )
        is_new = self.merges and all(name not in self.types for name in names)
        raise PipelineExecutionException(
            f"the new file {path} has other columns than those the stream started with: {told}",
            hint="start the stream again: it will have the columns of all files"
            if is_new
            else "write the files with one type for each column, or replace this one"
            if self.merges
            else f"{hint_for_columns(self.file_format)}, and start the stream again; or replace the file by one of the "
            "same name that has the columns of the others",
        )

    def _takes(self, name: str, kind: str) -> bool:
        types = self.types.get(name)
        return self.leaves_out if types is None else not types or kind in types


def columns_of_stream(
    paths: Sequence[str],
    file_format: str,
    place: StorageLocation,
    *,
    merged: StructType | None,
    has_folder_columns: bool,
    leaves_out: bool = False,
) -> StreamColumns | None:
    """What the files of a stream have to hold, by those that are there; None if this process can't look into them.

    Args:
        paths: The files that are there.
        file_format: Spark's name of it.
        place: Where they are.
        merged: The columns of the stream, if files may lack some of them.
        has_folder_columns: Whether folders `name=value` are columns.
        leaves_out: Whether others than those are left out.
    """
    types: dict[str, list[str]] = {}
    for path, columns in file_columns(paths, file_format, place):
        for name, kind in (
            _with_folders(path, columns, place.uri if has_folder_columns else None).items() if columns else ()
        ):
            known = types.setdefault(name.lower() if merged is not None else name, [])
            if kind not in known:
                known.append(kind)
    if not types:
        return None
    if merged is not None:
        # More files than were looked at may have made it.
        wanted = [name.lower() for name in _leaves(merged, "")]
        types = {name: types.get(name, []) for name in wanted} | ({} if leaves_out else types)
    return StreamColumns(place.uri, file_format, types, merged is not None, has_folder_columns, leaves_out)


def require_columns_of_stream(query: StreamingQuery, place: StorageLocation) -> None:
    """Raise unless the files of the micro-batch that runs have the columns of their stream.

    Args:
        query: The query, which has planned the micro-batch.
        place: Where the stream looks for files.

    Raises:
        PipelineExecutionException: A file has other columns.
    """
    for columns, paths in _files_of_micro_batch(query):
        if columns.uri == place.uri:
            columns.require(paths, place)


def _files_of_micro_batch(query: StreamingQuery) -> Iterator[tuple[StreamColumns, list[str]]]:
    # What belongs to the JVM has no types. The frame of a micro-batch does not know its files.
    in_jvm: Any = query
    leaves = in_jvm._jsq.streamingQuery().lastExecution().logical().collectLeaves()
    for leaf in (leaves.apply(index) for index in range(leaves.size())):
        if leaf.getClass().getSimpleName() != "LogicalRelation":
            continue
        relation = leaf.relation()
        option = relation.options().get(_COLUMNS_OPTION)
        if option.isDefined():
            yield StreamColumns.from_option(option.get()), [plain_path(uri) for uri in relation.location().inputFiles()]


def _with_folders(path: str, columns: Columns, root: str | None) -> Columns:
    if root is None or not path.startswith(root):
        return columns
    return {**columns, **dict.fromkeys(folder_values([path.removeprefix(root)]), _FOLDER)}


def _leaves(kind: DataType, name: str) -> Iterator[str]:
    """The columns, and the parts of those that have some, named as `file_columns` names them."""
    from pyspark.sql import types as T

    match kind:
        case T.StructType():
            for field in kind.fields:
                yield from _leaves(field.dataType, f"{name}.{field.name}" if name else field.name)
        case T.ArrayType():
            yield from _leaves(kind.elementType, f"{name}.element")
        case T.MapType():
            yield from _leaves(kind.keyType, f"{name}.key")
            yield from _leaves(kind.valueType, f"{name}.value")
        case _:
            yield name
