"""What is wrong with how a pipeline is started by itself: by a schedule, a sensor, or a load of what it reads."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.documents.document import SourcePosition
from pipeline_platform.config.pipeline_keys import PipelineKeys, Schedule


def start_errors(keys: PipelineKeys, root: SourcePosition, *, is_watching: bool) -> Iterator[ConfigError]:
    """Every mistake, at its place.

    Args:
        keys: The top-level keys.
        root: The file.
        is_watching: Whether one of its steps starts it when something new is there.
    """
    if keys.automation is not None and keys.mode == "streaming":
        message = "a stream runs all the time: 'automation' is for batch pipelines"
        yield (root / "automation").problem(message, on_key=True)
    if keys.automation == "onSchedule" and keys.schedule is None:
        yield (root / "automation").problem("onSchedule needs the key 'schedule'")
    if isinstance(keys.schedule, Schedule) and "schedule_timezone" in keys.model_fields_set:
        yield (root / "scheduleTimezone").problem("the schedule has a 'timezone' of its own", on_key=True)
    starter = _starter(keys, is_watching)
    if starter is None:
        return
    for name, variable in keys.variables.items():
        if variable.default is None:
            message = f"the variable '{name}' needs a default: {starter} that starts the pipeline gives it no value"
            yield (root / "variables" / name).problem(message)


def _starter(keys: PipelineKeys, is_watching: bool) -> str | None:
    if keys.mode == "streaming" or keys.automation is not None or is_watching:
        return "the sensor"
    return "the schedule" if keys.schedule is not None else None
