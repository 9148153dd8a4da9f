"""What is wrong with how a pipeline is started by itself: by a schedule, a sensor, or a load of what it reads."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.document import SourcePosition
from pipeline_platform.config.pipeline import PipelineKeys, Schedule


def start_errors(keys: PipelineKeys, root: SourcePosition) -> Iterator[ConfigError]:
    """Every mistake, at its place.

    Args:
        keys: The top-level keys.
        root: The file.
    """
    if keys.automation is not None and keys.mode == "streaming":
        message = "a stream runs all the time: 'automation' is for batch pipelines"
        yield (root / "automation").problem(message, on_key=True)
    if keys.automation == "onSchedule" and keys.schedule is None:
        yield (root / "automation").problem("onSchedule needs the key 'schedule'")
    if isinstance(keys.schedule, Schedule) and "schedule_timezone" in keys.model_fields_set:
        yield (root / "scheduleTimezone").problem("the schedule has a 'timezone' of its own", on_key=True)
    starter = _starter(keys)
    if starter is None:
        return
    for name, variable in keys.variables.items():
        if variable.default is None:
            message = f"the variable '{name}' needs a default: {starter} that starts the pipeline gives it no value"
            yield (root / "variables" / name).problem(message)


def _starter(keys: PipelineKeys) -> str | None:
    if keys.mode == "streaming" or keys.automation is not None:
        return "the sensor"
    return "the schedule" if keys.schedule is not None else None
