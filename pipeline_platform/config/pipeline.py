"""A whole pipeline: its own keys and its steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.dagster_names import dagster_owner, dagster_team, reserved_name
from pipeline_platform.config.partitions import Partition, Partitions
from pipeline_platform.config.placeholders import VariableError, substitute_all, unset_variables
from pipeline_platform.config.schedule import Cron, TimeZone
from pipeline_platform.config.spark_limits import SparkSettings
from pipeline_platform.config.step import FormatModel, PipelineMode, Step
from pipeline_platform.config.stream_shape import StreamShape, stream_shape
from pipeline_platform.config.values import (
    Amount,
    Location,
    Natural,
    PositiveInteger,
    Setting,
    Text,
    one_of,
    reveal,
)
from pipeline_platform.config.variables import Variable, VariableName, VariableValue
from pipeline_platform.exceptions import (
    CredentialException,
    PipelineConfigurationException,
    PipelineException,
    StepLocation,
)
from pipeline_platform.extras import Extra, install_hint


def _numbers(steps: Sequence[Step]) -> str:
    *others, last = (str(step.number) for step in steps)
    return f"steps {', '.join(others)} and {last}" if others else f"step {last}"


def _require_own_place(partition: Partition, places: Collection[str]) -> None:
    """Make sure that a key leads nowhere else where it is a part of a `path` or the name of a `table`."""
    if "path" in places and not partition.is_safe_in_path():
        raise PipelineConfigurationException(
            f"the partition '{partition}' can't be a part of a path",
            hint="a key with '/', '\\' or a wildcard, or of dots alone, would lead somewhere else; use another key",
        )
    if "table" in places and not partition.is_safe_in_table():
        raise PipelineConfigurationException(
            f"the partition '{partition}' can't be a part of a table's name",
            hint="a key with '.', '/', '\\' or a quote would name something else; use another key",
        )


def _owner(value: str) -> str:
    dagster_owner(value)
    return value


def _team(value: str) -> str:
    dagster_team(value)
    return value


class Metadata(FormatModel):
    """Who owns a pipeline and what it is about."""

    owner: Annotated[Text, AfterValidator(_owner)] | None = None
    """An email address, or a team as `team:name`: a Dagster owner."""
    team: Annotated[Text, AfterValidator(_team)] | None = None
    """Becomes the Dagster owner `team:<team>`."""
    version: Setting | None = None
    """Version of the pipeline, as its authors count it."""
    tags: list[Text] = []
    """Dagster tags."""

    def owners(self) -> list[str]:
        """Owner and team, as Dagster takes them."""
        owner = [dagster_owner(self.owner)] if self.owner is not None else []
        team = [dagster_team(self.team)] if self.team is not None else []
        return list(dict.fromkeys([*owner, *team]))


class Retry(FormatModel):
    """How often, and when, a step that failed for a transient reason is tried again."""

    max_attempts: PositiveInteger = 3
    """Total attempts, including the first."""
    delay_seconds: Amount = 5.0
    """Seconds before the second attempt."""
    backoff: Annotated[Literal["constant", "exponential"], one_of("constant", "exponential")] = "constant"
    """Whether the delay doubles with each attempt."""


class Schedule(FormatModel):
    """When Dagster runs a pipeline."""

    cron: Cron
    """A cron string of five fields, or such as `@daily`."""
    timezone: TimeZone = "UTC"
    """The time zone in which it ticks, such as `Europe/Berlin`."""


class StreamingOptions(FormatModel):
    """How the supervisor treats a streaming pipeline."""

    max_restarts: Natural = 5
    """Restarts without progress before the supervisor gives up on the stream."""
    restart_delay_seconds: Amount = 10.0
    """Seconds before the first restart; doubles with each."""
    max_restart_delay_seconds: Amount = 600.0
    """Upper limit of that delay, in seconds."""
    stall_timeout_seconds: Annotated[Amount, Field(gt=0)] = 600.0
    """Seconds without progress, although there is lag, before the stream is restarted."""
    checkpoint_root: Location = "checkpoints"
    """Folder or URI that holds the pipeline's checkpoint."""
    group: (
        Annotated[
            Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), Tag("name")]
            | Annotated[Literal[False], Tag("false")],
            Discriminator(lambda value: "false" if value is False else "name"),
        ]
        | None
    ) = None
    """Name of the group whose streams the sensor `streams` runs in one process; `false` for a process of its own. By
    default as `PIPELINE_PLATFORM_STREAM_GROUP_SIZE` says."""


def _name(value: str) -> str:
    mistake = reserved_name(value.replace("-", "_"))
    if mistake is not None:
        raise PydanticCustomError("reserved_name", "{mistake}", {"mistake": mistake})
    return value


Automation = Literal["onUpstream", "onMissing", "onSchedule"]


