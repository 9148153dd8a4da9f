"""`fromDeltaLake`: a Delta table, now or as it once was."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.redirection import Redirection
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import Location, NaturalLong, Text
from pipeline_platform.connectors.delta.history import newest_change
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.storage.bucket import require_bucket
from pipeline_platform.connectors.storage.location import S3Options, StorageLocation, bucket_of
from pipeline_platform.connectors.storage.paths import at_path, local_bytes, spark_path
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.redaction import redact
from pipeline_platform.steps.dataset import Dataset
from pipeline_platform.steps.extract import SourceState
from pipeline_platform.steps.incremental import ReadsIncrements
from pipeline_platform.steps.watched import Watched

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline_platform.credentials.model import Credentials

_log = logging.getLogger(__name__)


class FromDeltaLake(Watched, ReadsIncrements, S3Options):
    """Reads a Delta table, by default its newest version.

    What counts as new for `watch` is a commit that adds, changes or removes rows. For a table that a pipeline of the
    same project loads, `automation` does it.

    Timestamps of a partition column that were written without a time zone, as delta-rs does, are read in the session's
    zone: UTC, as other readers do, unless `spark.sql.session.timeZone` in `sparkConf` says otherwise.
    """

    method: ClassVar[str] = "fromDeltaLake"
    kind: ClassVar[str] = "deltalake"
    example = {"path": "lake/orders"}

    path: Location
    """Local path or URI of the table."""
    version: NaturalLong | None = None
    """Read this version of the table."""
    timestamp: Text | None = None
    """Read the table as it was at this time, such as `2026-01-31 12:00:00`."""
    starting_version: NaturalLong | None = None
    """Streaming: the first version whose changes are read."""

    @model_validator(mode="after")
    def _one_point_in_time(self) -> Self:
        if self.version is not None and self.timestamp is not None:
            raise PydanticCustomError(
                "version", "'version' and 'timestamp' are mutually exclusive", {"key": "timestamp"}
            )
        if self.watch and (self.version is not None or self.timestamp is not None):
            raise PydanticCustomError(
                "watch", "a table as it once was does not change, so leave out 'watch'", {"key": "watch"}
            )
        return self

    def traits(self) -> Traits:
        return Traits(
            # A table as it once was does not change.
            is_stream=self.version is None and self.timestamp is None,
            is_repeatable=True,
            pushes_down_filters=True,
            checks_micro_batches=False,
        )

    def reads_as_written(self) -> bool:
        return self.version is None and self.timestamp is None

    def uri(self) -> str:
        return spark_path(self.path)

    def read(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        place = self.place(credentials)
        require_bucket(place)
        reader = spark.read.format("delta").options(**place.spark_options())
        if self.timestamp is not None:
            return reader.option("timestampAsOf", self.timestamp).load(self.uri())
        version = self.version if self.version is not None else _newest_version(spark, place)
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.load(self.uri())

    def read_stream(self, spark: SparkSession, credentials: Credentials | None) -> DataFrame:
        place = self.place(credentials)
        require_bucket(place)
        reader = spark.readStream.format("delta").options(**place.spark_options())
        if self.starting_version is not None:
            reader = reader.option("startingVersion", self.starting_version)
        return reader.load(self.uri())

    def known_bytes(self) -> int | None:
        return local_bytes(self.path)

    def read_from(self, to: Redirection) -> Self | None:
        if self.version is not None or self.timestamp is not None or self.starting_version is not None:
            # Another table has other versions.
            return None
        return self.model_copy(update={"path": to.path(self.path)})

    def is_there(self, spark: SparkSession, credentials: Credentials | None) -> bool:
        return open_table(self.place(credentials)) is not None

    def dataset(self) -> Dataset:
        return at_path(self.path, "delta")

    def source_state(self, credentials: Credentials | None) -> SourceState | None:
        from deltalake.exceptions import DeltaError

        place = self.place(credentials)
        try:
            table = open_table(place)
            return SourceState(f"{table.metadata().id}/{newest_change(table, place)}") if table is not None else None
        except DeltaError as error:
            # With `RUST_BACKTRACE` the stack follows.
            reason = str(error).splitlines()[0]
            raise PipelineExecutionException(f"the table at {place.uri} can't be read: {reason}") from error


def _newest_version(spark: SparkSession, place: StorageLocation) -> int | None:
    """The version that every pass of a run reads, so that what is loaded is what was validated.

    Delta would look for the newest one again at each pass. None if there is no table.
    """
    from delta.tables import DeltaTable
    from deltalake.exceptions import DeltaError

    try:
        table = open_table(place)
        if table is not None:
            return table.version()
    except DeltaError as error:
        if bucket_of(place.uri) is not None:
            raise
        _log.info("delta-rs can't open %s, so Spark is asked for its version: %s", place.uri, redact(str(error)))
    # delta-rs reads a '%' in a local path as an escape.
    if bucket_of(place.uri) is not None or not DeltaTable.isDeltaTable(spark, place.uri):
        return None
    return DeltaTable.forPath(spark, place.uri).history(1).collect()[0]["version"]
