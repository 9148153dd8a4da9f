"""The quarantine of each step: where it is, and what is in it, found out without a JVM."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.placeholders import partition_parts
from pipeline_platform.config.sql import sql_text
from pipeline_platform.config.step import Step
from pipeline_platform.config.table_writers import quarantine_beside_sink
from pipeline_platform.config.uris import normalized_uri
from pipeline_platform.connectors.delta.sink import ToDeltaLake
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.engine.quarantine_rows import (
    QUARANTINED_AT,
    QUARANTINED_BY,
    REPLAY,
    STEP,
    finished_mark,
    is_of_replay,
    quarantine_mark,
    replay_load_id,
)
from pipeline_platform.engine.step_credentials import credentials_of_bucket
from pipeline_platform.engine.validation import REASONS
from pipeline_platform.exceptions import PipelineConfigurationException

if TYPE_CHECKING:
    from deltalake import DeltaTable


@dataclass(frozen=True)
class Quarantine:
    """The quarantine of a step.

    Args:
        pipeline: Its pipeline.
        step: The step.
        path: Where the table is, as it is written.
        is_alone: Whether no other step of the project writes it, so that what no step is named of is this one's.
    """

    pipeline: PipelineConfig
    step: Step
    path: str
    is_alone: bool

    @property
    def mark(self) -> str:
        """What its rows are marked with."""
        return quarantine_mark(self.pipeline, self.step)

    @property
    def is_raw(self) -> bool:
        """Whether it has what could not be read or stored, and not rows that broke a rule."""
        return self.step.type != "validate"

    def config(self) -> ToDeltaLake:
        """How the table is written, its environment variables replaced.

        Raises:
            CredentialException: One is not set.
            PipelineConfigurationException: There is a table for each partition.
        """
        if partition_parts(self.path):
            raise PipelineConfigurationException(
                f"the quarantine of '{self.step.name}' is another table for each partition: {self.path}",
                location=self.step.location,
                hint="give all partitions one, whose column '_partition' tells their rows apart",
            )
        return ToDeltaLake(path=self.path, merge_schema=True).resolved()

    def place(self, credentials: RunCredentials) -> StorageLocation:
        """Where the table is, with the credentials of the step that writes to its bucket.

        Raises:
            PipelineException: They can't be had.
        """
        config = self.config()
        return config.place(credentials_of_bucket(credentials, self.pipeline.steps, config.uri()))

    def condition(self, columns: Sequence[str]) -> str:
        """What holds for the rows of the step, in Spark SQL.

        Args:
            columns: Those of the table.
        """
        if STEP not in columns:
            return "true" if self.is_alone else "false"
        return f"({STEP} = {sql_text(self.mark)}{f' OR {STEP} IS NULL' if self.is_alone else ''})"

    def finished(self, table: DeltaTable, load_ids: Iterable[str], claims: Iterable[str]) -> list[str]:
        """Those of some load ids whose rows count: the run was finished, and so was the replay.

        Args:
            table: The table, opened after its rows were looked at.
            load_ids: What its rows say in `_quarantined_by`.
            claims: What they say in `_replay`.
        """
        open_replays = {replay_load_id(json.loads(claim)["id"]) for claim in claims}
        return sorted(
            one
            for one in load_ids
            if one not in open_replays and table.transaction_version(finished_mark(self.pipeline, one)) is not None
        )


@dataclass(frozen=True)
class QuarantineState:
    """What is in the quarantine of a step.

    Args:
        rows: How many rows; those that a replay has claimed are among them.
        by_rule: How many broke each rule; none where it has no rows of a frame.
        oldest: When the oldest row was put there; None if no row says.
        newest: The same of the newest.
        pending: Rows of a replay that was not finished.
        unfinished: Rows that don't count, by the load id of the run that has put them there and did not finish, or goes
            on; those that a replay has put there again do when it is finished.
        unknown: Rows of a version that did not say whose they are, where several steps write the table.
        table_bytes: Of the whole table, in which other steps may have rows, too.
    """

    rows: int
    by_rule: Mapping[str, int] = field(default_factory=dict[str, int])
    oldest: datetime | None = None
    newest: datetime | None = None
    pending: int = 0
    unfinished: Mapping[str, int] = field(default_factory=dict[str, int])
    unknown: int = 0
    table_bytes: int = 0


def quarantines_of(pipelines: Sequence[PipelineConfig]) -> list[Quarantine]:
    """The quarantines of pipelines that stand side by side, in their order.

    Args:
        pipelines: All of the project, so that it is known which tables several steps write.
    """
    found = [
        (pipeline, step, path)
        for pipeline in pipelines
        for step in pipeline.steps
        if step.config.fills_quarantine() and (path := quarantine_path(pipeline, step)) is not None
    ]
    places = [normalized_uri(path) for _, _, path in found]
    return [
        Quarantine(pipeline, step, path, places.count(place) == 1)
        for (pipeline, step, path), place in zip(found, places, strict=True)
    ]


def quarantine_of(pipeline: PipelineConfig, step: Step, beside: Sequence[PipelineConfig]) -> Quarantine:
    """The quarantine of a step.

    Args:
        pipeline: Its pipeline.
        step: The step, which has one.
        beside: The pipelines that it stands beside; it may be among them.

    Raises:
        PipelineConfigurationException: Nothing says where the table is.
    """
    others = [one for one in beside if one.name != pipeline.name]
    found = next(
        (one for one in quarantines_of([pipeline, *others]) if one.mark == quarantine_mark(pipeline, step)), None
    )
    if found is None:
        raise PipelineConfigurationException(
            "no sink has a path next to which quarantined rows could be kept",
            location=step.location,
            hint="set 'quarantinePath' to the path of a Delta table",
        )
    return found


def quarantine_path(pipeline: PipelineConfig, step: Step) -> str | None:
    """Where the rows of a step go: to the table that it names, or a validation beside it, or the one beside the sink.

    Args:
        pipeline: The pipeline.
        step: The step.
    """
    given = step.config.quarantine()
    if given is None and step.type == "validate":
        named = (one.config.quarantine() for one in validated_together(pipeline, step) if one.config.fills_quarantine())
        given = next((path for path in named if path is not None), None)
    return given or quarantine_beside_sink(pipeline.steps)


def validated_together(pipeline: PipelineConfig, step: Step) -> list[Step]:
    """The validations that follow each other on the frame of one, itself included.

    Args:
        pipeline: The pipeline.
        step: A validation.
    """
    together: list[Step] = []
    for one in pipeline.in_turn:
        if one.type == "validate" and one.inputs[0].step == step.inputs[0].step:
            together.append(one)
        elif any(other.index == step.index for other in together):
            break
        else:
            together = []
    return together


def state_of(quarantine: Quarantine, credentials: RunCredentials) -> QuarantineState | None:
    """What is in the quarantine of a step; None if there is no table yet.

    Args:
        quarantine: The quarantine.
        credentials: Where those of its bucket come from.

    Raises:
        PipelineException: The credentials can't be had.
        DeltaError: delta-rs can't read the table, or its store does not answer.
    """
    table = open_table(quarantine.place(credentials))
    return _state(quarantine, table) if table is not None else None


def _state(quarantine: Quarantine, table: DeltaTable) -> QuarantineState:
    import pyarrow
    import pyarrow.compute

    # They have no types.
    arrow: Any = pyarrow
    compute: Any = pyarrow.compute
    opened: Any = table
    there = [field.name for field in table.schema().fields]
    wanted = [name for name in (STEP, QUARANTINED_AT, QUARANTINED_BY, REPLAY, REASONS) if name in there]
    rows, unknown = opened.to_pyarrow_dataset().to_table(columns=wanted), 0
    if STEP in wanted:
        unknown = 0 if quarantine.is_alone else rows[STEP].null_count
        is_ours = compute.equal(rows[STEP], quarantine.mark)
        rows = rows.filter(compute.fill_null(is_ours, quarantine.is_alone))
    elif not quarantine.is_alone:
        rows, unknown = rows.slice(0, 0), rows.num_rows
    unfinished: dict[str, int] = {}
    if QUARANTINED_BY in wanted:
        by_load = {one["values"]: one["counts"] for one in compute.value_counts(rows[QUARANTINED_BY]).to_pylist()}
        load_ids = {one for one in by_load if one is not None}
        claims: list[str] = rows[REPLAY].drop_null().unique().to_pylist() if REPLAY in wanted else []
        finished = quarantine.finished(table, load_ids, claims)
        unfinished = {one: by_load[one] for one in sorted(load_ids.difference(finished))}
        counts = compute.is_in(rows[QUARANTINED_BY], value_set=arrow.array([None, *finished], arrow.string()))
        rows = rows.filter(counts)
    times = compute.min_max(rows[QUARANTINED_AT]).as_py() if QUARANTINED_AT in wanted else {"min": None, "max": None}
    by_rule: dict[str, int] = {}
    if REASONS in wanted and arrow.types.is_list(rows.schema.field(REASONS).type):
        counted = compute.value_counts(compute.list_flatten(rows[REASONS])).to_pylist()
        by_rule = {
            one["values"].removeprefix(f"{quarantine.step.name}: "): one["counts"]
            for one in sorted(counted, key=lambda one: (-one["counts"], one["values"]))
        }
    return QuarantineState(
        rows.num_rows,
        by_rule,
        times["min"],
        times["max"],
        rows.num_rows - rows[REPLAY].null_count if REPLAY in wanted else 0,
        {one: count for one, count in unfinished.items() if not is_of_replay(one)},
        unknown,
        sum(arrow.table(opened.get_add_actions(flatten=True))["size_bytes"].to_pylist()),
    )
