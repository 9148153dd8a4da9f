"""What is wrong with comparing a load with those before it, as far as a file shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.graph import Draft
from pipeline_platform.config.step import Step


def history_errors(steps: Sequence[Step], drafts: Sequence[Draft]) -> Iterator[ConfigError]:
    """Every validation that is compared with loads which no load of its frame remembers.

    Args:
        steps: The steps.
        drafts: The same, as they stand in the file.
    """
    for step in steps:
        if step.config.loads_compared() and remembering_load(steps, step) is None:
            yield drafts[step.index].place.problem(
                "how many rows the loads before had is what a Delta table remembers, and no 'toDeltaLake' loads the "
                "frame that this looks at",
                hint="let it look at the frame of such a load, or use validateRowCount with bounds of its own",
            )


def remembering_load(steps: Sequence[Step], validation: Step) -> Step | None:
    """The first load of a validation's frame whose sink remembers how many rows the loads before had.

    Args:
        steps: The steps.
        validation: The validation.
    """
    frame = validation.inputs[0].step
    loads = (step for step in steps if step.type == "load" and step.inputs[0].step == frame)
    return next((load for load in loads if load.traits.remembers_rows), None)
