"""Tables whose columns get wider types: Delta has to be told once that it may give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline_platform.connectors.delta.schema_enforcement import TYPE_WIDENING
from pipeline_platform.connectors.storage.location import StorageLocation
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import quoted
from pipeline_platform.frames.session import escape_braces, run_sql

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def require_may_widen(place: StorageLocation, properties: Mapping[str, str | None]) -> None:
    """Require that columns of a table get wider types, or can be allowed to.

    Args:
        place: Where the table is.
        properties: Those of the table.

    Raises:
        PipelineExecutionException: They can't.
    """
    if properties.get(TYPE_WIDENING) != "true" and place.credentials is not None:
        raise PipelineExecutionException(
            f"columns of the table at {place.uri} are to be widened, which needs its property '{TYPE_WIDENING}', and "
            "it can't be set with credentials of the step",
            hint=f"set it once: ALTER TABLE … SET TBLPROPERTIES ('{TYPE_WIDENING}' = 'true')",
        )


def allow_widening(spark: SparkSession, place: StorageLocation, properties: Mapping[str, str | None]) -> None:
    """Have Delta widen columns of a table that has not been told before that it may.

    Args:
        spark: The session.
        place: Where the table is.
        properties: Those of the table.
    """
    if properties.get(TYPE_WIDENING) == "true":
        return
    require_may_widen(place, properties)
    path = escape_braces(quoted(place.uri))
    run_sql(spark, f"ALTER TABLE delta.{path} SET TBLPROPERTIES ('{TYPE_WIDENING}' = 'true')")
