"""The list of methods: one line each, and those that other packages add by an entry point."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from pipeline_platform.config.step import STEP_TYPES, FailedPlugin, StepConfig, StepType, Vocabulary
from pipeline_platform.connectors.avro.sink import ToAvro
from pipeline_platform.connectors.avro.source import FromAvro
from pipeline_platform.connectors.delta.sink import ToDeltaLake
from pipeline_platform.connectors.delta.source import FromDeltaLake
from pipeline_platform.connectors.files.sink import ToFiles
from pipeline_platform.connectors.files.source import FromFiles
from pipeline_platform.connectors.jdbc.mysql.sink import ToMySQL
from pipeline_platform.connectors.jdbc.mysql.source import FromMySQL
from pipeline_platform.connectors.jdbc.postgres.sink import ToPostgres
from pipeline_platform.connectors.jdbc.postgres.source import FromPostgres
from pipeline_platform.connectors.kafka.sink import ToKafka
from pipeline_platform.connectors.kafka.source import FromKafka
from pipeline_platform.connectors.rate.source import FromRate
from pipeline_platform.connectors.s3.sink import ToS3
from pipeline_platform.connectors.s3.source import FromS3
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
from pipeline_platform.validations.nulls import ValidateNulls
from pipeline_platform.validations.ranges import ValidateRanges
from pipeline_platform.validations.referential_integrity import ValidateReferentialIntegrity
from pipeline_platform.validations.row_count import ValidateRowCount
from pipeline_platform.validations.schema import ValidateSchema
from pipeline_platform.validations.unique import ValidateUnique

ENTRY_POINT_GROUP = "pipeline_platform.methods"

METHODS: tuple[type[StepConfig], ...] = (
    FromFiles,
    FromDeltaLake,
    FromAvro,
    FromPostgres,
    FromMySQL,
    FromKafka,
    FromS3,
    FromRate,
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
    ValidateReferentialIntegrity,
    ValidateBusinessRules,
    ValidateUnique,
    ValidateRowCount,
    ToFiles,
    ToDeltaLake,
    ToAvro,
    ToPostgres,
    ToMySQL,
    ToKafka,
    ToS3,
)


_FORMATS = ("csv", "json", "parquet", "orc")
MISNOMERS: Mapping[str, str] = {
    **{f"from{name}": f"read such files with 'fromFiles' and 'format': '{name}'" for name in _FORMATS},
    **{f"to{name}": f"write such files with 'toFiles' and 'format': '{name}'" for name in _FORMATS},
}
"""What to write in place of a method that people try, by its name in lower case."""


@cache
def vocabulary() -> Vocabulary:
    """Every method by step type and name, aliases included; a plug-in that can't be used is left out, and noted."""
    methods: dict[StepType, dict[str, type[StepConfig]]] = {step_type: {} for step_type in STEP_TYPES}
    for method in METHODS:
        _add(methods, method)
    failed: list[FailedPlugin] = []
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            _add(methods, _loaded(point))
        # A package may raise anything when it is imported, and exit: the pipelines of others must not suffer.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            package = point.dist.name if point.dist is not None else "that is not known"
            reason = redact(" ".join(f"{type(error).__name__}: {error}".split()))
            failed.append(FailedPlugin(point.name, package, reason))
    return Vocabulary(methods, MISNOMERS, tuple(failed))


def _loaded(point: EntryPoint) -> type[StepConfig]:
    method: object = point.load()
    if not (isinstance(method, type) and issubclass(method, StepConfig)):
        raise TypeError(f"{point.value} is no method: expected a subclass of Extract, Transform, Validate or Load")
    method.model_rebuild()
    return method


def _add(methods: Mapping[StepType, dict[str, type[StepConfig]]], method: type[StepConfig]) -> None:
    """Add a method under all its names, or under none.

    Raises:
        ValueError: Another method of its step type has one of them.
    """
    of_type = methods[method.step_type]
    names = (method.method, *method.aliases)
    for name in names:
        if of_type.get(name, method) is not method:
            raise ValueError(f"another method of the type {method.step_type} is called '{name}'")
    of_type.update(dict.fromkeys(names, method))
