"""What the engine asks of every load."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Protocol, Self, get_args, runtime_checkable

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from pipeline_platform.config.contracts.promises import Promises
from pipeline_platform.config.contracts.table import Contract, KeptContract
from pipeline_platform.config.placeholders import partition_parts, with_partition
from pipeline_platform.config.range_frames import OneByOne, RangeFrame
from pipeline_platform.config.redirection import NotRedirected, Redirection
from pipeline_platform.config.replacement import Replacement, replacement_of
from pipeline_platform.config.step import PipelineMode, StepConfig, StepType
from pipeline_platform.config.values import Location, Text, one_of
from pipeline_platform.frames.schema_drift import SchemaChange
from pipeline_platform.steps.base import FrameInput
from pipeline_platform.steps.contract_rules import contract_rules
from pipeline_platform.steps.table_facts import TableFacts

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.streaming.readwriter import DataStreamWriter
    from pyspark.sql.types import StructType

    from pipeline_platform.config.step_over_range import RangeStep
    from pipeline_platform.credentials.model import Credentials
    from pipeline_platform.frames.partition_rows import PartitionRows
    from pipeline_platform.steps.cursor import CursorMove, CursorPlace
    from pipeline_platform.steps.dataset import Dataset
    from pipeline_platform.steps.erasing import Erasable


@dataclass(frozen=True)
class LoadRun:
    """One load of one run, or of one micro-batch of a stream.

    Args:
        load_id: The same for every attempt at the same load, different for each new load, and the same for all
            micro-batches of a stream: what idempotence hangs on.
        query_name: Name for the query.
        credentials: Those of the sink's system; None if it has none, or lets the step in without.
        run_id: The attempt at the load: differs where `load_id` is the same.
        batch: Number of the micro-batch; None in a batch pipeline.
        rows: The rows that mode `overwrite` replaces; None for all of them.
        cursor: Where the load gets to in a source of which only what is new was read; None if all of it was.
        about: What is said of the table.
    """

    load_id: str
    query_name: str
    credentials: Credentials | None = None
    run_id: str = ""
    batch: int | None = None
    rows: PartitionRows | None = None
    cursor: CursorMove | None = None
    about: TableFacts = field(default_factory=TableFacts)

    @property
    def key(self) -> str:
        """The same for every attempt at these very rows, and for no others."""
        return self.load_id if self.batch is None else f"{self.load_id}/{self.batch}"

    @property
    def key_before(self) -> str | None:
        """That of the micro-batch before, which is not tried again once this one has begun."""
        return f"{self.load_id}/{self.batch - 1}" if self.batch else None


@dataclass(frozen=True)
class LoadResult:
    """What a load wrote.

    Args:
        rows: Rows written; None if the sink does not say.
        bytes: Bytes written.
        files: Files written.
        version: Version of the table, for a sink that has versions.
        skipped: Why nothing was written, where that is right: an earlier attempt did, or mode `ignore`.
        detail: More numbers of the sink's own, for the metadata.
        schema_changes: How the columns that were loaded were different from those of the sink.
        remark: What someone should look at in the sink.
    """

    rows: int | None = None
    bytes: int | None = None
    files: int | None = None
    version: int | None = None
    skipped: str | None = None
    detail: Mapping[str, int] = field(default_factory=dict[str, int])
    schema_changes: Sequence[SchemaChange] = ()
    remark: str | None = None


NOTHING_NEW = LoadResult(rows=0, skipped="there is nothing new in the source")
"""Of a load that had nothing to write."""


class PreparedLoad(Protocol):
    """A load that was planned: it was held against its sink, nothing was written yet."""

    def write(self) -> LoadResult:
        """Write all or nothing; a second call for the same load id changes nothing."""
        ...

    def clean(self) -> None:
        """Remove what an attempt that did not finish left behind."""
        ...


@runtime_checkable
class WritesFrame(Protocol):
    """A prepared load whose sink has other columns than the frame that it was given."""

    @property
    def frame(self) -> DataFrame:
        """What is written."""
        ...


@runtime_checkable
class RemembersBatches(Protocol):
    """A prepared load of a stream whose sink keeps which of the stream's micro-batches it holds."""

    def last_batch(self) -> int | None:
        """The newest micro-batch with the load's id that the sink holds; None if it holds none."""
        ...


@runtime_checkable
class RemembersRows(Protocol):
    """A prepared load whose sink remembers how many rows the loads before had; one with the trait `remembers_rows`."""

    def past_rows(self, count: int) -> Sequence[int]:
        """The numbers of rows that the last loads of the same step had, the newest first.

        Args:
            count: Of how many loads at most.
        """
        ...


