"""`template`: steps in a file of their own, which take values for their variables from where they are used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import Field, ValidationError

from pipeline_platform.config.config_error import ConfigError, did_you_mean
from pipeline_platform.config.documents.document import (
    Document,
    DocumentError,
    SourcePosition,
    json_type,
    read_document,
)
from pipeline_platform.config.format_errors import format_errors
from pipeline_platform.config.located_errors import located_errors
from pipeline_platform.config.project_files import is_path, referenced_file, shown_as
from pipeline_platform.config.step import FormatModel
from pipeline_platform.config.variables import (
    Variable,
    VariableName,
    VariableValue,
    VariableValues,
    names_in,
    wrong_value,
)

TEMPLATE_KEYS = ("template", "with")
"""Keys of an entry of `steps` that stands for the steps of a template."""


class TemplateKeys(FormatModel):
    """The top-level keys of a template, without its steps."""

    editor_schema: Annotated[str | None, Field(alias="$schema")] = None
    """For your editor."""
    description: str | None = None
    """What it is for."""
    variables: dict[VariableName, Variable] = {}
    """What it takes, by name: `${var:NAME}` stands for it in any string of its steps. `with` gives the values where it
    is used; those without a default have to be given. It knows no other variables."""


@dataclass(frozen=True)
class PlacedStep:
    """An entry of `steps`, or a step of a template that is used there.

    Args:
        place: Where it is written.
        values: What the variables stand for there.
        used: Of a step of a template, the entry of the pipeline that uses it.
        given: Of a step of a template, where each value stands that it was given, by variable.
        is_whole: Whether it is all that there is; of a template with a mistake it stands for the steps.
    """

    place: SourcePosition
    values: VariableValues
    used: SourcePosition | None = None
    given: Mapping[str, SourcePosition] = field(default_factory=dict[str, SourcePosition], compare=False)
    is_whole: bool = True


@dataclass(frozen=True)
class _Template:
    root: SourcePosition
    keys: TemplateKeys | None
    problems: tuple[ConfigError, ...]


class Templates:
    """The templates of a project; each file is read once.

    Args:
        project: The folder that a path must not leave, resolved.
    """

    def __init__(self, project: Path) -> None:
        self.project = project
        self._read: dict[tuple[Path, Path], _Template] = {}

    def steps_at(self, place: SourcePosition, values: VariableValues, problems: list[ConfigError]) -> list[PlacedStep]:
        """The step that an entry of a pipeline is, or the steps of the template that it names.

        Args:
            place: Of the entry.
            values: What the variables of the pipeline stand for.
            problems: Gets what is wrong with the template, and with how it is used.
        """
        return self._steps_at(PlacedStep(place, values), (place.document.path.resolve(),), problems)

    def _steps_at(self, entry: PlacedStep, seen: tuple[Path, ...], problems: list[ConfigError]) -> list[PlacedStep]:
        value = entry.place.value
        if not isinstance(value, dict) or "template" not in value:
            return [entry]
        using = replace(entry, used=entry.used or entry.place)
        try:
            return self._of_template(using, seen, problems)
        except DocumentError as error:
            problems.append(error.problem)
            return [replace(using, is_whole=False)]

    def _of_template(self, entry: PlacedStep, seen: tuple[Path, ...], problems: list[ConfigError]) -> list[PlacedStep]:
        place = entry.place
        for key in cast("dict[str, Any]", place.value):
            if key not in TEMPLATE_KEYS:
                hint = f"an entry with 'template' has {' and '.join(TEMPLATE_KEYS)} alone"
                problems.append((place / key).problem(f"unknown key '{key}'", on_key=True, hint=hint))
        target = self._file(place / "template", seen)
        template = self._template(target, shown_as(target, place))
        problems.extend(template.problems)
        values = self._values(entry, template, problems) if template.keys is not None else None
        if values is None:
            return [replace(entry, is_whole=False)]
        steps = template.root / "steps"
        written = cast("list[Any]", steps.value) if isinstance(steps.value, list) else []
        if not written:
            at = steps if "steps" in template.root.value else template.root
            raise DocumentError(at.problem("expected 'steps', a list of at least one step"))
        given = {**entry.given, **{name: place / "with" / name for name in (place / "with").value or ()}}
        return [
            step
            for index in range(len(written))
            for step in self._steps_at(PlacedStep(steps / index, values, entry.used, given), (*seen, target), problems)
        ]

    def _file(self, place: SourcePosition, seen: tuple[Path, ...]) -> Path:
        if not is_path(place.value):
            found = "an empty string" if place.value == "" else json_type(place.value)
            raise DocumentError(place.problem(f"expected the path of a template, not {found}"))
        target = referenced_file(place, seen[-1].parent, self.project, seen)
        if target.parent == seen[0].parent:
            message = "beside the pipelines a template would be taken for one of them"
            raise DocumentError(place.problem(message, hint="move it into another folder, such as templates"))
        return target

    def _template(self, target: Path, shown: Path) -> _Template:
        if (target, shown) not in self._read:
            self._read[target, shown] = _read(read_document(target, shown))
        return self._read[target, shown]

    def _values(self, entry: PlacedStep, template: _Template, problems: list[ConfigError]) -> VariableValues | None:
        """What the variables of a template stand for; None if that is not known."""
        assert template.keys is not None
        declared, place = template.keys.variables, entry.place / "with"
        if not isinstance(place.value, dict | None):
            problems.append(place.problem(f"expected an object with values of variables, not {json_type(place.value)}"))
            return None
        written = cast("dict[str, Any]", place.value or {})
        before = len(problems)
        values = {name: one.default for name, one in declared.items() if one.default is not None}
        for name, text in written.items():
            if name not in declared:
                hint = did_you_mean(name, declared) if declared else f"{template.root.document.path} declares none"
                problems.append((place / name).problem(f"there is no variable '{name}'", on_key=True, hint=hint))
                continue
            value, wrong = entry.values.replaced(text, place / name)
            problems.extend(wrong)
            # What has no value yet gets one in a run.
            is_open = isinstance(value, str) and bool(names_in(value))
            if not is_open and (mistake := wrong_value(declared[name].type, value)) is not None:
                problems.append((place / name).problem(f"the value of the variable '{name}': {mistake}"))
            values[name] = cast("VariableValue", value)
        missing = [name for name in declared if name not in values]
        if missing:
            told = f"variable{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
            message = f"the template '{(entry.place / 'template').value}' needs a value for the {told}"
            hint = f'give it, as in "with": {{"{missing[0]}": …}}'
            at = place if "with" in entry.place.value else entry.place
            problems.append(at.problem(message, hint=hint))
        return VariableValues(tuple(declared), values) if len(problems) == before else None


def _read(document: Document) -> _Template:
    root = SourcePosition(document)
    if not isinstance(document.value, dict):
        message = f"expected an object with 'variables' and 'steps', not {json_type(document.value)}"
        raise DocumentError(root.problem(message))
    written = {key: value for key, value in cast("dict[str, Any]", document.value).items() if key != "steps"}
    try:
        keys = TemplateKeys.model_validate(written)
    except ValidationError as error:
        places = {key: root / key for key in written}
        found = located_errors(format_errors(error), TemplateKeys, places, root, also_valid=("steps",))
        return _Template(root, None, (*document.problems, *found))
    return _Template(root, keys, document.problems)
