"""Reads one pipeline of a document: one pass finds every mistake."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import ValidationError

from pipeline_platform.config.config_error import ConfigError, did_you_mean, in_order, nearest
from pipeline_platform.config.config_reference import References
from pipeline_platform.config.contracts.kept import contract_steps, read_kept_contract
from pipeline_platform.config.contracts.promises import Promises
from pipeline_platform.config.defaults import Defaulted, defaulted_keys
from pipeline_platform.config.documents.document import Document, SourcePosition, json_type
from pipeline_platform.config.for_each_item import Item, with_texts
from pipeline_platform.config.format_errors import format_errors
from pipeline_platform.config.graph import Draft, connect
from pipeline_platform.config.history_errors import history_errors
from pipeline_platform.config.in_environment import variables_in
from pipeline_platform.config.incremental_errors import incremental_errors
from pipeline_platform.config.inline_secrets import exposed_secrets, inline_secrets
from pipeline_platform.config.located_errors import located_errors
from pipeline_platform.config.partition_errors import partition_errors
from pipeline_platform.config.partition_reach import reach_warnings
from pipeline_platform.config.permissions import allow_mistake
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.pipeline_keys import PipelineKeys
from pipeline_platform.config.shared_files import SharedFiles
from pipeline_platform.config.start_errors import start_errors
from pipeline_platform.config.step import STEP_TYPES, PipelineMode, Step, StepConfig, StepType
from pipeline_platform.config.stream_shape import QUERY_KEYS, StreamShapeError, stream_shape
from pipeline_platform.config.template_users import TemplateUsers
from pipeline_platform.config.templates import PlacedStep
from pipeline_platform.config.unchecked import unchecked_frames, unchecked_name
from pipeline_platform.config.variables import VariableValue, VariableValues, variable_values
from pipeline_platform.config.write_errors import write_errors
from pipeline_platform.exceptions import StepLocation

STEP_KEYS = ("type", "method", "name", "config", "configRef")
_STEP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Reader:
    """Reads one pipeline.

    Args:
        document: The file.
        shared: The methods a step may name, the defaults of its folder, and templates.
        references: Where a `configRef` leads to.
        values: What its variables are to stand for.
        item: Of `forEach`, if it is one of several pipelines of the file.
    """

    def __init__(
        self,
        document: Document,
        shared: SharedFiles,
        references: References,
        values: Mapping[str, VariableValue],
        item: Item | None = None,
    ) -> None:
        self.document = document
        self.registry = shared.methods
        self.references = references
        self.templates = shared.templates
        self.defaults = shared.defaults.of(document.path)
        self.root = self.defaults.below(document)
        self.defaulted: list[Defaulted] = []
        self.sources: set[Path] = set()
        self.environment = shared.chosen.environment
        self.problems = [*document.problems, *self.defaults.problems, *shared.chosen.problems]
        self.users = TemplateUsers(document.path)
        self.warnings: list[ConfigError] = []
        self.given = values
        self.values = VariableValues()
        self.item = item
        self.drafts: list[Draft] = []
        self.promised: dict[int, Promises] = {}
        """What the contracts of loads promise, by the index of the load."""

    def read(self) -> PipelineConfig | None:
        """The pipeline; None if there are `problems`."""
        pipeline = self._read()
        self.problems = [self._for_this_file(problem) for problem in self.problems]
        return pipeline

    def _environments(self) -> Sequence[Path]:
        return [self.environment.place.document.path] if self.environment is not None else []

    def _for_this_file(self, problem: ConfigError) -> ConfigError:
        """A mistake in a file that others share, with what of this one has it."""
        if problem.file in self.defaults.files and problem not in self.defaults.problems:
            return replace(problem, message=f"{problem.message}, for {self.document.path}")
        return self.users.named(problem)

    def _read(self) -> PipelineConfig | None:
        path, value = self.document.path, self.root.value
        if not isinstance(value, dict):
            hint = (
                "a list for 'forEach' belongs into another folder, such as ../shared"
                if value == []
                or (isinstance(value, list) and all(isinstance(item, dict) for item in cast("list[Any]", value)))
                else None
            )
            self.problems = [self.root.problem(f"expected a pipeline object, not {json_type(value)}", hint=hint)]
            return None
        written = cast("dict[str, Any]", value)
        if (wrong := allow_mistake()) is not None:
            self.problems.append(self.root.problem(wrong))
        given = {**self.given, **self.item.given} if self.item is not None else self.given
        instead = self.environment.keys.variables if self.environment is not None else {}
        self.values, wrong_values = variable_values(written.get("variables"), given, self.root, instead)
        self.problems.extend(wrong_values)
        keys = self._read_keys({key: part for key, part in written.items() if key not in ("steps", "forEach")})
        name = self.item.name if self.item else str(written.get("name", path.stem))
        self.drafts = drafts = self._read_steps(written, name)
        steps, unconnected = connect(drafts)
        self.problems.extend(unconnected)
        self._check_mode(keys, written.get("mode"), drafts)
        if keys is not None:
            self.problems.extend(partition_errors(keys, self.root, drafts))
            self.warnings.extend(reach_warnings(keys.partitions, drafts))
            is_watching = any(draft.config is not None and draft.config.is_watched() for draft in drafts)
            self.problems.extend(start_errors(keys, self.root, is_watching=is_watching))
        if not self.problems:
            guards = contract_steps(steps, self.promised)
            steps += guards
            if keys is not None and keys.mode == "streaming":
                self._check_stream(steps, [*drafts, *(drafts[guard.guards or 0] for guard in guards)])
        if not self.problems:
            self.problems.extend(incremental_errors(steps, drafts))
            self.problems.extend(history_errors(steps, drafts))
            self.problems.extend(write_errors(steps, keys.partitions if keys is not None else None, drafts))
        if self.problems or keys is None:
            return None
        return PipelineConfig(
            **dict(keys),
            steps=steps,
            file=path,
            warnings=tuple(in_order(path, self.warnings)),
            values=self.values.values,
            item=self.item,
            environment=self.environment,
            defaulted=(*defaulted_keys(self.root), *self.defaulted),
            sources=tuple(sorted({*self.defaults.files, *self.sources, *self.users.templates, *self._environments()})),
        )

    def _read_keys(self, value: dict[str, Any]) -> PipelineKeys | None:
        places = {key: self.root / key for key in value}
        if "sparkConf" in value:
            value = {**value, "sparkConf": self._settings(value["sparkConf"], places["sparkConf"])}
        if self.item is not None:
            value = self.item.in_keys(value)
        try:
            keys = PipelineKeys.model_validate(value)
        except ValidationError as error:
            self.problems.extend(
                located_errors(format_errors(error), PipelineKeys, places, self.root, also_valid=("steps",))
            )
            return None
        self.problems.extend(exposed_secrets(keys, places))
        self.warnings.extend(inline_secrets(keys, places))
        if self.environment is not None and keys.variables:
            variables = variables_in(keys.variables, self.environment, self.problems)
            keys = keys.model_copy(update={"variables": variables})
        if self.item is None:
            return keys
        # What forEach gives a value to, no run does.
        open_ones = {name: one for name, one in keys.variables.items() if name not in self.item.values}
        return keys.model_copy(update={"variables": open_ones})

    def _read_steps(self, value: dict[str, Any], pipeline: str) -> list[Draft]:
        steps = value.get("steps")
        if isinstance(steps, list) and steps:
            placed = [step for index in range(len(cast("list[Any]", steps))) for step in self._steps_at(index)]
            return [self._read_step(index, step, pipeline) for index, step in enumerate(placed)]
        place = self.root / "steps" if "steps" in value else self.root
        self.problems.append(place.problem("expected 'steps', a list of at least one step"))
        return []

    def _settings(self, value: Any, place: SourcePosition) -> Any:
        """The settings of Spark with their variables replaced: each may stand in another file."""
        if not isinstance(value, dict):
            return self._with_values(value, place)
        return {key: self._with_values(one, place / key) for key, one in cast("dict[str, Any]", value).items()}

    def _steps_at(self, entry: int) -> list[PlacedStep]:
        before = len(self.problems)
        placed = self.templates.steps_at(self.root / "steps" / entry, self.values, self.problems)
        self.users.add(placed, self.problems[before:])
        return placed

    def _read_step(self, index: int, placed: PlacedStep, pipeline: str) -> Draft:
        before = len(self.problems)
        draft = (
            self._draft(index, placed, pipeline) if placed.is_whole else Draft(index, placed.place, names_frames=False)
        )
        self.users.add([placed], self.problems[before:])
        given = {f"with.{name}": place for name, place in placed.given.items()}
        return replace(draft, keys={**draft.keys, **given}) if given else draft

    def _draft(self, index: int, placed: PlacedStep, pipeline: str) -> Draft:
        here, value = placed.place, placed.place.value
        if not isinstance(value, dict):
            self.problems.append(here.problem(f"expected a step object, not {json_type(value)}"))
            return Draft(index, here, names_frames=False)
        step = cast("dict[str, Any]", value)
        for key in step:
            if key not in STEP_KEYS:
                hint = did_you_mean(key, [*STEP_KEYS, "template"])
                self.problems.append((here / key).problem(f"unknown key '{key}'", on_key=True, hint=hint))
        name = self._step_name(step, placed)
        step_type = self._step_type(step, here)
        method = self._method(step_type, step, here)
        merged = self._config(index, step, placed, method)
        if merged is None:
            return Draft(index, here, step_type, names_frames=False, name=name)
        values, places = merged
        config = self._validated(method, values, places, here / "config" if "config" in step else here)
        line, _ = here.document.position(here.pointer)
        location = StepLocation(pipeline, here.document.path, line, index, step_type, method and method.method)
        if config is not None:
            self._read_contract(index, config, places)
            frames = config.referenced_frames()
            return Draft(
                index, here, step_type, config, places, location, config.registered_name(), frames=frames, name=name
            )
        register_as, known = unchecked_name(values, step_type)
        frames = unchecked_frames(values, method)
        return Draft(index, here, step_type, None, places, location, register_as, known, frames, name)

    def _read_contract(self, index: int, config: StepConfig, places: Mapping[str, SourcePosition]) -> None:
        if (kept := config.kept_contract()) is None:
            return
        read = read_kept_contract(kept, places, self.references)
        self.problems.extend(read.problems)
        self.warnings.extend(read.warnings)
        if read.promised is not None:
            self.promised[index] = read.promised
            self.sources.add(Path(read.promised.contract.file))

    def _step_name(self, step: dict[str, Any], placed: PlacedStep) -> str | None:
        name = step.get("name")
        if placed.used is not None:
            # A template that is used twice names its steps by what it is given.
            name = with_texts(self._with_values(name, placed.place / "name", placed.values), placed.values.values)
        if name is None or (isinstance(name, str) and _STEP_NAME.fullmatch(name)):
            return name
        found = f"'{name}'" if isinstance(name, str) else json_type(name)
        message = f"a step's name has letters, digits and underscores, and begins with none of the digits; not {found}"
        self.problems.append((placed.place / "name").problem(message))
        return None

    def _with_values(self, value: Any, place: SourcePosition, values: VariableValues | None = None) -> Any:
        replaced, wrong = (values or self.values).replaced(value, place)
        self.problems.extend(wrong)
        return replaced

    def _step_type(self, step: dict[str, Any], here: SourcePosition) -> StepType | None:
        for step_type in STEP_TYPES:
            if step.get("type") == step_type:
                return step_type
        self._wrong_name(here, "type", step, STEP_TYPES)
        return None

    def _method(
        self, step_type: StepType | None, step: dict[str, Any], here: SourcePosition
    ) -> type[StepConfig] | None:
        if step_type is None:
            return None
        methods = self.registry[step_type]
        name = step.get("method")
        if isinstance(name, str) and name in methods:
            return methods[name]
        valid = [method.method for method in methods.values()]
        self._wrong_name(here, "method", step, valid, self._instead_of(name, valid) if isinstance(name, str) else None)
        return None

    def _instead_of(self, method: str, valid: Sequence[str]) -> str | None:
        """What is known of a method that there is not: why its plug-in has failed, or what was probably meant."""
        failed = {plugin.name: str(plugin) for plugin in self.registry.failed}
        meant = self.registry.misnomers.get(method.lower()) or nearest(method, valid)
        return failed.get(method) or meant or "; ".join(failed.values()) or None

    def _wrong_name(
        self, here: SourcePosition, key: str, step: dict[str, Any], valid: Sequence[str], instead: str | None = None
    ) -> None:
        name = step.get(key)
        if key not in step:
            self.problems.append(here.problem(f"the key '{key}' is missing", hint=f"valid: {', '.join(valid)}"))
        elif isinstance(name, str):
            hint = instead or did_you_mean(name, valid)
            self.problems.append((here / key).problem(f"unknown {key} '{name}'", hint=hint))
        else:
            self.problems.append((here / key).problem(f"expected a string, not {json_type(name)}"))

    def _config(
        self, index: int, step: dict[str, Any], placed: PlacedStep, method: type[StepConfig] | None
    ) -> tuple[dict[str, Any], dict[str, SourcePosition]] | None:
        here = placed.place
        inline = step.get("config", {})
        if not isinstance(inline, dict):
            message = f"expected 'config' to be an object, not {json_type(inline)}"
            self.problems.append((here / "config").problem(message))
            return None
        config: dict[str, Any] = {}
        places: dict[str, SourcePosition] = {}
        for key, value in cast("dict[str, Any]", inline).items():
            places[key] = here / "config" / key
            config[key] = self._with_values(value, places[key], placed.values)
        if "configRef" in step:
            referenced = self.references.follow(here / "configRef")
            self.problems.extend(referenced.problems)
            if not referenced.complete:
                return None
            self.sources.update(place.document.path for place in referenced.keys)
            for place in referenced.keys:
                key = str(place.pointer[0])
                if key not in config:
                    config[key] = self._with_values(place.value, place, placed.values)
                    places[key] = place
        if method is None:
            return config, places
        absent = self.defaults.taken_away(method, config)
        for key, place in self.defaults.of_step(method, config):
            config[key] = self._with_values(place.value, place)
            places[key] = place
            self.defaulted.append(Defaulted.at(place, key, index))
        return {key: value for key, value in config.items() if key not in absent}, places

    def _validated(
        self,
        method: type[StepConfig] | None,
        values: dict[str, Any],
        places: dict[str, SourcePosition],
        whole: SourcePosition,
    ) -> StepConfig | None:
        if method is None:
            return None
        try:
            config = method.model_validate(values)
        except ValidationError as error:
            self.problems.extend(located_errors(format_errors(error), method, places, whole))
        except RecursionError:
            message = f"an expression of '{method.method}' is nested too deeply; split it into several steps"
            self.problems.append(whole.problem(message))
        except Exception as error:  # noqa: BLE001
            # A method may come from another package; whatever its validation raises is a mistake in this file.
            self.problems.append(whole.problem(f"'{method.method}' can't take this config: {error!r}"))
        else:
            self.problems.extend(exposed_secrets(config, places))
            self.warnings.extend(inline_secrets(config, places))
            return config
        return None

    def _check_mode(self, keys: PipelineKeys | None, written: Any, drafts: Sequence[Draft]) -> None:
        mode: PipelineMode | None = keys.mode if keys else None
        if mode is None and written in get_args(PipelineMode):
            mode = written
        if mode is None:
            return
        for draft in drafts:
            if draft.config is not None:
                for key, message in draft.config.mode_errors(mode):
                    place = draft.place if key is None else draft.key(key)
                    self.problems.append(place.problem(message))
                if mode == "streaming" and keys and keys.schedule is not None and not draft.config.ends_by_itself():
                    message = "a streaming pipeline with a schedule needs 'trigger': 'availableNow' in every load"
                    self.problems.append(draft.key("trigger").problem(message, hint=self._default_schedule()))

    def _default_schedule(self) -> str | None:
        place = self.root / "schedule"
        if place.document is self.document:
            return None
        found = Defaulted.at(place, "schedule")
        return f'the schedule is a default, of {found.file}:{found.line}; "schedule": null takes it away'

    def _check_stream(self, steps: Sequence[Step], drafts: Sequence[Draft]) -> None:
        try:
            stream_shape(steps)
        except StreamShapeError as error:
            self.problems.append(drafts[error.step].place.problem(str(error), hint=error.hint))
            return
        first, *others = (drafts[step.index] for step in steps if step.type == "load")
        for draft in others:
            for key in QUERY_KEYS:
                if key in draft.keys and draft.key(key).value != (first.key(key).value if key in first.keys else None):
                    message = (
                        f"a streaming pipeline is one query, so only '{key}' of the first load counts, not this one"
                    )
                    self.warnings.append(draft.key(key).problem(message))
