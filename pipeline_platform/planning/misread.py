"""Files that are written in another way than those who read them expect."""

from __future__ import annotations

from typing import Any

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.planning.changes import Reader
from pipeline_platform.planning.step_changes import title
from pipeline_platform.planning.versions import Version
from pipeline_platform.steps.load import Load

# How files are written, and read.
_READ_BY = (
    "format",
    "header",
    "delimiter",
    "quote",
    "escape",
    "nullValue",
    "encoding",
    "dateFormat",
    "timestampFormat",
)


def misread(key: str, load: Step, writer: PipelineConfig, now: Version) -> tuple[Reader, ...]:
    """Who reads what is written by a key of the same name, which has another value there.

    Args:
        key: The key.
        load: What writes.
        writer: Its pipeline.
        now: The version of both.
    """
    assert isinstance(load.config, Load)
    if key not in _READ_BY:
        return ()
    value = _value(load, key)
    return tuple(
        Reader(pipeline.name, title(step), now.place(pipeline, step))
        for pipeline, step in now.readers_of(load.config, writer)
        if _value(step, key, value) != value
    )


def _value(step: Step, key: str, otherwise: Any = None) -> Any:
    fields = {field.alias or name: name for name, field in type(step.config).model_fields.items()}
    return getattr(step.config, fields[key]) if key in fields else otherwise