class PipelineKeys(FormatModel):
    """The top-level keys of a pipeline file, without its steps."""

    editor_schema: Annotated[str | None, Field(alias="$schema")] = None
    """For your editor: path or URL of the JSON Schema of this format, as `pipeline-platform schema` prints it."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$"), AfterValidator(_name)]
    """Unique in the project; the Dagster job, asset prefix and group come from it (`-` becomes `_`)."""
    mode: Annotated[PipelineMode, one_of("batch", "streaming")]
    """`batch` or `streaming`: the only thing that has to change to move a pipeline from one to the other."""
    description: str | None = None
    """Shown in Dagster."""
    metadata: Metadata = Metadata()
    """Owner, team, version and tags."""
    schedule: (
        Annotated[
            Annotated[Cron, Tag("cron string")] | Annotated[Schedule, Tag("object")],
            Discriminator(lambda value: "object" if isinstance(value, (dict, Schedule)) else "cron string"),
        ]
        | None
    ) = None
    """A cron string, or `{"cron": …, "timezone": …}`: the Dagster schedule of a batch pipeline, or of a streaming one
    that runs `availableNow`."""
    schedule_timezone: TimeZone = "UTC"
    """The time zone of a schedule that is a cron string, such as `Europe/Berlin`."""
    partitions: Partitions | None = None
    """The parts that the tables are loaded in, such as days: each run of a batch loads one of them, or several by time
    that follow each other. `${partition:key}`, `${partition:start}` and `${partition:end}` may stand in any string of a
    step."""
    variables: dict[VariableName, Variable] = {}
    """What a run may be given, by name: `${var:NAME}` stands for it in any string of a step or of `sparkConf`."""
    automation: Annotated[Automation, one_of("onUpstream", "onMissing", "onSchedule")] | None = None
    """When Dagster runs it by itself: `onUpstream` when a table that it reads was loaded; `onMissing` when a partition,
    or the whole, was never loaded and what it reads is there; `onSchedule` at a tick of `schedule`, once what it reads
    was loaded since the tick before."""
    retry: Retry = Retry()
    """Retries of transient failures."""
    spark_conf: SparkSettings = {}
    """Spark session settings for this pipeline only."""
    streaming: StreamingOptions = StreamingOptions()
    """How a streaming pipeline is supervised."""

    @property
    def cron(self) -> str | None:
        """When the schedule ticks; None without one."""
        return self.schedule.cron if isinstance(self.schedule, Schedule) else self.schedule

    @property
    def cron_timezone(self) -> str:
        """In which time zone it ticks."""
        return self.schedule.timezone if isinstance(self.schedule, Schedule) else self.schedule_timezone


class PipelineConfig(PipelineKeys):
    """A pipeline, read, checked and connected.

    `steps` are in the order of the file; `Step.inputs` says which frames each works on. `warnings` are
    not mistakes, but what someone should look at, such as a password in the file.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    steps: tuple[Step, ...]
    file: Path | None = None
    warnings: tuple[ConfigError, ...] = ()
    values: Mapping[str, VariableValue] = {}
    """What the variables stand for, defaults included; one without a value is left out."""

    @property
    def asset_prefix(self) -> str:
        """The name as Dagster allows it."""
        return self.name.replace("-", "_")

    @property
    def location(self) -> StepLocation:
        """The pipeline as a whole, for errors."""
        return StepLocation(self.name, self.file)

    def spark_settings(self) -> dict[str, str]:
        """`sparkConf` with its environment variables replaced and its secrets legible: for the session alone.

        Raises:
            CredentialException: A variable is not set, or not for pipelines.
        """
        try:
            return reveal(substitute_all(self.spark_conf))
        except VariableError as error:
            raise CredentialException(str(error), credential_type="environment") from error

    def require_variables(self, steps: Collection[int] | None = None) -> None:
        """Make sure that every environment variable is set which is needed at run time.

        Args:
            steps: Indices of the steps that are to run; None for all.

        Raises:
            CredentialException: One is not; it names all of them, and is located at the first step that needs one.
        """
        needed: dict[str, list[str]] = {}
        first: StepLocation | None = None
        for name in unset_variables(self.spark_conf):
            needed.setdefault(name, []).append("sparkConf")
        for step in self.steps:
            if steps is None or step.index in steps:
                for name in unset_variables(step.config.model_dump(by_alias=True, exclude_unset=True)):
                    needed.setdefault(name, []).append(f"step {step.number}")
                    first = first or step.location
        if not needed:
            return
        told = ", ".join(f"{name} (in {' and '.join(places)})" for name, places in needed.items())
        subject, verb, them = ("variables", "are", "them") if len(needed) > 1 else ("variable", "is", "it")
        raise CredentialException(
            f"the environment {subject} {told} {verb} not set",
            credential_type="environment",
            location=first or self.location,
            hint=f"set {them}, or write a default into the file, as in ${{env:{next(iter(needed))}:-default}}",
        )

    def require_extras(self, steps: Collection[int] | None = None) -> None:
        """Make sure that the optional packages are installed which the steps can't run without.

        Args:
            steps: Indices of the steps that are to run; None for all.

        Raises:
            PipelineConfigurationException: Some are not; it names all of them, and is located at the first step that
                needs any.
        """
        needed: dict[Extra, list[Step]] = {}
        for step in self.steps:
            if steps is None or step.index in steps:
                for extra in step.config.required_extras():
                    if extra.missing():
                        needed.setdefault(extra, []).append(step)
        if not needed:
            return
        told = "; ".join(
            f"{extra.needed_for} ({_numbers(steps)}) needs {', '.join(extra.missing())}"
            for extra, steps in needed.items()
        )
        raise PipelineConfigurationException(
            f"Python packages are not installed: {told}",
            location=next(iter(needed.values()))[0].location,
            hint=install_hint(needed),
        )

    @property
    def loads_ranges(self) -> bool:
        """Whether one run can load several partitions that follow each other: by time, and steps use them as bounds."""
        by_time = self.partitions is not None and self.partitions.by_time
        return by_time and all(step.config.fits_ranges() for step in self.steps)

    def require_ready(self, steps: Collection[int] | None = None, partition: Partition | None = None) -> None:
        """Make sure of all that can be known before Spark starts: values, variables, packages, what they make of it.

        Args:
            steps: Indices of the steps that are to run; None for all.
            partition: What the run loads.

        Raises:
            PipelineException: Something is missing, or with the values of its placeholders a step is not what the
                format allows.
        """
        self._require_values()
        self.require_variables(steps)
        self.require_extras(steps)
        self.resolve(steps, partition)

    def _require_values(self) -> None:
        missing = [name for name in self.variables if name not in self.values]
        if missing:
            told = f"{'variables' if len(missing) > 1 else 'variable'} {', '.join(missing)}"
            raise PipelineConfigurationException(
                f"the run has no value for the {told}",
                location=self.location,
                hint=f"give one, as in --var {missing[0]}=…, or a default in the file",
            )

    def resolve(self, steps: Collection[int] | None = None, partition: Partition | None = None) -> Self:
        """The pipeline with the placeholders in the configs of its steps replaced, for use at run time only.

        Args:
            steps: Indices of the steps that are to run; None for all. The others stay as they are written.
            partition: What the run loads.

        Raises:
            CredentialException: A variable is not set, or not for pipelines; it is located at the step.
            PipelineConfigurationException: With the variables' values a step is not what the format allows.
        """
        texts = partition.texts() if partition is not None else None
        resolved: list[Step] = []
        for step in self.steps:
            if steps is not None and step.index not in steps:
                resolved.append(step)
                continue
            try:
                if partition is not None:
                    _require_own_place(partition, step.config.places_of_partition())
                resolved.append(replace(step, config=step.config.resolved(texts)))
            except PipelineException as error:
                raise error.locate(step.location, step.config.as_config()) from error.__cause__
        return self.model_copy(update={"steps": tuple(resolved)})

    @cached_property
    def shape(self) -> StreamShape:
        """What of a streaming pipeline is the stream; the same wherever it runs, whatever the environment says."""
        return stream_shape([replace(step, config=step.config.as_written) for step in self.steps])

    @property
    def main_load(self) -> Step:
        """The first load: what it says of checkpoint, trigger, output mode and name holds for the one query there is.

        Only of a streaming pipeline.
        """
        return next(step for step in self.steps if step.type == "load")

    def step(self, name: str) -> Step:
        """The step with this asset name.

        Raises:
            KeyError: There is none.
        """
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    def step_title(self, step: Step) -> str:
        """A step as it is announced when it begins, such as `step 3 of 5, flights (filterRows)`."""
        return f"step {step.number} of {len(self.steps)}, {step.name} ({step.config.method})"

    def upstream_of(self, indices: set[int]) -> set[int]:
        """These steps and all whose frames they need, directly or not."""
        needed: set[int] = set()
        pending = list(indices)
        while pending:
            index = pending.pop()
            if index not in needed:
                needed.add(index)
                pending.extend(edge.step for edge in self.steps[index].inputs)
        return needed

    @model_validator(mode="after")
    def _has_steps(self) -> Self:
        if not self.steps:
            raise PydanticCustomError("steps", "a pipeline needs at least one step")
        return self

    def summary(self) -> dict[str, Any]:
        """Name, mode and steps, for people."""
        return {
            "name": self.name,
            "mode": self.mode,
            "steps": [{"step": step.name, "type": step.type, "method": step.config.method} for step in self.steps],
        }