class Load(FrameInput):
    """Writes a frame to a sink."""

    step_type: ClassVar[StepType] = "load"
    neutral_keys: ClassVar[frozenset[str]] = frozenset({"contract", "query_name", "checkpoint_location", "trigger"})

    contract: Contract | None = None
    """The Open Data Contract (ODCS v3) that the rows keep: a file, relative to this one, or `{file, schema}` with the
    name of the object in its `schema`. See [keep a data contract](how-to/data-contracts.md)."""
    query_name: Text | None = None
    """Name of the streaming query; by default made from pipeline and step."""
    checkpoint_location: Location | None = None
    """Streaming: folder of the checkpoint; by default one under `checkpointRoot` with the pipeline's name."""
    output_mode: Annotated[Literal["append", "complete", "update"], one_of("append", "complete", "update")] = "append"
    """Streaming: Spark's output mode."""
    trigger: Trigger = "5 seconds"
    """Streaming: when a micro-batch starts; `continuous=…` processes rows without micro-batches, for a single plain
    load to Kafka."""

    def kept_contract(self) -> KeptContract | None:
        if self.contract is None:
            return None
        place = self.dataset().location.rstrip("/").rpartition("/")[2]
        return KeptContract(self.contract, (place, place.rpartition(".")[2]), self.partition_columns(), self.kind)

    def partition_columns(self) -> tuple[str, ...]:
        """The columns by which what is written is divided."""
        return ()

    def contract_rules(self, promised: Promises) -> StepConfig:
        return contract_rules(promised, self.input)

    def mode_errors(self, mode: PipelineMode) -> Sequence[tuple[str | None, str]]:
        if mode != "streaming":
            return []
        if self.is_continuous() and not self.traits().can_be_continuous:
            return [
                ("trigger", f"{self.method} takes micro-batches, not single rows; use an interval, such as '1 second'")
            ]
        if getattr(self, "mode", None) in ("errorIfExists", "ignore"):
            return [
                (
                    "mode",
                    "the second micro-batch of a stream always finds the data of the first; use append, "
                    "overwrite or merge",
                )
            ]
        return []

    def partition_errors(self, column: str) -> Sequence[tuple[str | None, str]]:
        mode = getattr(self, "mode", None)
        if mode is None:
            return [
                (None, f"'{self.method}' adds to what is there, so a partition that is run twice would be there twice")
            ]
        if mode not in ("overwrite", "merge", "applyChanges"):
            message = "a partition may be run again: use overwrite, which replaces its rows alone, or merge"
            return [("mode", message if "merge" in self.modes() else message.removesuffix(", or merge"))]
        if mode == "overwrite" and not self.names_partition_in_place() and not self.traits().replaces_partitions:
            return [("mode", f"'{self.method}' replaces everything, and not the partition of the run alone")]
        return []

    def over_range(self, step: RangeStep) -> RangeFrame:
        frame = step.frame
        keys: Sequence[str] = getattr(self, "merge_keys", ())
        if getattr(self, "mode", None) == "merge" and step.column not in (name.lower() for name in keys):
            raise OneByOne(
                f"merges by {', '.join(keys)}: rows of two partitions may be one, which the later one changes"
            )
        if frame.by and not frame.tells(frame.value(step.column)):
            raise OneByOne(f"loads '{step.sql.partitions.column}', which may not be what is compared with the bounds")
        return frame

    @classmethod
    def modes(cls) -> Sequence[str]:
        """The modes that there are; none of a method without `mode`."""
        field = cls.model_fields.get("mode")
        return get_args(field.annotation) if field is not None else ()

    def replaces(self) -> Replacement | None:
        return replacement_of(getattr(self, "mode", None))

    def written_place(self, texts: Mapping[str, str]) -> str | None:
        places = {name: getattr(self, name, None) for name in ("path", "table")}
        divided = {name: place for name, place in places.items() if isinstance(place, str) and partition_parts(place)}
        changed = {name: with_partition(place, texts) for name, place in divided.items()}
        return (self.model_copy(update=changed) if changed else self).dataset().location

    def redirected(self, to: Redirection) -> Self:
        raise NotRedirected(
            f"'{self.method}' does not say how its sink gets another place",
            f"'{self.method}' can say so in 'redirected'; until then, leave the pipeline out of the environment",
        )

    def with_place(self, to: Redirection, **place: object) -> Self:
        """A copy with another sink, and with its quarantine and its checkpoint elsewhere.

        Args:
            to: The environment's.
            place: The keys that say where the sink is.

        Raises:
            NotRedirected: The quarantine or the checkpoint can't be given another place.
        """
        return super().redirected(to).model_copy(update=place)

    def depends_on_rows(self) -> bool:
        """Whether what it leaves in its sink depends on the rows that are there, but for those of other partitions."""
        return False

    def begin_as(self, other: Load, spark: SparkSession, credentials: Credentials | None) -> str | None:
        """Make the sink a copy of another one, unless it is there, or the other one is not; asked before a run.

        Args:
            other: The same load of another sink.
            spark: The session.
            credentials: Those of the sink's system.

        Returns:
            What it is a copy of; None if nothing was done.

        Raises:
            PipelineException: It can't be copied.
        """
        return None

    def is_continuous(self) -> bool:
        return self.trigger.startswith("continuous")

    def ends_by_itself(self) -> bool:
        return self.trigger in ("availableNow", "once")

    def trigger_options(self) -> dict[str, str | bool]:
        """The trigger as an argument to the `trigger` of Spark's writer."""
        if self.trigger in ("availableNow", "once"):
            return {self.trigger: True}
        kind, _, interval = self.trigger.rpartition("=")
        number, unit = re.fullmatch(r"(\d+)\s*(\w+)", interval.strip()).groups()  # pyright: ignore[reportOptionalMemberAccess]
        return {kind.strip() or "processingTime": f"{number} {_UNITS.get(unit, unit)}"}

    def cursor_place(self, name: str, credentials: Credentials | None) -> CursorPlace:
        """Where the sink remembers a cursor; asked of those without a `cursor_error`.

        Args:
            name: Of the cursor.
            credentials: Those of the sink's system.
        """
        raise NotImplementedError(f"'{self.method}' remembers no cursor")

    def erasure(self, credentials: Credentials | None) -> Erasable | str:
        """How a person's rows are erased from the sink, or why `erase` can't do that.

        Args:
            credentials: Those of the sink's system.
        """
        return f"'{self.method}' does not say how rows are erased from what it writes"

    def dataset(self) -> Dataset:
        """What is written."""
        raise NotImplementedError(f"'{self.method}' is not available in this version")

    def catalog_name(self) -> str | None:
        """The name under which what is written is registered in a catalog; None if it is in none."""
        return None

    def native_sink(self, frame: DataFrame, run: LoadRun) -> DataStreamWriter | None:
        """The writer of Spark's own sink, for a stream that is this one load and nothing beside it.

        Args:
            frame: The rows of the stream; `prepare` has taken an empty frame with their columns.
            run: The load, of no micro-batch.

        Returns:
            None if Spark has no sink of its own that leaves the same.
        """
        return None

    def malformed(self, frame: DataFrame) -> Column | None:
        """Why a row of the frame can't be stored as it is, null for one that can.

        Returns:
            None if every row can be, or if a row that can't is to fail the load.
        """
        return None

    def quarantines_bad_records(self) -> bool:
        """Whether such rows go to a quarantine; otherwise they are stored with null for such values."""
        return False

    def without_malformed(self, frame: DataFrame) -> DataFrame:
        """The frame with nulls for the values that can't be stored."""
        return frame

    def require_fit(self, frame: DataFrame, table: StructType, former: Load) -> bool:
        """Hold the frame against a table that the load finds, of which the columns alone are known.

        Args:
            frame: What is to be written.
            table: The columns of the table.
            former: The load that has written it.

        Returns:
            Whether this sink can say.

        Raises:
            PipelineExecutionException: The load would be refused.
        """
        return False

    def prepare(self, frame: DataFrame, run: LoadRun) -> PreparedLoad:
        """Hold the frame against the sink: columns, partition columns, types; writes nothing.

        Raises:
            PipelineException: The sink can't take the frame.
        """
        raise NotImplementedError(f"'{self.method}' is not available in this version")


# Spark wants them written out.
_UNITS = {"ms": "milliseconds", "s": "seconds", "min": "minutes", "h": "hours", "d": "days"}


def _trigger(value: str) -> str:
    text = value.strip()
    interval = r"\d+\s*(milliseconds?|ms|seconds?|s|minutes?|min|hours?|h|days?|d)"
    allowed = rf"(processingTime\s*=\s*)?{interval}|once|availableNow|continuous\s*=\s*{interval}"
    if not re.fullmatch(allowed, text, re.ASCII):
        raise PydanticCustomError(
            "trigger",
            "unknown trigger '{value}'; write '5 seconds', 'processingTime=5 seconds', 'once', 'availableNow' "
            "or 'continuous=1 second'",
            {"value": value},
        )
    return text


Trigger = Annotated[
    Location,
    AfterValidator(_trigger),
    WithJsonSchema({"type": "string", "examples": ["5 seconds", "processingTime=5 seconds", "availableNow"]}),
]
Load.model_rebuild()
