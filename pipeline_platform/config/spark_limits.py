"""Which of Spark's settings a pipeline may not have by default: those that run code, or show what is to be hidden."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, SecretStr, WithJsonSchema
from pydantic_core import PydanticCustomError

from pipeline_platform.config.permissions import how_to_allow, is_allowed
from pipeline_platform.config.values import Setting, Text, hide_secrets

_CODE = (
    *("*.extrajavaoptions", "*.defaultjavaoptions", "*.extraclasspath", "*.extralibrarypath", "*.userclasspathfirst"),
    *("spark.jars*", "spark.files*", "spark.archives", "spark.submit.*", "spark.yarn.dist.*", "spark.yarn.jars"),
    *("spark.yarn.archive", "spark.executorenv.*", "spark.yarn.*env.*", "*.discoveryscript", "*.podtemplatefile"),
    *("spark.pyspark.*", "spark.sql.execution.pyspark.python", "spark.python.*module", "spark.r.*"),
    *("spark.plugins*", "*listeners", "*.extensions", "*.extensions.*", "spark.sql.catalog.*", "spark.ui.filters"),
    *("spark.sql.hive.metastore.jars*", "*serializer", "spark.kryo.*", "spark.shuffle.manager", "*.plugin.class"),
    *("spark.metrics.conf*", "spark.delta.logstore.*", "spark.hadoop.*.impl"),
)
_HIDING = ("spark.redaction.*", "spark.sql.redaction.*", "spark.authenticate*", "*.acls.*")


def setting_limit(key: str) -> str | None:
    """Why a pipeline may not set this; None if it may.

    Args:
        key: Of a setting of Spark.
    """
    if is_allowed("spark-code"):
        return None
    if _is_one_of(key, _CODE):
        return f"'{key}' lets a pipeline run code of its own; {how_to_allow('spark-code')}"
    if _is_one_of(key, _HIDING):
        return f"'{key}' decides what is hidden, and from whom; {how_to_allow('spark-code')}"
    return None


def _is_one_of(key: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(key.strip().lower(), pattern) for pattern in patterns)


def _key(key: str) -> str:
    if (limit := setting_limit(key)) is not None:
        raise PydanticCustomError("setting", "{limit}", {"limit": limit})
    return key


SparkSettings = Annotated[
    dict[Annotated[Text, AfterValidator(_key)], Setting | SecretStr],
    BeforeValidator(hide_secrets),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}),
]
"""Settings of Spark by name; those whose name says so are secrets."""
