"""The files that an extract reads, as Spark lists them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_platform.connectors.files.heads import (
    FileHead,
    heads_of,
    name_of_file,
    plain_path,
    require_format,
)
from pipeline_platform.connectors.files.local_names import require_none_left_out, uncertain_files
from pipeline_platform.connectors.files.options import option_of
from pipeline_platform.connectors.files.schemas import folder_values, known_type, partition_field
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

# Columns of Spark's format `binaryFile`, which lists files of any kind.
_OF_FILE = ("path", "modificationTime", "length", "content")


@dataclass(frozen=True)
class TextFiles:
    """Files of text, looked into before Spark reads them.

    Args:
        paths: The files, in order.
        heads: How they begin.
        partitions: The columns whose values stand in the names of folders.
    """

    paths: list[str]
    heads: list[FileHead]
    partitions: StructType


@dataclass(frozen=True)
class FileListing:
    """Where files are, and which of them are read.

    Args:
        place: A folder, a file, or a pattern.
        options: Of Spark's reader, for which files to read.
        files: Those that are read, as Spark takes them; None for all that are there.
        known: Columns of other files that were read before, whose types are taken where they have all values.
    """

    place: StorageLocation
    options: Mapping[str, str]
    files: Sequence[str] | None = None
    known: StructType | None = None

    def reader_options(self) -> dict[str, str]:
        """Options of any reader of the files."""
        return {**self.options, **self.place.spark_options()}

    def is_recursive(self) -> bool:
        """Whether files of all folders below are read, whose names are no columns then."""
        return (option_of(self.options, "recursiveFileLookup") or "").lower() == "true"

    def is_pattern(self) -> bool:
        """Whether the place stands for more than one."""
        return re.search(r"[*?\[{]", self.place.uri) is not None

    def load(self, reader: Any, files: Sequence[str] | None = None) -> DataFrame:
        """Has Spark's reader read the files.

        Args:
            reader: Of a batch.
            files: Some of them; None for all.
        """
        chosen = files if files is not None else self.files
        if chosen is None:
            return reader.load(self.place.uri)
        # Of a pattern the folders that it stands for are none of its columns.
        has_base = option_of(self.options, "basePath") is not None
        is_file = {self.place.uri, plain_path(self.place.uri)} & {*chosen}
        base = {} if self.is_pattern() or has_base or is_file else {"basePath": self.place.uri}
        return reader.options(**base).load([name_of_file(file) for file in chosen])

    def of_any_kind(self, spark: SparkSession) -> DataFrame:
        """The files; nothing of them is read."""
        return self.load(spark.read.format("binaryFile").options(**self.reader_options()))

    def require_no_column_in_pattern(self, partitions: StructType) -> None:
        """Raise if single files would lack columns that the pattern has of the names of folders.

        Args:
            partitions: The columns whose values stand in the names of folders.

        Raises:
            PipelineExecutionException: They would.
        """
        if partitions.names and self.is_pattern() and option_of(self.options, "basePath") is None:
            raise PipelineExecutionException(
                f"the folders of {self.place.uri} are the column '{partitions.names[0]}', which single files of a "
                "pattern would lack",
                hint="give the folder above them as 'path', or also as 'basePath' in 'options'",
            )

    def text_files(self, spark: SparkSession, file_format: str, charset: str, wanted: StructType | None) -> TextFiles:
        """The files that are there, which are csv or json.

        Args:
            spark: The session that lists them.
            file_format: `csv` or `json`.
            charset: What they are decoded with, by Spark's name.
            wanted: Columns whose types are given.

        Raises:
            PipelineExecutionException: A file is of another format or encoding, or lies beside folders that are
                columns, or has a name that Spark does not see; or there is none, and no column is given.
        """
        uncertain = self.uncertain_files()
        there = self.of_any_kind(spark)
        paths = self.paths(there)
        require_none_left_out(uncertain, paths)
        if wanted is None:
            self.require_any(paths)
        heads = self.heads(paths)
        require_format(heads, file_format, charset)
        partitions = self.partitions(there, paths, wanted)
        self.require_none_beside_folders(partitions)
        return TextFiles(paths, heads, partitions)

    def uncertain_files(self) -> Sequence[str]:
        """As `local_names.uncertain_files`; none of a listing of single files."""
        if self.files is not None:
            return ()
        return uncertain_files(self.place, self.options, is_pattern=self.is_pattern(), is_recursive=self.is_recursive())

    def paths(self, frame: DataFrame) -> list[str]:
        """The files of a frame of this place, in order."""
        return sorted(plain_path(uri) for uri in frame.inputFiles())

    def heads(self, paths: list[str]) -> list[FileHead]:
        """How the files begin."""
        return heads_of(paths, self.place)

    def partitions(self, frame: DataFrame, paths: list[str], own: StructType | None = None) -> StructType:
        """The columns whose values stand in the names of folders.

        Args:
            frame: What Spark reads of the place.
            paths: The files.
            own: Columns whose types are given.
        """
        from pyspark.sql import types as T

        values = folder_values(paths)
        given = {field.name.lower(): field for field in (own.fields if own is not None else ())}
        return T.StructType(
            [
                given.get(field.name.lower())
                or partition_field(field, values[field.name], known_type(self.known, field.name))
                for field in frame.schema.fields
                if field.name in values
                and (frame.columns[: len(_OF_FILE)] != list(_OF_FILE) or field.name not in _OF_FILE)
            ]
        )

    def require_none_beside_folders(self, partitions: StructType) -> None:
        """Raise if a file lies beside folders `name=value`: Spark would leave it out.

        Args:
            partitions: The columns whose values stand in the names of folders.

        Raises:
            PipelineExecutionException: There is one.
        """
        if not partitions.names or self.is_pattern():
            return
        try:
            beside = sorted(path.name for path in self.place.path().iterdir() if path.is_file())
        except (OSError, ValueError, ImportError, NotImplementedError):
            # Not seen from here.
            return
        read = [name for name in beside if not name.startswith(("_", "."))]
        if read:
            raise PipelineExecutionException(
                f"{read[0]} is next to folders like '{partitions.names[0]}=…' in {self.place.uri}, and Spark would "
                "leave it out",
                hint=(
                    "move it into such a folder; or set 'recursiveFileLookup' in 'options', which makes no "
                    "columns of folder names"
                ),
            )

    def require_any(self, paths: list[str]) -> None:
        """Raise if there is no file.

        Raises:
            PipelineExecutionException: There is none.
        """
        if not paths:
            raise PipelineExecutionException(
                f"there are no files in {self.place.uri}",
                hint=(
                    "check the path, or name the columns with 'schema'; files whose names begin with _ or . are "
                    "not read"
                ),
            )


def watched_path(place: StorageLocation) -> str:
    """The path of a stream of files: Spark watches folders and patterns, so a single file is made a pattern.

    Args:
        place: A folder, a file, or a pattern.
    """
    return f"{place.uri[:-1]}[{place.uri[-1]}]" if place.path().is_file() else place.uri
