"""Registers the table of a load in a catalog: looked at before anything is written, done once the rows are there."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_platform.config.catalog_names import CatalogName
from pipeline_platform.connectors.delta.catalogs.by_sql import SparkCatalog
from pipeline_platform.connectors.delta.catalogs.comments import comment_on
from pipeline_platform.connectors.delta.catalogs.entry import Catalog, Entry, asking
from pipeline_platform.connectors.delta.catalogs.hive import METASTORE_VARIABLE, HiveMetastore
from pipeline_platform.connectors.delta.table import open_table
from pipeline_platform.connectors.delta.write import DeltaWrite
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException, PipelineExecutionException
from pipeline_platform.frames.remote import is_remote
from pipeline_platform.steps.load import LoadResult, LoadRun
from pipeline_platform.steps.table_facts import TableFacts

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_LOG = logging.getLogger(__name__)
_SESSION = "spark_catalog"
_DELTAS = "org.apache.spark.sql.delta.catalog.DeltaCatalog"
_done: set[tuple[str, str, str]] = set()
"""What streams of this process have registered: their micro-batches follow each other by seconds."""


def catalog_for(spark: SparkSession, name: CatalogName) -> Catalog:
    """The catalog that a name is in.

    Args:
        spark: The session.
        name: The name of a table.

    Raises:
        PipelineConfigurationException: None is configured, or Spark knows none of that name.
    """
    wanted = name.catalog or spark.catalog.currentCatalog()
    plugin = spark.conf.get(f"spark.sql.catalog.{wanted}", None)
    if wanted != _SESSION:
        if plugin is None:
            raise PipelineConfigurationException(
                f"Spark knows no catalog '{wanted}', in which the table is to be registered as {name}",
                hint=f"set spark.sql.catalog.{wanted} in Spark's own configuration, spark-defaults.conf, or leave the "
                "catalog out of the name",
            )
        return SparkCatalog(spark, wanted)
    if plugin not in (None, _DELTAS):
        return SparkCatalog(spark, wanted)
    if not is_remote(spark) and (metastore := HiveMetastore.of(spark)) is not None:
        return metastore
    if spark.conf.get("spark.sql.catalogImplementation", "in-memory") == "hive":
        return SparkCatalog(spark, wanted)
    raise PipelineConfigurationException(
        f"the table is to be registered as {name}, and there is no catalog: the one of this session ends with it",
        hint="start the Spark Connect server with Hive support"
        if is_remote(spark)
        else f"set {METASTORE_VARIABLE} to thrift://HOST:9083",
    )


@dataclass(frozen=True)
class Registration:
    """A table and the name that it is to have.

    Args:
        spark: The session.
        name: The name.
        place: Where the table is.
        facts: What is said of it.
    """

    spark: SparkSession
    name: CatalogName
    place: StorageLocation
    facts: TableFacts

    def require_possible(self) -> None:
        """Require that the name is free, or that of this table, in a schema that is there.

        Raises:
            PipelineException: It is not, or the catalog can't be asked.
        """
        catalog = catalog_for(self.spark, self.name)
        with asking(catalog, self.name):
            if not catalog.has_schema(self.name):
                raise PipelineExecutionException(
                    f"{catalog.told} has no schema '{self.name.schema}', in which the table is to be registered as "
                    f"{self.name}",
                    hint=f"create it first: CREATE SCHEMA {self.name.schema_sql}; or correct 'catalogTable'",
                )
            entry = catalog.find(self.name)
        if entry is not None:
            self._require_this(entry, catalog)

    def carry_out(self) -> None:
        """Register the table, unless it is not there, and have the catalog and the table's log say what is said of it.

        Raises:
            PipelineException: It could not be done; what was loaded stays.
        """
        if open_table(self.place) is None:
            return
        comment_on(self.spark, self.place, self.facts)
        catalog = catalog_for(self.spark, self.name)
        with asking(catalog, self.name):
            entry = catalog.find(self.name)
            if entry is None:
                catalog.create(self.name, self.place.uri, self.facts)
                _LOG.info("registered %s as %s in %s", self.place.uri, self.name, catalog.told)
                # Another process may have been faster, with another table.
                entry = catalog.find(self.name)
            if entry is not None:
                self._require_this(entry, catalog)
                catalog.update(self.name, self.facts)

    def _require_this(self, entry: Entry, catalog: Catalog) -> None:
        if entry.is_at(self.place.uri):
            return
        this = Entry("delta", self.place.uri, {})
        dropped = f"DROP {'VIEW' if entry.kind == 'view' else 'TABLE'} {self.name}"
        raise PipelineExecutionException(
            f"{self.name} is in {catalog.told} already, as {entry}, and this load writes {this}",
            hint="give 'catalogTable' another name; or, if nobody needs what it names now, take that out of the "
            f"catalog: {dropped}",
        )


@dataclass(frozen=True)
class RegisteredLoad:
    """A load whose table is registered once its rows are there.

    Args:
        load: The load.
        registration: The name of its table.
    """

    load: DeltaWrite
    registration: Registration

    @property
    def frame(self) -> DataFrame:
        """What is written."""
        return self.load.frame

    def write(self) -> LoadResult:
        """Write it, unless that is done, and register the table.

        Raises:
            PipelineException: It could not be written, or be registered.
        """
        result = self.load.write()
        if not _is_done(self.registration, self.load.run):
            try:
                self.registration.carry_out()
            except PipelineException as error:
                raise _loaded_but(self.registration, error) from error
            _note(self.registration, self.load.run)
        return result

    def last_batch(self) -> int | None:
        """As that of the load."""
        return self.load.last_batch()

    def clean(self) -> None:
        """As that of the load."""
        self.load.clean()


def registered(load: DeltaWrite, name: CatalogName) -> RegisteredLoad:
    """A load with its table's name, which was looked at.

    Args:
        load: The load, held against its table.
        name: Of the table in its catalog.

    Raises:
        PipelineException: The table can't have it.
    """
    registration = Registration(load.frame.sparkSession, name, load.place, load.run.about)
    if load.place.credentials is not None and is_remote(registration.spark):
        raise PipelineExecutionException(
            f"over Spark Connect, a table that is loaded with credentials of the step can't be registered as {name}: "
            "the server would look at it with its own",
            hint="give the server the rights, or run it with SPARK_MASTER",
        )
    if not _is_done(registration, load.run):
        registration.require_possible()
    return RegisteredLoad(load, registration)


def _loaded_but(registration: Registration, error: PipelineException) -> PipelineExecutionException:
    again = "run it again, which registers the table; with the same load id nothing is loaded twice"
    return PipelineExecutionException(
        f"the rows are loaded, and the table is not registered as {registration.name}: {error.message}",
        hint=f"{error.hint}; then {again}" if error.hint else again,
        retryable=error.retryable,
    )


def _is_done(registration: Registration, run: LoadRun) -> bool:
    """Whether an earlier micro-batch of the stream has registered it, in this process."""
    return run.batch is not None and _key(registration) in _done


def _note(registration: Registration, run: LoadRun) -> None:
    if run.batch is not None:
        _done.add(_key(registration))


def _key(registration: Registration) -> tuple[str, str, str]:
    return str(registration.name), registration.place.uri, repr(registration.facts)
