"""Reads the files that are new in a source: those that its sink does not know.

Which files are read is fixed before anything is read, so that the load can commit that they are loaded together with
their rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.incremental import NewFiles
from pipeline_platform.config.step import Step
from pipeline_platform.engine.cursors import RememberedCursor, remembered_cursor
from pipeline_platform.engine.increments import Increment
from pipeline_platform.engine.scope import RunScope
from pipeline_platform.engine.step_credentials import credentials_for
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.session import empty_frame
from pipeline_platform.frames.widening import holds
from pipeline_platform.steps.cursor import CursorMove, StoredCursor
from pipeline_platform.steps.known_files import MODIFICATION_TIME, FileChoice, FoundFile, chosen_files, told
from pipeline_platform.steps.new_files import NoRecordError, ReadsNewFiles

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

    from pipeline_platform.credentials.model import Credentials


def read_new_files(scope: RunScope, step: Step, spark: SparkSession) -> Increment | None:
    """What is in the files that are new; None where an extract reads all there are, or none of it is loaded.

    Args:
        scope: What of the pipeline is run.
        step: The extract.
        spark: The session.

    Raises:
        PipelineException: The files can't be read, one has changed since it was loaded, or the sink can't tell which
            were loaded.
    """
    config = step.config
    if not isinstance(config, ReadsNewFiles) or config.incremental is None:
        return None
    cursor = remembered_cursor(scope, step, config)
    if cursor is None:
        return None
    stored = cursor.require_same_column(MODIFICATION_TIME)
    credentials = credentials_for(scope.credentials, config, step)
    found = config.found_files(spark, credentials)
    _require_known_place(cursor, found)
    choice = chosen_files(found, stored)
    if config.incremental.changed_files == "fail":
        _require_unchanged(choice)
    again = choice.changed if config.incremental.changed_files == "load" else ()
    read = [*choice.new, *again]
    known = _known_columns(stored.columns)
    frame = _frame(spark, config, credentials, read, found, known)
    after = replace(choice.after, columns=_remembered(frame.schema, known), source=cursor.source)
    # Where somebody has set it, which files count as loaded is settled at once: others as old may come.
    move = CursorMove(cursor.name, stored, after, is_idle=stored.version > 0 and not stored.is_start and not read)
    return Increment(frame, cursor.load.index, move, _hint(step, choice, stored, config.incremental))


def _frame(
    spark: SparkSession,
    config: ReadsNewFiles,
    credentials: Credentials | None,
    read: Sequence[FoundFile],
    found: Sequence[FoundFile],
    known: StructType | None,
) -> DataFrame:
    """The rows of the files; of none, the columns that there would be.

    Args:
        spark: The session.
        config: Of the extract.
        credentials: As for its `read`.
        read: The files.
        found: All that are there.
        known: The columns of the files that were loaded last; None if none was.
    """
    from pyspark.sql import functions as F

    if read:
        try:
            frame = config.read_files(spark, credentials, [file.path for file in read], known)
        except NoRecordError:
            if known is None:
                raise
            return empty_frame(spark, known)
        return frame if known is None or config.names_columns() else _with_known_types(frame, known)
    nothing = F.expr("false")
    if found and (config.names_columns() or known is None):
        newest = max(found, key=lambda file: file.modified)
        return config.read_files(spark, credentials, [newest.path], known).filter(nothing)
    if known is not None:
        return empty_frame(spark, known)
    return config.read(spark, credentials).filter(nothing)


def _known_columns(columns: Mapping[str, str]) -> StructType | None:
    """Columns as a sink remembers them: by name, with their types as JSON."""
    from pyspark.sql import types as T

    if not columns:
        return None
    fields: list[dict[str, Any]] = [
        {"name": name, "type": json.loads(kind), "nullable": True, "metadata": {}} for name, kind in columns.items()
    ]
    return T.StructType.fromJson({"type": "struct", "fields": fields})


def _remembered(columns: StructType, known: StructType | None) -> Mapping[str, str]:
    """Columns for `_known_columns`: one that had a type keeps it where some file has texts of other kinds."""
    from pyspark.sql import types as T

    before = {field.name: field.dataType for field in (known.fields if known is not None else ())}
    return {
        field.name: (
            before.get(field.name, field.dataType) if isinstance(field.dataType, T.StringType) else field.dataType
        ).json()
        for field in columns.fields
    }


def _with_known_types(frame: DataFrame, known: StructType) -> DataFrame:
    """The frame with numbers and times in the types that they had before, where these hold all of the new type."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    before = {field.name: field.dataType for field in known.fields}
    casts = {
        field.name: F.col(quoted(field.name)).cast(before[field.name])
        for field in frame.schema.fields
        if isinstance(kind := before.get(field.name), (T.NumericType, T.DatetimeType))
        and kind != field.dataType
        and holds(kind, field.dataType)
    }
    return frame.withColumns(casts) if casts else frame


def _require_known_place(cursor: RememberedCursor, found: Sequence[FoundFile]) -> None:
    """Raise if the step reads another path than before, and none of the files there is known.

    Raises:
        PipelineExecutionException: So it is.
    """
    sources, known = cursor.other_source(), cursor.stored.files
    if sources is not None and known and not any(file.key in known for file in found):
        raise PipelineExecutionException(
            f"the files of {sources[0]} were loaded, and the step reads {sources[1]}, where none of them is: which "
            "files are new there can't be told",
            hint="pipeline-platform cursor FILE --set TIME has those that were modified before that time count as "
            "loaded; with --reset, all of them are loaded",
        )


def _require_unchanged(choice: FileChoice) -> None:
    if choice.changed:
        raise PipelineExecutionException(
            f"changed since it was loaded: {told(choice.changed)}; to load it again would repeat rows",
            hint="write new rows into files with new names; or set 'changedFiles' in 'incremental' to 'ignore', which "
            "leaves what was loaded, or to 'load', where the load merges rows by a key",
        )


def _hint(step: Step, choice: FileChoice, stored: StoredCursor, incremental: NewFiles) -> str | None:
    hints: list[str] = []
    if choice.passed:
        hints.append(
            f"as somebody has set the cursor, {len(choice.passed):,} of the files count as loaded, since they were "
            f"modified before {stored.position}: {told(choice.passed)}"
        )
    if choice.changed and incremental.changed_files == "ignore":
        hints.append(f"changed since it was loaded, and left as it was: {told(choice.changed)}")
    return f"'{step.name}': {'; '.join(hints)}" if hints else None
