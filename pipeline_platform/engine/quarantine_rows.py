"""What the rows of a quarantine are marked with, and how long they are kept."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.sql import sql_text
from pipeline_platform.config.step import Step
from pipeline_platform.connectors.delta.rows import delete_rows
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.redaction import redact

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STEP = "_step"
"""Column of a quarantine table: the pipeline and the step that put the row there."""
QUARANTINED_AT = "_quarantined_at"
"""Column of such a table: when that was."""
PARTITION = "_partition"
"""Column of that of a pipeline with partitions: the partition, or the range of them, that was loaded then."""
REPLAY = "_replay"
"""Column of one of which rows were replayed: the replay that has claimed the row and has not finished with it."""
QUARANTINED_BY = "_quarantined_by"
"""Column of such a table: the load id of the run, or of the replay, that did so; NULL of a stream, whose micro-batches
are tried again until they are done, and of a partition, which replaces what it had put there."""
OWN_COLUMNS = (STEP, QUARANTINED_AT, QUARANTINED_BY, PARTITION, REPLAY)
_OF_REPLAY = "replay-"
_PAUSE_SECONDS = 3600.0
"""Between two times that a process deletes old rows of one table."""

_LOG = logging.getLogger(__name__)
_forgotten: dict[tuple[str, ...], float] = {}
_lock = threading.Lock()


def quarantine_mark(pipeline: PipelineConfig, step: Step) -> str:
    """What the rows are marked with that a step puts into quarantine.

    Args:
        pipeline: Its pipeline.
        step: The step.
    """
    return f"{pipeline.name}/{step.name}"


def finished_mark(pipeline: PipelineConfig, load_id: str) -> str:
    """Delta's transaction app id by which a quarantine table knows that a run was finished which put rows there.

    Args:
        pipeline: The pipeline.
        load_id: The load id of the run.
    """
    return f"{load_id}/{pipeline.name}/finished"


def replay_load_id(replay: str) -> str:
    """The load id of a replay.

    Args:
        replay: What names it.
    """
    return f"{_OF_REPLAY}{replay}"


def is_of_replay(load_id: str) -> bool:
    """Whether a load id is a replay's.

    Args:
        load_id: The load id.
    """
    return load_id.startswith(_OF_REPLAY)


def older_than(age: timedelta) -> str:
    """A condition for rows that have been in quarantine for longer."""
    return f"{QUARANTINED_AT} < current_timestamp() - INTERVAL {int(age.total_seconds())} SECONDS"


def forget_old_rows(spark: SparkSession, place: StorageLocation, marks: Sequence[str], keep: timedelta) -> None:
    """Delete the rows of some steps that are kept no longer, but those that a replay has claimed.

    A process does so once an hour for a table. What it fails at is told in the log alone: the next time will do.

    Args:
        spark: The session.
        place: The table.
        marks: Of the steps.
        keep: How long rows are kept.
    """
    key, now = (place.uri, *marks), time.monotonic()
    with _lock:
        if now - _forgotten.get(key, float("-inf")) < _PAUSE_SECONDS:
            return
        _forgotten[key] = now
    try:
        condition = f"{STEP} IN ({', '.join(map(sql_text, marks))}) AND {older_than(keep)}"
        has_replays = REPLAY in spark.read.format("delta").options(**place.spark_options()).load(place.uri).columns
        delete_rows(spark, place, f"{condition} AND {REPLAY} IS NULL" if has_replays else condition)
    except Exception as error:  # noqa: BLE001 - another writer may have been faster.
        _LOG.warning(
            "old rows of the quarantine %s were not deleted: %s", place.uri, redact(str(error).splitlines()[0])
        )
