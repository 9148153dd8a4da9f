"""Makes and applies a transform as the engine does, and says what is wrong with a config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pipeline_platform.steps.transform import Frames, Transform
from pipeline_platform_tests.duckdb_rows import Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def applied(spark: SparkSession, step: Transform, primary: Any = None, **named: Any) -> DataFrame:
    """The output frame of a step.

    Args:
        spark: The session.
        step: The step.
        primary: The primary frame, or the table for it.
        named: Registered frames, or tables for them.
    """
    frames = {name: _frame(spark, source) for name, source in named.items()}
    return step.apply(Frames(_frame(spark, primary), frames, spark))


def _frame(spark: SparkSession, source: Any) -> Any:
    return source.frame(spark) if isinstance(source, Table) else source


def mistakes(method: type[Transform], config: dict[str, Any]) -> list[tuple[str, str]]:
    """The config key and the message of each mistake, as the loader reports them."""
    try:
        method.model_validate(config)
    except ValidationError as error:
        return [
            (str(detail["loc"][0] if detail["loc"] else detail.get("ctx", {}).get("key", "")), detail["msg"])
            for detail in error.errors()
        ]
    return []


def sources(step: Transform, columns: dict[str | None, list[str]], output: list[str]) -> dict[str, list[str]]:
    """Column lineage in short: `frame.column`, or `column` of the primary frame."""
    lineage = step.lineage(columns, output)
    return {
        name: [f"{source.frame}.{source.column}" if source.frame is not None else source.column for source in found]
        for name, found in lineage.items()
    }
