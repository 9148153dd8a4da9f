"""A Hive metastore, by the client that Spark itself has for one, in whatever session.

A session that had the metastore for its own catalog would need it for statements that name a table by its path as well,
and could not be had of one that runs already. So the session is left as it is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from pipeline_platform.config.catalog_names import CatalogName
from pipeline_platform.config.uris import local_path
from pipeline_platform.connectors.delta.catalogs.entry import Entry, wanted_details
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.steps.table_facts import TableFacts

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

METASTORE_VARIABLE = "PIPELINE_PLATFORM_HIVE_METASTORE"
_URIS = "hive.metastore.uris"
_CATALYST = "org.apache.spark.sql.catalyst"
_OWN_FIELDS = ("comment", "owner")
_lock = threading.Lock()
_clients: dict[tuple[int, str], Any] = {}


def configured_metastore() -> str | None:
    """Where `PIPELINE_PLATFORM_HIVE_METASTORE` says that the metastore is.

    Raises:
        PipelineConfigurationException: It is no address of one.
    """
    said = os.environ.get(METASTORE_VARIABLE)
    if not said:
        return None
    if not all(address.strip().startswith("thrift://") for address in said.split(",")):
        raise PipelineConfigurationException(
            f"{METASTORE_VARIABLE} is '{said}', which is no address of a Hive metastore",
            hint="write it as thrift://HOST:9083; several, of which any will do, with commas between them",
        )
    return said


@dataclass(frozen=True)
class HiveMetastore:
    """A metastore.

    Args:
        address: Where it is.
        spark: The session, in whose JVM the client is.
        client: The client: Spark's `ExternalCatalog`.
    """

    address: str
    spark: SparkSession
    client: Any

    @classmethod
    def of(cls, spark: SparkSession) -> Self | None:
        """The metastore that is configured; None if none is.

        Args:
            spark: A session in a JVM of this process.

        Raises:
            PipelineConfigurationException: The setting is no address.
        """
        jvm: Any = spark._jvm  # pyright: ignore[reportPrivateUsage]
        context: Any = spark.sparkContext._jsc  # pyright: ignore[reportPrivateUsage]
        settings = jvm.org.apache.hadoop.conf.Configuration(context.hadoopConfiguration())
        address = configured_metastore() or settings.get(_URIS)
        if not address:
            return None
        settings.set(_URIS, address)
        with _lock:
            # One for a JVM: each holds a connection.
            key = (id(jvm), address)
            if key not in _clients:
                _clients[key] = jvm.org.apache.spark.sql.hive.HiveExternalCatalog(context.sc().conf(), settings)
            return cls(address, spark, _clients[key])

    @property
    def told(self) -> str:
        return f"the Hive metastore at {self.address}"

    def has_schema(self, name: CatalogName) -> bool:
        return self.client.databaseExists(name.schema.lower())

    def find(self, name: CatalogName) -> Entry | None:
        schema, table = name.schema.lower(), name.table.lower()
        if not self.client.tableExists(schema, table):
            return None
        return _entry(self.client.getTable(schema, table))

    def create(self, name: CatalogName, uri: str, facts: TableFacts) -> None:
        jvm, details = self._jvm, wanted_details(facts)
        path = f"file:{local}" if (local := local_path(uri)) is not None else uri
        catalog = getattr(jvm, f"{_CATALYST}.catalog")
        storage = catalog.CatalogStorageFormat.empty()
        storage = _changed(storage, {"locationUri": self._option(jvm.org.apache.hadoop.fs.Path(path).toUri())})
        identifier = getattr(jvm, _CATALYST).TableIdentifier(name.table.lower(), self._option(name.schema.lower()))
        # Spark gives a table of Delta no columns in its catalog: they are in the table's log.
        columns = jvm.org.apache.spark.sql.types.StructType()
        required = [identifier, catalog.CatalogTableType.EXTERNAL(), storage, columns]
        defaults = [
            getattr(catalog.CatalogTable, f"apply$default${number}")()
            for number in range(len(required) + 1, self._parameters_of_a_table() + 1)
        ]
        table = _changed(
            catalog.CatalogTable.apply(*required, *defaults),
            {"provider": self._option("delta"), "createVersion": self.spark.version, "tracksPartitionsInCatalog": True},
        )
        self.client.createTable(self._with_details(table, details), True)

    def update(self, name: CatalogName, facts: TableFacts) -> None:
        table = self.client.getTable(name.schema.lower(), name.table.lower())
        details = wanted_details(facts)
        if any(_entry(table).details.get(key) != value for key, value in details.items()):
            self.client.alterTable(self._with_details(table, details))

    def _with_details(self, table: Any, details: Mapping[str, str]) -> Any:
        """A `CatalogTable` with other details."""
        properties = table.properties()
        for key, value in details.items():
            if key not in _OWN_FIELDS:
                properties = properties.updated(key, value)
        changes: dict[str, Any] = {"properties": properties}
        if "comment" in details:
            changes["comment"] = self._option(details["comment"])
        if "owner" in details:
            changes["owner"] = details["owner"]
        return _changed(table, changes)

    @property
    def _jvm(self) -> Any:
        return self.spark._jvm  # pyright: ignore[reportPrivateUsage]

    def _option(self, value: Any) -> Any:
        return self._jvm.scala.Option.apply(value)

    def _parameters_of_a_table(self) -> int:
        found = self._jvm.java.lang.Class.forName(f"{_CATALYST}.catalog.CatalogTable")
        return found.getConstructors()[0].getParameterCount()


def _entry(table: Any) -> Entry:
    """What a `CatalogTable` says."""
    details = dict(_pairs(table.properties()))
    details["owner"] = table.owner()
    if table.comment().isDefined():
        details["comment"] = table.comment().get()
    kind = table.provider().get() if table.provider().isDefined() else "hive"
    if table.tableType().name() == "VIEW":
        kind = "view"
    location = table.storage().locationUri()
    return Entry(kind, location.get().toString() if location.isDefined() else None, details)


def _pairs(properties: Any) -> list[tuple[str, str]]:
    """What is in a `Map` of Scala's."""
    found: list[tuple[str, str]] = []
    pairs = properties.iterator()
    while pairs.hasNext():
        pair = pairs.next()
        found.append((pair._1(), pair._2()))
    return found


def _changed(record: Any, changes: Mapping[str, Any]) -> Any:
    """A copy of a case class of Scala's with other values in some of its fields."""
    names = record.productElementNames()
    fields: list[Any] = []
    while names.hasNext():
        name = names.next()
        fields.append(changes[name] if name in changes else record.productElement(len(fields)))
    return record.copy(*fields)
