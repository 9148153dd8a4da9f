"""Texts that a file would give back as others: a load fails at one, since nobody could tell later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_platform.config.partitions import NULL_FOLDER
from pipeline_platform.frames.columns import quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

LOST_TEXT = "the sink can't represent what is in the column"
"""How the error of such a text begins."""


@dataclass(frozen=True)
class CsvText:
    """How texts are written to csv, as far as one may be taken for another.

    Args:
        null_value: What NULL is written as.
        quotes_all: Whether every value is quoted, NULL too.
        encoding: The encoding of the files, if it lacks characters.
        line_sep: What ends a line, if it is not a line feed.
    """

    null_value: str
    quotes_all: bool
    encoding: str | None
    line_sep: str | None


def exact_csv(frame: DataFrame, text: CsvText, partition_by: Sequence[str]) -> DataFrame:
    """The frame, made to fail while it is read at a value that csv does not give back.

    Args:
        frame: The frame.
        text: How it is written.
        partition_by: Columns that become folders.
    """
    from pyspark.sql import functions as F

    folders = {name.lower() for name in partition_by}
    columns = [name for name in frame.columns if name.lower() not in folders]
    lost: list[tuple[Callable[[Column], Column], str]] = []
    if text.quotes_all or text.null_value:
        lost.append((lambda column: column == text.null_value, f"the text '{text.null_value}' is read as NULL"))
    if text.encoding is not None:
        last = "\\x{ff}" if text.encoding == "ISO-8859-1" else "\\x{7f}"
        lost.append(
            (lambda column: column.rlike(f"[^\\x{{0}}-{last}]"), f"{text.encoding} can't encode one of its characters")
        )
    if text.line_sep is not None and len(text.line_sep) > 1:
        lost.append((lambda column: column.contains("\n"), "a line feed in a text is written as 'lineSep'"))
    frame = _failing(frame, _texts(frame, columns), lost)
    if len(columns) == 1 and not text.null_value and not text.quotes_all:
        # Spark leaves such a line out.
        frame = _failing(
            frame, columns, [(F.isnull, "a line of a single column can't represent NULL: set 'nullValue'")]
        )
    return frame


def exact_partitions(frame: DataFrame, partition_by: Sequence[str]) -> DataFrame:
    """The frame, made to fail while it is read at a text that would be in the folder of the rows without a value.

    Args:
        frame: The frame.
        partition_by: Columns that become folders.
    """
    folders = {name.lower() for name in partition_by}
    columns = [name for name in frame.columns if name.lower() in folders]
    return _failing(
        frame,
        _texts(frame, columns),
        [
            (lambda column: column == "", "an empty text can't be the name of a folder, and is read as NULL"),
            (lambda column: column == NULL_FOLDER, f"a folder '{NULL_FOLDER}' is read as NULL"),
        ],
    )


def _texts(frame: DataFrame, columns: Sequence[str]) -> list[str]:
    from pyspark.sql.types import StringType

    return [field.name for field in frame.schema if field.name in columns and isinstance(field.dataType, StringType)]


def _failing(
    frame: DataFrame, columns: Sequence[str], lost: Sequence[tuple[Callable[[Column], Column], str]]
) -> DataFrame:
    from pyspark.sql import functions as F

    if not columns or not lost:
        return frame

    def checked(name: str) -> Column:
        column = F.col(quoted(name))
        failing = [
            F.when(is_lost(column), F.raise_error(F.lit(f"{LOST_TEXT} '{name}': {why}"))).cast(
                frame.schema[name].dataType
            )
            for is_lost, why in lost
        ]
        # In this order it stays a column without NULLs, if it was one.
        return F.coalesce(*failing, column).alias(name, metadata=frame.schema[name].metadata)

    return frame.withColumns({name: checked(name) for name in columns})
