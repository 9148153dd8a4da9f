"""The top-level keys of a pipeline file, but for its steps."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from pipeline_platform.config.dagster_names import PIPELINE_NAME, dagster_owner, dagster_team, reserved_name
from pipeline_platform.config.durations import Duration, duration_of
from pipeline_platform.config.maintenance import Maintenance
from pipeline_platform.config.partitions import Partitions
from pipeline_platform.config.schedule import Cron, TimeZone
from pipeline_platform.config.spark_limits import SparkSettings
from pipeline_platform.config.step import FormatModel, PipelineMode
from pipeline_platform.config.values import Amount, Location, Natural, PositiveInteger, Setting, Text, one_of
from pipeline_platform.config.variables import Variable, VariableName, VariableValue


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
    default a process of its own, unless those of all streams would take more than half of the machine's memory, or
    `PIPELINE_PLATFORM_STREAM_GROUP_SIZE` says otherwise."""


class QuarantineOptions(FormatModel):
    """How many rows may be in quarantine, and for how long."""

    max_rows: Natural | None = None
    """More rows in the quarantines of the pipeline fail the check `quarantine` in Dagster."""
    max_age: Duration | None = None
    """A row that has been there for longer, such as `7 days`, fails it too."""
    keep: Duration | None = None
    """Rows are deleted after this time, such as `90 days`, when a run puts rows into the same table. By default they
    are kept for ever."""

    @property
    def kept(self) -> timedelta | None:
        """How long rows are kept; None for ever."""
        return duration_of(self.keep) if self.keep is not None else None

    @property
    def oldest(self) -> timedelta | None:
        """How long a row may be there; None for ever."""
        return duration_of(self.max_age) if self.max_age is not None else None


def _name(value: str) -> str:
    mistake = reserved_name(value.replace("-", "_"))
    if mistake is not None:
        raise PydanticCustomError("reserved_name", "{mistake}", {"mistake": mistake})
    return value


_ItemValues = Annotated[dict[VariableName, VariableValue], Field(json_schema_extra={"additionalProperties": False})]
Automation = Literal["onUpstream", "onMissing", "onSchedule"]


class ItemsFromQuery(FormatModel):
    """A query for the items."""

    items: Text
    """The JSON file that keeps them, relative to this file; `pipeline-platform refresh` writes it."""
    method: Text
    """The extract that is asked: `fromPostgres` or `fromMySQL`. It is asked without Spark."""
    config: dict[str, Any] = {}
    """Its keys, such as `query`, whose columns are variables: `SELECT table_name AS "table" FROM …`."""


class PipelineKeys(FormatModel):
    """The top-level keys of a pipeline file, without its steps."""

    editor_schema: Annotated[str | None, Field(alias="$schema")] = None
    """For your editor: path or URL of the JSON Schema of this format, as `pipeline-platform schema` prints it."""
    name: Annotated[str, Field(pattern=PIPELINE_NAME), AfterValidator(_name)]
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
    """What a run, or an item of `forEach`, may be given, by name: `${var:NAME}` stands for it in any string of a step
    or of `sparkConf`."""
    for_each: (
        Annotated[list[_ItemValues], Field(min_length=1, json_schema_extra={"uniqueItems": True})]
        | Text
        | ItemsFromQuery
        | None
    ) = None
    """Makes a pipeline of each item: a list of objects that give values to `variables`, such as
    `[{"table": "orders"}, {"table": "customers"}]`; or the path, relative to this file, of a CSV or JSON file with
    them; or a query of a database, whose rows `pipeline-platform refresh` keeps in such a file. They may then stand in
    `name`, which has to be another one for each, and in `description`, `schedule` and `metadata`, too."""
    automation: Annotated[Automation, one_of("onUpstream", "onMissing", "onSchedule")] | None = None
    """When Dagster runs it by itself: `onUpstream` when a table that it reads was loaded; `onMissing` when a partition,
    or the whole, was never loaded and what it reads is there; `onSchedule` at a tick of `schedule`, once what it reads
    was loaded since the tick before; with partitions by time the latest one, once all that it reads is there."""
    retry: Retry = Retry()
    """Retries of transient failures."""
    spark_conf: SparkSettings = {}
    """Spark session settings for this pipeline only."""
    streaming: StreamingOptions = StreamingOptions()
    """How a streaming pipeline is supervised."""
    quarantine: QuarantineOptions = QuarantineOptions()
    """Limits of the rows in quarantine, for the check of that name in Dagster, and how long they are kept."""
    maintenance: Maintenance | None = None
    """How the Delta tables that it writes are kept: small files made large, old files and log entries removed. Without
    it nobody touches them. See [keep tables](how-to/keep-tables.md)."""

    @property
    def cron(self) -> str | None:
        """When the schedule ticks; None without one."""
        return self.schedule.cron if isinstance(self.schedule, Schedule) else self.schedule

    @property
    def cron_timezone(self) -> str:
        """In which time zone it ticks."""
        return self.schedule.timezone if isinstance(self.schedule, Schedule) else self.schedule_timezone
