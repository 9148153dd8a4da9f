"""What reading files depends on of a step's config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline_platform.connectors.files.csv_format import CsvFormat
from pipeline_platform.connectors.files.text_values import Formats


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    Args:
        format: Their format, by Spark's name.
        schema: DDL of the columns that are wanted; None to find them in the files.
        may_change_values: Whether Spark may make other values of those in the files, to have them of the types in
            `schema`.
        merge_schema: Whether the files may have different columns.
        infer_schema: csv: whether types are found in the values.
        multi_line: csv and json: whether a record may go over several lines; None to decide it by the files.
        encoding: csv and json: of the text, by Spark's name; None for UTF-8.
        formats: csv and json: patterns of dates and times.
        csv: How csv files are written, each read as a whole.
        options: Other options of Spark's reader.
    """

    format: str
    schema: str | None
    may_change_values: bool
    merge_schema: bool
    infer_schema: bool
    multi_line: bool | None
    encoding: str | None
    formats: Formats
    csv: CsvFormat
    options: Mapping[str, str]

    @property
    def charset(self) -> str:
        """The encoding of the text, by Spark's name."""
        return self.encoding or "UTF-8"
