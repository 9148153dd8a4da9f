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
from pipeline_platform.engine.cursors import remembered_cursor
from pipeline_platform.engine.increments import Increment
from pipeline_platform.engine.scope import RunScope
from pipeline_platform.engine.step_credentials import credentials_for
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.session import empty_frame
from pipeline_platform.steps.cursor import CursorMove, StoredCursor
from pipeline_platform.steps.known_files import MODIFICATION_TIME, FileChoice, FoundFile, chosen_files, told
from pipeline_platform.steps.new_files import NoRecordError, ReadsNewFiles

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

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
    stored = cursor.require_same(MODIFICATION_TIME)
    credentials = credentials_for(scope.credentials, config, step)
    found = config.found_files(spark, credentials)
    choice = chosen_files(found, stored)
    if config.incremental.changed_files == "fail":
        _require_unchanged(choice)
    again = choice.changed if config.incremental.changed_files == "load" else ()
    read = [*choice.new, *again]
    frame = _frame(spark, config, credentials, read, found, stored.columns)
    columns = {field.name: field.dataType.json() for field in frame.schema}
    after = replace(choice.after, columns=columns, source=cursor.source)
    # Where somebody has set it, which files count as loaded is settled at once: others as old may come.
    move = CursorMove(cursor.name, stored, after, is_idle=stored.version > 0 and not stored.is_start and not read)
    return Increment(frame, cursor.load.index, move, _hint(step, choice, stored, config.incremental))


def _frame(
    spark: SparkSession,
    config: ReadsNewFiles,
    credentials: Credentials | None,
    read: Sequence[FoundFile],
    found: Sequence[FoundFile],
    columns: Mapping[str, str],
) -> DataFrame:
    """The rows of the files; of none, the columns that there would be.

    Args:
        spark: The session.
        config: Of the extract.
        credentials: As for its `read`.
        read: The files.
        found: All that are there.
        columns: Those of the files that were loaded last, with their types as JSON.
    """
    from pyspark.sql import functions as F

    if read:
        try:
            return config.read_files(spark, credentials, [file.path for file in read])
        except NoRecordError:
            if not columns:
                raise
            return _without_rows(spark, columns)
    nothing = F.expr("false")
    if found and (config.names_columns() or not columns):
        newest = max(found, key=lambda file: file.modified)
        return config.read_files(spark, credentials, [newest.path]).filter(nothing)
    if columns:
        return _without_rows(spark, columns)
    return config.read(spark, credentials).filter(nothing)


def _without_rows(spark: SparkSession, columns: Mapping[str, str]) -> DataFrame:
    from pyspark.sql import types as T

    fields: list[dict[str, Any]] = [
        {"name": name, "type": json.loads(kind), "nullable": True, "metadata": {}} for name, kind in columns.items()
    ]
    return empty_frame(spark, T.StructType.fromJson({"type": "struct", "fields": fields}))


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
