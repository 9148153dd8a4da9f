"""Every method and every connector: those of the platform, and those that other packages add by an entry point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from urllib.parse import urlsplit

from pipeline_platform.config.failed_plugin import FailedPlugin
from pipeline_platform.config.method_registry import MethodRegistry
from pipeline_platform.config.step import STEP_TYPES, StepConfig, StepType
from pipeline_platform.connectors.avro.connector import CONNECTOR as AVRO
from pipeline_platform.connectors.connector import Connector, authority_and_path
from pipeline_platform.connectors.delta.connector import CONNECTOR as DELTA
from pipeline_platform.connectors.files.connector import CONNECTOR as FILES
from pipeline_platform.connectors.jdbc.mysql.connector import CONNECTOR as MYSQL
from pipeline_platform.connectors.jdbc.postgres.connector import CONNECTOR as POSTGRES
from pipeline_platform.connectors.kafka.connector import CONNECTOR as KAFKA
from pipeline_platform.connectors.rate.connector import CONNECTOR as RATE
from pipeline_platform.connectors.s3.connector import CONNECTOR as S3
from pipeline_platform.redaction import redact
from pipeline_platform.transforms.aggregate_data import AggregateData
from pipeline_platform.transforms.coalesce import Coalesce
from pipeline_platform.transforms.deduplicate import Deduplicate
from pipeline_platform.transforms.enrich_data import EnrichData
from pipeline_platform.transforms.evolve_avro_schema import EvolveAvroSchema
from pipeline_platform.transforms.filter_rows import FilterRows
from pipeline_platform.transforms.join_data_frames import JoinDataFrames
from pipeline_platform.transforms.repartition import Repartition
from pipeline_platform.transforms.repartition_by_columns import RepartitionByColumns
from pipeline_platform.transforms.reshape_data import ReshapeData
from pipeline_platform.transforms.sql_query import SqlQueryTransform
from pipeline_platform.transforms.to_avro_schema import ToAvroSchema
from pipeline_platform.transforms.union_data_frames import UnionDataFrames
from pipeline_platform.validations.business_rules import ValidateBusinessRules
from pipeline_platform.validations.freshness import ValidateFreshness
from pipeline_platform.validations.lengths import ValidateLengths
from pipeline_platform.validations.nulls import ValidateNulls
from pipeline_platform.validations.patterns import ValidatePatterns
from pipeline_platform.validations.ranges import ValidateRanges
from pipeline_platform.validations.referential_integrity import ValidateReferentialIntegrity
from pipeline_platform.validations.row_count import ValidateRowCount
from pipeline_platform.validations.row_count_change import ValidateRowCountChange
from pipeline_platform.validations.schema import ValidateSchema
from pipeline_platform.validations.statistics import ValidateStatistics
from pipeline_platform.validations.totals import ValidateTotals
from pipeline_platform.validations.unique import ValidateUnique
from pipeline_platform.validations.values import ValidateValues

METHOD_GROUP = "pipeline_platform.methods"
"""Entry points of single methods."""
CONNECTOR_GROUP = "pipeline_platform.connectors"
"""Entry points of systems."""

CONNECTORS = (FILES, DELTA, AVRO, POSTGRES, MYSQL, KAFKA, S3, RATE)
TRANSFORMS_AND_VALIDATIONS: tuple[type[StepConfig], ...] = (
    FilterRows,
    EnrichData,
    JoinDataFrames,
    AggregateData,
    ReshapeData,
    UnionDataFrames,
    ToAvroSchema,
    EvolveAvroSchema,
    Repartition,
    Coalesce,
    RepartitionByColumns,
    SqlQueryTransform,
    Deduplicate,
    ValidateSchema,
    ValidateNulls,
    ValidateRanges,
    ValidateValues,
    ValidatePatterns,
    ValidateLengths,
    ValidateReferentialIntegrity,
    ValidateBusinessRules,
    ValidateUnique,
    ValidateRowCount,
    ValidateRowCountChange,
    ValidateFreshness,
    ValidateStatistics,
    ValidateTotals,
)


Methods = Mapping[StepType, Mapping[str, type[StepConfig]]]


def method_registry() -> MethodRegistry:
    """Every method by step type and name, aliases included; a plug-in that can't be used is left out, and noted."""
    return registered()[0]


def connectors() -> tuple[Connector, ...]:
    """Every connector, those of other packages last; one that can't be used is left out."""
    return registered()[1]


def jars() -> list[str]:
    """The Maven coordinates of what Spark needs beside its own."""
    return [jar for connector in connectors() for jar in connector.jars]


def dataset_kind(system: str) -> str:
    """The kind by which Dagster shows a dataset.

    Args:
        system: Of the dataset.
    """
    return next((connector.kinds[system] for connector in connectors() if system in connector.kinds), system)


def dataset_name(uri: str) -> tuple[str, str]:
    """Namespace and name of a dataset, by the rules of OpenLineage.

    Args:
        uri: Of a table, path or topic, as a step's metrics have it.
    """
    parts = urlsplit(uri)
    names = (connector.dataset_names.get(parts.scheme) for connector in connectors())
    return next((name for name in names if name is not None), authority_and_path)(parts)


@cache
def registered() -> tuple[MethodRegistry, tuple[Connector, ...]]:
    """The methods and the connectors; found once in a process."""
    methods: Methods = {step_type: {} for step_type in STEP_TYPES}
    for connector in CONNECTORS:
        methods = _with(methods, connector.methods)
    methods = _with(methods, TRANSFORMS_AND_VALIDATIONS)
    added: list[Connector] = []
    failed: list[FailedPlugin] = []
    for point in (*entry_points(group=CONNECTOR_GROUP), *entry_points(group=METHOD_GROUP)):
        try:
            plugin = _loaded(point)
            methods = _with(methods, plugin.methods if isinstance(plugin, Connector) else (plugin,))
            added += [plugin] if isinstance(plugin, Connector) else []
        # A package may raise anything when it is imported, and exit: the pipelines of others must not suffer.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            package = point.dist.name if point.dist is not None else "that is not known"
            reason = redact(" ".join(f"{type(error).__name__}: {error}".split()))
            failed.append(FailedPlugin(point.name, package, reason))
    known = (*CONNECTORS, *added)
    misnomers = {name: told for connector in known for name, told in connector.misnomers.items()}
    return MethodRegistry(methods, misnomers, tuple(failed)), known


def _loaded(point: EntryPoint) -> Connector | type[StepConfig]:
    plugin: object = point.load()
    if point.group == CONNECTOR_GROUP:
        if not isinstance(plugin, Connector):
            raise TypeError(f"{point.value} is not a connector: expected a Connector")
    elif not (isinstance(plugin, type) and issubclass(plugin, StepConfig)):
        raise TypeError(f"{point.value} is not a method: expected a subclass of Extract, Transform, Validate or Load")
    for method in plugin.methods if isinstance(plugin, Connector) else (plugin,):
        method.model_rebuild()
    return plugin


def _with(methods: Methods, added: Sequence[type[StepConfig]]) -> Methods:
    """The methods with others, each under all of its names.

    Raises:
        ValueError: Another method of its step type has one of them.
    """
    known: dict[StepType, dict[str, type[StepConfig]]] = {name: dict(of_type) for name, of_type in methods.items()}
    for method in added:
        of_type = known[method.step_type]
        names = (method.method, *method.aliases)
        for name in names:
            if of_type.get(name, method) is not method:
                raise ValueError(f"another method of the type {method.step_type} is called '{name}'")
        of_type.update(dict.fromkeys(names, method))
    return known
