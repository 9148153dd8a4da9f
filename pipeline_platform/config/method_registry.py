"""The methods that a step may name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pipeline_platform.config.failed_plugin import FailedPlugin
from pipeline_platform.config.step import StepConfig, StepType

Methods = Mapping[StepType, Mapping[str, type[StepConfig]]]
"""Methods by step type and by name, aliases included."""


@dataclass(frozen=True)
class MethodRegistry(Methods):
    """The methods that a step may name, and what is known of names that none has.

    Args:
        methods: By step type and by name.
        misnomers: What to write in place of a name that people try, by that name in lower case.
        failed: Plug-ins that are left out.
    """

    methods: Methods
    misnomers: Mapping[str, str] = field(default_factory=dict[str, str])
    failed: tuple[FailedPlugin, ...] = ()

    def __getitem__(self, step_type: StepType) -> Mapping[str, type[StepConfig]]:
        return self.methods[step_type]

    def __iter__(self) -> Iterator[StepType]:
        return iter(self.methods)

    def __len__(self) -> int:
        return len(self.methods)
