"""Gives rows back that a replay has claimed, where none of its loads has taken them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeline_platform.connectors.delta.history import has_commit
from pipeline_platform.connectors.delta.sink import ToDeltaLake
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.quarantine_changes import QuarantineTable, claimed_by
from pipeline_platform.engine.quarantine_rows import finished_mark, replay_load_id
from pipeline_platform.engine.quarantine_tables import Quarantine
from pipeline_platform.engine.step_credentials import credentials_of_bucket
from pipeline_platform.exceptions import PipelineExecutionException

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def release_replays(quarantine: Quarantine, spark: SparkSession, credentials: RunCredentials) -> int:
    """Give the rows back of all replays of a step that were not finished; what those put into quarantine again goes.

    No other process may be at one of them.

    Args:
        quarantine: The quarantine of the step.
        spark: The session.
        credentials: Those of the run.

    Returns:
        How many rows can be replayed or deleted again.

    Raises:
        PipelineException: One of them has loaded rows, or may have; then none is given back.
    """
    place = quarantine.place(credentials)
    if open_table(place) is None:
        return 0
    table = QuarantineTable(quarantine, spark, place)
    claims = {text: json.loads(text)["id"] for text in table.claims()}
    for replay in claims.values():
        require_nothing_loaded(table, replay, credentials)
    rows = 0
    for text, replay in claims.items():
        with table.tried():
            rows += table.filtered(claimed_by(text)).count()
        table.release(text, replay_load_id(replay))
    return rows


def require_nothing_loaded(table: QuarantineTable, replay: str, credentials: RunCredentials) -> None:
    """Require that no load has taken rows of a replay.

    Args:
        table: The table of the quarantine.
        replay: Names it.
        credentials: Those of the run.

    Raises:
        PipelineExecutionException: One has, or can't tell.
        DeltaError: delta-rs can't read a table, or its store does not answer.
    """
    quarantine, load_id = table.quarantine, replay_load_id(replay)
    pipeline = quarantine.pipeline
    for step in pipeline.after(quarantine.step):
        if step.type != "load":
            continue
        config = step.config.resolved()
        if not isinstance(config, ToDeltaLake):
            raise _refused(table, replay, f"whether '{step.name}' has loaded its rows can't be looked up")
        place = config.place(credentials_of_bucket(credentials, pipeline.steps, config.uri()))
        sink = open_table(place)
        # The step may have had another name then.
        if sink is not None and (
            sink.transaction_version(f"{load_id}/{step.name}") is not None or has_commit(sink, place, f"{load_id}/")
        ):
            raise _refused(table, replay, f"'{step.name}' has loaded its rows, which would then be loaded twice")
    own = open_table(table.place)
    if own is not None and own.transaction_version(finished_mark(pipeline, load_id)) is not None:
        raise _refused(table, replay, "all its loads are done")


def _refused(table: QuarantineTable, replay: str, why: str) -> PipelineExecutionException:
    return PipelineExecutionException(
        f"the replay {replay} can't be given up: {why}",
        location=table.quarantine.step.location,
        hint="mend what it failed at and finish it with: pipeline-platform quarantine replay",
    )
