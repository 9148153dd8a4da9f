"""A whole pipeline: its own keys and its steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.defaults import Defaulted
from pipeline_platform.config.environments import Environment
from pipeline_platform.config.for_each_item import Item
from pipeline_platform.config.partitions import Partition, no_value_mistake
from pipeline_platform.config.pipeline_keys import PipelineKeys
from pipeline_platform.config.placeholders import VariableError, substitute_all, unset_variables
from pipeline_platform.config.range_steps import SinglePartitions, single_partitions
from pipeline_platform.config.step import Step
from pipeline_platform.config.stream_shape import StreamShape, stream_shape
from pipeline_platform.config.table_writers import Writer, table_writers
from pipeline_platform.config.values import (
    reveal,
)
from pipeline_platform.config.variables import VariableValue
from pipeline_platform.exceptions import (
    CredentialException,
    PipelineConfigurationException,
    PipelineException,
    StepLocation,
)
from pipeline_platform.extras import Extra, install_hint


def _numbers(steps: Sequence[Step]) -> str:
    *others, last = (str(step.number) for step in steps)
    return f"steps {', '.join(others)} and {last}" if others else f"step {last}"


def _require_own_place(partition: Partition, places: Collection[str]) -> None:
    """Make sure that a key leads nowhere else where it is a part of a `path` or the name of a `table`."""
    if "path" in places and not partition.is_safe_in_path():
        raise PipelineConfigurationException(
            f"the partition '{partition}' can't be a part of a path",
            hint="a key with '/', '\\' or a wildcard, or of dots alone, would lead somewhere else; use another key",
        )
    if "table" in places and not partition.is_safe_in_table():
        raise PipelineConfigurationException(
            f"the partition '{partition}' can't be a part of a table's name",
            hint="a key with '.', '/', '\\' or a quote would name something else; use another key",
        )


class PipelineConfig(PipelineKeys):
    """A pipeline, read, checked and connected.

    `steps` are in the order of the file; `Step.inputs` says which frames each works on. `warnings` are
    not mistakes, but what someone should look at, such as a password in the file.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    steps: tuple[Step, ...]
    file: Path | None = None
    warnings: tuple[ConfigError, ...] = ()
    values: Mapping[str, VariableValue] = {}
    """What the variables stand for, defaults included; one without a value is left out."""
    item: Item | None = None
    """What tells it from the other pipelines of a file with `forEach`; its values no run changes."""
    environment: Environment | None = None
    """Where it runs; None for production without an environment."""
    defaulted: tuple[Defaulted, ...] = ()
    """The keys that it got from the defaults of its folder."""
    sources: tuple[Path, ...] = ()
    """The other files that it was read from: defaults, and what a `configRef` leads to."""

    @property
    def command_arguments(self) -> str:
        """What names it on the command line: its file, and what chooses it there if the file makes several."""
        item = self.item.options if self.item is not None else ""
        environment = f"--env {self.environment.name}" if self.environment is not None else ""
        return " ".join(filter(None, (str(self.file or "FILE"), item, environment)))

    @property
    def place_apart(self) -> str | None:
        """The environment that its streams and tables are those of; None where that is production."""
        return self.environment.place_apart if self.environment is not None else None

    @property
    def asset_prefix(self) -> str:
        """The name as Dagster allows it."""
        return self.name.replace("-", "_")

    @property
    def location(self) -> StepLocation:
        """The pipeline as a whole, for errors."""
        return StepLocation(self.name, self.file)

    def spark_settings(self) -> dict[str, str]:
        """`sparkConf` with its environment variables replaced and its secrets legible: for the session alone.

        Raises:
            CredentialException: A variable is not set, or not for pipelines.
        """
        try:
            return reveal(substitute_all(self.spark_conf))
        except VariableError as error:
            raise CredentialException(str(error), credential_type="environment") from error

    def require_variables(self, steps: Collection[int] | None = None) -> None:
        """Make sure that every environment variable is set which is needed at run time.

        Args:
            steps: Indices of the steps that are to run; None for all.

        Raises:
            CredentialException: One is not; it names all of them, and is located at the first step that needs one.
        """
        needed: dict[str, list[str]] = {}
        first: StepLocation | None = None
        for name in unset_variables(self.spark_conf):
            needed.setdefault(name, []).append("sparkConf")
        for step in self.steps:
            if steps is None or step.index in steps:
                for name in unset_variables(step.config.model_dump(by_alias=True, exclude_unset=True)):
                    needed.setdefault(name, []).append(f"step {step.number}")
                    first = first or step.location
        if not needed:
            return
        told = ", ".join(f"{name} (in {' and '.join(places)})" for name, places in needed.items())
        subject, verb, them = ("variables", "are", "them") if len(needed) > 1 else ("variable", "is", "it")
        raise CredentialException(
            f"the environment {subject} {told} {verb} not set",
            credential_type="environment",
            location=first or self.location,
            hint=f"set {them}, or write a default into the file, as in ${{env:{next(iter(needed))}:-default}}",
        )

    def require_extras(self, steps: Collection[int] | None = None) -> None:
        """Make sure that the optional packages are installed which the steps can't run without.

        Args:
            steps: Indices of the steps that are to run; None for all.

        Raises:
            PipelineConfigurationException: Some are not; it names all of them, and is located at the first step that
                needs any.
        """
        needed: dict[Extra, list[Step]] = {}
        for step in self.steps:
            if steps is None or step.index in steps:
                for extra in step.config.required_extras():
                    if extra.missing():
                        needed.setdefault(extra, []).append(step)
        if not needed:
            return
        told = "; ".join(
            f"{extra.needed_for} ({_numbers(steps)}) needs {', '.join(extra.missing())}"
            for extra, steps in needed.items()
        )
        raise PipelineConfigurationException(
            f"Python packages are not installed: {told}",
            location=next(iter(needed.values()))[0].location,
            hint=install_hint(needed),
        )

    @property
    def loads_ranges(self) -> bool:
        """Whether one run can load several partitions that follow each other, and leave what one for each would."""
        by_time = self.partitions is not None and self.partitions.by_time
        return by_time and self.single_partitions is None

    @cached_property
    def single_partitions(self) -> SinglePartitions | None:
        """The step for which each partition has to be a run of its own; None also without partitions by time."""
        divided = self.partitions
        return single_partitions(self.steps, divided) if divided is not None and divided.by_time else None

    def require_ready(self, steps: Collection[int] | None = None, partition: Partition | None = None) -> None:
        """Make sure of all that can be known before Spark starts: values, variables, packages, what they make of it.

        Args:
            steps: Indices of the steps that are to run; None for all.
            partition: What the run loads.

        Raises:
            PipelineException: Something is missing, or with the values of its placeholders a step is not what the
                format allows.
        """
        self._require_values()
        for key in partition.keys if partition is not None else ():
            if (wrong := no_value_mistake(key)) is not None:
                raise PipelineConfigurationException(wrong, location=self.location, hint="use another key")
        self.require_variables(steps)
        self.require_extras(steps)
        self.resolve(steps, partition)

    def _require_values(self) -> None:
        missing = [name for name in self.variables if name not in self.values]
        if missing:
            told = f"{'variables' if len(missing) > 1 else 'variable'} {', '.join(missing)}"
            raise PipelineConfigurationException(
                f"the run has no value for the {told}",
                location=self.location,
                hint=f"give one, as in --var {missing[0]}=…, or a default in the file",
            )

    def resolve(self, steps: Collection[int] | None = None, partition: Partition | None = None) -> Self:
        """The pipeline with the placeholders in the configs of its steps replaced, for use at run time only.

        Args:
            steps: Indices of the steps that are to run; None for all. The others stay as they are written.
            partition: What the run loads.

        Raises:
            CredentialException: A variable is not set, or not for pipelines; it is located at the step.
            PipelineConfigurationException: With the variables' values a step is not what the format allows.
        """
        texts = partition.texts() if partition is not None else None
        resolved: list[Step] = []
        for step in self.steps:
            if steps is not None and step.index not in steps:
                resolved.append(step)
                continue
            try:
                if partition is not None:
                    _require_own_place(partition, step.config.places_of_partition())
                production = step.production.resolved(texts) if step.production is not None else None
                resolved.append(replace(step, config=step.config.resolved(texts), production=production))
            except PipelineException as error:
                raise error.locate(step.location, step.config.as_config()) from error.__cause__
        return self.model_copy(update={"steps": tuple(resolved)})

    def with_steps(self, steps: Sequence[Step]) -> Self:
        """The pipeline with other steps; itself, where each is the one that it has.

        Args:
            steps: As many as it has.
        """
        is_same = all(one is other for one, other in zip(steps, self.steps, strict=True))
        return self if is_same else self.model_copy(update={"steps": tuple(steps)})

    @cached_property
    def shape(self) -> StreamShape:
        """What of a streaming pipeline is the stream; the same wherever it runs, whatever the environment says."""
        return stream_shape([replace(step, config=step.config.as_written) for step in self.steps])

    @cached_property
    def writers(self) -> Sequence[Writer]:
        """What its steps write, as it is written in the file: the table of each load, and each quarantine."""
        return table_writers(self.steps, self.partitions)

    @property
    def main_load(self) -> Step:
        """The first load: what it says of checkpoint, trigger, output mode and name holds for the one query there is.

        Only of a streaming pipeline.
        """
        return next(step for step in self.steps if step.type == "load")

    def step(self, name: str) -> Step:
        """The step with this asset name.

        Raises:
            KeyError: There is none.
        """
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    def step_title(self, step: Step) -> str:
        """A step as it is announced when it begins, such as `step 3 of 5, flights (filterRows)`.

        The validation of a contract is none of the file: it comes before one.
        """
        number = step.number if step.guards is None else self.steps[step.guards].number
        before = "" if step.guards is None else "before "
        return f"{before}step {number} of {self.written_steps}, {step.name} ({step.config.method})"

    @property
    def written_steps(self) -> int:
        """How many steps the file has: those of it, without the validations of contracts."""
        return sum(step.guards is None for step in self.steps)

    @property
    def in_turn(self) -> tuple[Step, ...]:
        """The steps in the order in which they are carried out: the validation of a contract right before its load."""
        # Not kept: a copy with the placeholders replaced would have the steps from before.
        guards: dict[int, list[Step]] = {}
        for step in self.steps:
            if step.guards is not None:
                guards.setdefault(step.guards, []).append(step)
        own = (step for step in self.steps if step.guards is None)
        return tuple(one for step in own for one in (*guards.get(step.index, ()), step))

    def up_to(self, step: Step) -> tuple[Step, ...]:
        """The steps that are carried out before one, and itself."""
        turn = self.in_turn
        return turn[: _place_in(turn, step) + 1]

    def after(self, step: Step) -> tuple[Step, ...]:
        """The steps that are carried out after one."""
        turn = self.in_turn
        return turn[_place_in(turn, step) + 1 :]

    def upstream_of(self, indices: set[int]) -> set[int]:
        """These steps and all whose frames they need, directly or not."""
        needed: set[int] = set()
        pending = list(indices)
        while pending:
            index = pending.pop()
            if index not in needed:
                needed.add(index)
                pending.extend(edge.step for edge in self.steps[index].inputs)
        return needed

    @model_validator(mode="after")
    def _has_steps(self) -> Self:
        if not self.steps:
            raise PydanticCustomError("steps", "a pipeline needs at least one step")
        return self

    def summary(self) -> dict[str, Any]:
        """Name, mode and steps, for people."""
        return {
            "name": self.name,
            "mode": self.mode,
            "steps": [{"step": step.name, "type": step.type, "method": step.config.method} for step in self.steps],
        }


def _place_in(turn: Sequence[Step], step: Step) -> int:
    return next(place for place, one in enumerate(turn) if one.index == step.index)
