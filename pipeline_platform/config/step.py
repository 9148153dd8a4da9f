"""What every step has in common, whatever its method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

from pydantic import PrivateAttr, ValidationError

from pipeline_platform.config.contracts.promises import Promises
from pipeline_platform.config.contracts.table import KeptContract
from pipeline_platform.config.format_errors import format_errors
from pipeline_platform.config.format_model import FormatModel
from pipeline_platform.config.placeholders import VariableError, has_only_bounds, partition_parts, substitute_all
from pipeline_platform.config.range_frames import OneByOne, RangeFrame
from pipeline_platform.config.redirection import Redirection
from pipeline_platform.config.replacement import Replacement
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import PUT_INTO_SQL
from pipeline_platform.exceptions import CredentialException, PipelineConfigurationException, StepLocation
from pipeline_platform.extras import Extra
from pipeline_platform.redaction import redact_urls

if TYPE_CHECKING:
    from pipeline_platform.config.step_over_range import RangeStep

StepType = Literal["extract", "transform", "validate", "load"]
STEP_TYPES: tuple[StepType, ...] = ("extract", "transform", "validate", "load")
PipelineMode = Literal["batch", "streaming"]


class StepConfig(FormatModel):
    """The config of one step; a method is a subclass, its fields are the keys it takes."""

    step_type: ClassVar[StepType]
    method: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    """Other spellings of the method's name that a file may use."""
    other_keys: ClassVar[tuple[str, ...]] = ()
    """The best known of the keys that it takes beside its fields."""
    example: ClassVar[Mapping[str, Any] | None] = None
    """A config that shows the method in use, for the reference and for editors."""
    kind: ClassVar[str] = "spark"
    """The system it deals with, as Dagster's `kinds` name it."""
    answers_queries: ClassVar[bool] = False
    """Whether it is an extract that can be asked for a few rows without Spark; see `Extract.answer`."""

    neutral_keys: ClassVar[frozenset[str]] = frozenset()
    """Its own fields, beside those of its base classes, that say how it works and not what comes of it."""
    column_keys: ClassVar[frozenset[str]] = frozenset()
    """The same of fields of which each part is about one column of the output: what changes there changes neither the
    rows nor other columns."""

    _as_written: StepConfig | None = PrivateAttr(default=None)

    def required_extras(self) -> Sequence[Extra]:
        """Optional packages that the step can't run without; asked for before anything is begun."""
        return ()

    def referenced_frames(self) -> Sequence[tuple[str, str]]:
        """Registered frames the step reads, as (config key, name) pairs."""
        return ()

    def reads_primary(self) -> bool:
        """Whether the step also works on the primary frame."""
        return True

    def registered_name(self) -> str | None:
        """The name under which later steps find the step's output."""
        return None

    def ends_by_itself(self) -> bool:
        """Whether a stream with this step ends when it has read what is there."""
        return True

    def traits(self) -> Traits:
        """What the step is, with this config; by default that of which nothing is known."""
        return Traits()

    def position_in(self) -> Mapping[str, Any]:
        """Of a stream: in what the offsets of a checkpoint are positions."""
        return {}

    def quarantines_bad_records(self) -> bool:
        """Whether records of an extract are taken out and kept, so that they are dealt with as in a load."""
        return False

    def fills_quarantine(self) -> bool:
        """Whether rows or records are taken out and kept in a table of their own."""
        return self.quarantines_bad_records()

    def quarantine(self) -> str | None:
        """Path of that table, if the config says."""
        return None

    def folder(self) -> str | None:
        """Path or URI of a sink that is a folder; None for one that is not, and for any other step."""
        return None

    def written_place(self, texts: Mapping[str, str]) -> str | None:
        """The table, folder or topic that is written, with one spelling for one place; None if the step is no load.

        Args:
            texts: What stands for `${partition:key}`, `${partition:start}` and `${partition:end}` in it.
        """
        return None

    def read_place(self, texts: Mapping[str, str]) -> str | None:
        """As `written_place`, what is read; None if the step is no extract, or reads nothing that has a place."""
        return None

    def read_from(self, to: Redirection) -> Self | None:
        """Of an extract: a copy that reads the same of an environment; None if there can be no such thing.

        Args:
            to: Gives each place another one.

        Raises:
            NotRedirected: The place can't be given another one.
        """
        return None

    def redirected(self, to: Redirection) -> Self:
        """A copy that writes what belongs to an environment, and not what belongs to production.

        Here, its quarantine and its checkpoint; a load says what it writes besides.

        Args:
            to: Gives each place another one.

        Raises:
            NotRedirected: A place can't be given another one, or the load does not say what it writes.
        """
        places: dict[str, str | None] = {name: getattr(self, name, None) for name in _PLACES}
        changed = {name: to.path(place) for name, place in places.items() if place is not None}
        return self.model_copy(update=changed) if changed else self

    def replaces(self) -> Replacement | None:
        """Which rows of the table are replaced or deleted, whoever has written them; None if none are.

        Rows that are changed by a key do not count. A load that says nothing is taken for one that may replace any.
        """
        return None

    def state_error(self, streams: Set[str | None]) -> tuple[str, str] | None:
        """Why a stream can't keep the state of this step, and what to do; None if it can.

        Args:
            streams: Names of those inputs that are streams.
        """
        return None

    def append_error(self) -> tuple[str, str] | None:
        """Why nothing of this step could ever come out of a stream in output mode append, and what to do.

        None if it can.
        """
        return None

    def is_continuous(self) -> bool:
        """Whether a stream that ends here passes each row on by itself, without micro-batches."""
        return False

    def is_watched(self) -> bool:
        """Whether a sensor runs the pipeline when something new is there; only of an extract."""
        return False

    def reads_increments(self) -> bool:
        """Whether each run reads only what is new since the last load; only of an extract."""
        return False

    def looks_again(self) -> bool:
        """Whether such a run also looks at rows that may have been loaded before."""
        return False

    def loads_again(self) -> bool:
        """Whether such a run may load rows that were loaded before."""
        return False

    def merges_rows(self) -> bool:
        """Whether a row that is loaded again is there once; only of a load."""
        return False

    def loads_compared(self) -> int:
        """With how many of the loads before the rows are compared; only of a validation."""
        return 0

    def cursor_error(self, *, looks_again: bool) -> tuple[str | None, str] | None:
        """Why a load can't remember where it has come in what is read so, as (config key or None, message).

        None if it can.

        Args:
            looks_again: As `looks_again` of what reads.
        """
        return None, f"'{self.method}' can't remember where it has come in its source"

    def kept_contract(self) -> KeptContract | None:
        """The data contract that what is written has to keep; only of a load."""
        return None

    def contract_rules(self, promised: Promises) -> StepConfig:
        """The validation of a load's data contract, which comes right before it.

        Args:
            promised: What the contract promises.
        """
        raise NotImplementedError(f"'{self.method}' keeps no contract")

    def mode_errors(self, mode: PipelineMode) -> Sequence[tuple[str | None, str]]:
        """What does not go in a pipeline of this mode, as (config key or None, message) pairs."""
        return ()

    def rows_alone(self) -> Self | None:
        """The step without what says what is in single columns; what is left decides which rows come of it.

        Fields in `column_keys` may stay.

        Returns:
            None if its rows are those of its one input, whatever is in their columns.
        """
        traits = self.traits()
        return None if traits.keeps_rows and traits.keeps_row_count else self

    def read_beside(self) -> Any:
        """What it has read from a file that its config names, to be compared with what another version has read."""
        return None

    @property
    def as_written(self) -> StepConfig:
        """The config as it stands in the file: of a resolved one that which it was made of, of any other itself."""
        return self._as_written or self

    def as_config(self) -> dict[str, Any]:
        """The config as it would be written in JSON, without defaults and without secrets.

        Environment variables that are replaced at run time only stand as they are written, of a resolved config too.
        """
        return _without_passwords(self.as_written.model_dump(mode="json", by_alias=True, exclude_unset=True))

    def fits_ranges(self) -> bool:
        """Whether what its strings say of a partition is right for several that follow each other, too."""
        return has_only_bounds(self.as_written.model_dump(exclude_unset=True))

    def over_range(self, step: RangeStep) -> RangeFrame:
        """What becomes of the frames of the step in a run that loads several partitions; asked of what `fits_ranges`.

        A method that says nothing of it is run for one partition at a time wherever the partition chose its rows.

        Args:
            step: What it works on.

        Raises:
            OneByOne: What comes of it may differ from what one run for each partition would make.
        """
        if step.is_divided() or self.uses_partition():
            raise OneByOne("is not known to treat each partition by itself")
        return RangeFrame(step.origin)

    def uses_partition(self) -> bool:
        """Whether a bound or the key of the partition stands in any of its strings."""
        return bool(partition_parts(self.as_written.model_dump(exclude_unset=True)))

    def names_partition_in_place(self) -> bool:
        """Whether the key of the partition is a part of what it reads or writes."""
        return bool(self.places_of_partition())

    def places_of_partition(self) -> set[str]:
        """Which of `path` and `table` hold the key of the partition."""
        places = {key: getattr(self.as_written, key, None) for key in ("path", "table")}
        return {key for key, place in places.items() if isinstance(place, str) and "key" in partition_parts(place)}

    def partition_errors(self, column: str) -> Sequence[tuple[str | None, str]]:
        """What does not go in a pipeline with partitions, as (config key or None, message) pairs.

        Args:
            column: The column that says to which partition a row belongs.
        """
        return ()

    def resolved(self, partition: Mapping[str, str] | None = None) -> Self:
        """A copy with the placeholders in its strings replaced, for use at run time only.

        A value that a variable has is not looked at again: of a config that is resolved, this is the config itself.

        Args:
            partition: What stands for the placeholders of a partition.

        Raises:
            CredentialException: A variable is not set, or not for pipelines.
            PipelineConfigurationException: With the variables' values the config is not what the format allows.
        """
        if self._as_written is not None:
            return self
        written = self.model_dump(by_alias=True, exclude_unset=True)
        try:
            config = substitute_all(written, partition)
        except VariableError as error:
            raise CredentialException(str(error), credential_type="environment") from error
        if config == written:
            return self
        try:
            parts = partition_parts(written)
            put_in = [text for part, text in (partition or {}).items() if part in parts]
            resolved = self.model_validate(config, context={PUT_INTO_SQL: put_in})
        except ValidationError as error:
            wrong = "; ".join(
                f"'{'.'.join(map(str, mistake.keys))}': {mistake.message}" for mistake in format_errors(error)
            )
            message = f"with the values of its placeholders the config is not valid: {wrong}"
            raise PipelineConfigurationException(message) from None
        resolved._as_written = self
        return resolved


