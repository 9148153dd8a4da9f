"""Connects the steps of a pipeline: which frames each of them works on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline_platform.config.problem import did_you_mean
from pipeline_platform.config.step import Input, Step, StepConfig

if TYPE_CHECKING:
    from pipeline_platform.config.loader import ReadStep

Report = Callable[["ReadStep", str | None, str, str | None], None]


def connect(read: Sequence[ReadStep], report: Report) -> tuple[Step, ...]:
    """Resolve registered names and the primary frame, and name every step.

    A pipeline carries one primary frame, which an extract or a transform replaces, and a registry of
    named frames.

    Args:
        read: The steps, in the order of the file.
        report: Called for each mistake with the step, the config key, the message and a hint.
    """
    primary: int | None = None
    registry: dict[str, int] = {}
    registered = {_registered_name(step.config) for step in read}
    names = _StepNames({_identifier(name) for name in registered if name})
    position = {step.index: place for place, step in enumerate(read)}
    steps: list[Step] = []
    if read and read[0].config.step_type != "extract":
        report(read[0], None, "the first step has to be an extract", None)
    for step in read:
        inputs: list[Input] = []
        if step.config.step_type != "extract":
            if step.config.reads_primary() and primary is not None:
                inputs.append(Input(position[primary], None))
            for key, name in step.config.referenced_frames():
                if name in registry:
                    inputs.append(Input(position[registry[name]], name))
                else:
                    message = f"there is no registered frame '{name}' before this step"
                    hint = did_you_mean(name, registry) or "no frame is registered so far"
                    report(step, key, message, hint)
        register_as = _registered_name(step.config)
        name = names.take(register_as, step.config.method)
        location = replace(step.location, step=name)
        steps.append(Step(position[step.index], name, step.config, tuple(inputs), location))
        if register_as is not None:
            if register_as in registry:
                report(step, "registerAs", f"the name '{register_as}' is registered twice", None)
            registry[register_as] = step.index
        if step.config.step_type in ("extract", "transform"):
            primary = step.index
    return tuple(steps)


class _StepNames:
    def __init__(self, reserved: set[str]) -> None:
        self.reserved = reserved
        self.taken: set[str] = set()

    def take(self, register_as: str | None, method: str) -> str:
        base = _identifier(register_as or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", method).lower())
        candidate, count = base, 1
        while candidate in self.taken or (register_as is None and candidate in self.reserved):
            count += 1
            candidate = f"{base}_{count}"
        self.taken.add(candidate)
        return candidate


def _registered_name(config: StepConfig) -> str | None:
    return getattr(config, "register_as", None)


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII)