# Keys with a path of something that is written beside the sink, whatever the step.
_PLACES = ("quarantine_path", "checkpoint_location")


def _without_passwords(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_passwords(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_without_passwords(item) for item in cast("list[Any]", value)]
    return redact_urls(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class Input:
    """An edge of the step graph.

    Args:
        step: Index of the step whose frame is read.
        name: The registered name it is read by; None for the primary frame.
    """

    step: int
    name: str | None


@dataclass(frozen=True)
class Step:
    """A step with its place in the pipeline.

    Args:
        index: Position in `steps`, from 0; to people it is `number`.
        name: Asset name: `registerAs`, or made from the method; unique in the pipeline.
        config: The method and its config.
        inputs: The frames it works on: for extracts none, otherwise the primary first.
        location: For errors.
        guards: Of the validation of a contract: index of the load that keeps it, right before which it is carried out.
            It stands after the steps of the file, whose numbers it leaves as they are.
        production: Of an extract that reads what a pipeline of the project writes, in an environment: what it reads
            where that was not written there yet; of a load, what its table may begin as.
        note: What someone should know of it.
    """

    index: int
    name: str
    config: StepConfig
    inputs: tuple[Input, ...]
    location: StepLocation
    guards: int | None = None
    production: StepConfig | None = None
    note: str | None = None

    @property
    def number(self) -> int:
        """Position in `steps`, from 1, as people count."""
        return self.index + 1

    @property
    def type(self) -> StepType:
        """`extract`, `transform`, `validate` or `load`."""
        return self.config.step_type

    @cached_property
    def traits(self) -> Traits:
        """What the step is, with its config as it is written: the same wherever it runs."""
        return self.config.as_written.traits()

    @property
    def file(self) -> Path | None:
        """The JSON file."""
        return self.location.file
