"""Connects the steps of a pipeline: which frames each of them works on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from pipeline_platform.config.config_error import LISTED_NAMES, ConfigError, did_you_mean
from pipeline_platform.config.documents.document import SourcePosition
from pipeline_platform.config.step import Input, Step, StepConfig, StepType
from pipeline_platform.exceptions import StepLocation

# To compare a name with very many others takes long, and a guess for each of many names helps nobody.
_GUESSES = 20
_COMPARED_NAMES = 200


@dataclass(frozen=True)
class Draft:
    """A step as far as it could be read, before it is connected to the others.

    Args:
        index: Position in `steps`.
        place: The step in its file.
        type: What it says it is; None if that is no step type.
        config: Its config; None if there is a mistake in it.
        keys: Where each key of the config was written, be it a referenced file.
        location: For errors.
        register_as: The name it registers, or tries to.
        names_frames: Whether all the names it may register are known.
        frames: Registered frames it reads, as (config key, name) pairs.
        name: What the file calls the step.
    """

    index: int
    place: SourcePosition
    type: StepType | None = None
    config: StepConfig | None = None
    keys: Mapping[str, SourcePosition] = field(default_factory=dict[str, SourcePosition])
    location: StepLocation | None = None
    register_as: str | None = None
    names_frames: bool = True
    frames: Sequence[tuple[str, str]] = ()
    name: str | None = None

    @property
    def method(self) -> str | None:
        """Its method, or what is written there; None if that is no name."""
        if self.config is not None:
            return self.config.method
        value = self.place.value
        written = cast("dict[str, Any]", value).get("method") if isinstance(value, dict) else None
        return written if isinstance(written, str) and written.isidentifier() else None

    def key(self, *path: str | int) -> SourcePosition:
        """Where a key of the config, or something within it, was written; the step if it was not."""
        place = self.keys.get(str(path[0]))
        if place is None:
            return self.place
        for part in path[1:]:
            place /= part
        return place


def connect(drafts: Sequence[Draft]) -> tuple[tuple[Step, ...], list[ConfigError]]:
    """Resolve registered names and the primary frame, and name every step.

    A pipeline carries one primary frame, which an extract or a transform replaces, and a registry of
    named frames. A draft with a mistake still registers its name and still becomes the primary, so that what
    is wrong with the others shows at once.

    Args:
        drafts: The steps, in the order of the file.

    Returns:
        The steps that are right by themselves, and what is wrong between them.
    """
    primary: int | None = None
    registry: dict[str, Draft] = {}
    all_names, own = _registered(drafts), _named(drafts)
    names = step_names(drafts)
    guesses = iter(range(_GUESSES))
    all_known = True
    steps: list[Step] = []
    problems: list[ConfigError] = []
    if drafts and drafts[0].type not in ("extract", None):
        problems.append((drafts[0].place / "type").problem("the first step has to be an extract"))
    for draft, step_name in zip(drafts, names, strict=True):
        inputs: list[Input] = []
        if draft.config is not None and draft.config.reads_primary() and primary is not None:
            inputs.append(Input(primary, None))
        written: dict[str, dict[str, int]] = {}
        for key, name in draft.frames:
            if name in registry:
                inputs.append(Input(registry[name].index, name))
            elif all_known:
                if key not in written:
                    written[key] = _positions(draft.key(key).value)
                place = draft.key(key, written[key][name]) if name in written[key] else draft.key(key)
                hint = _hint(draft, name, registry, all_names, guesses)
                problems.append(place.problem(f"there is no registered frame '{name}' before this step", hint=hint))
        if draft.config is not None and draft.location is not None and step_name is not None:
            location = replace(draft.location, step=step_name)
            steps.append(Step(draft.index, step_name, draft.config, tuple(inputs), location))
        all_known = all_known and draft.names_frames
        if draft.register_as is not None:
            first = registry.setdefault(draft.register_as, draft)
            if first is not draft:
                line, _ = first.key("registerAs").document.position(first.key("registerAs").pointer)
                message = f"the name '{draft.register_as}' is registered twice"
                problems.append(draft.key("registerAs").problem(message, hint=f"first on line {line}"))
        if draft.name is not None and (wrong := _wrong_name(draft, own[draft.name], all_names)) is not None:
            problems.append((draft.place / "name").problem(wrong[0], hint=wrong[1]))
        if draft.type in ("extract", "transform"):
            primary = draft.index
    return tuple(steps), problems


def step_names(drafts: Sequence[Draft]) -> list[str | None]:
    """What each step is called; None for one whose method can't be told.

    Args:
        drafts: The steps, in the order of the file.
    """
    names = _StepNames({*_named(drafts), *(_identifier(name) for name in _registered(drafts))})
    return [
        draft.name or (names.take(draft.register_as, draft.method) if draft.method is not None else None)
        for draft in drafts
    ]


def _registered(drafts: Sequence[Draft]) -> dict[str, Draft]:
    return {draft.register_as: draft for draft in reversed(drafts) if draft.register_as is not None}


def _named(drafts: Sequence[Draft]) -> dict[str, Draft]:
    return {draft.name: draft for draft in reversed(drafts) if draft.name is not None}


def _wrong_name(draft: Draft, first: Draft, registered: Mapping[str, Draft]) -> tuple[str, str] | None:
    """Why a step can't have its name, and what to do."""
    other = next((other for name, other in registered.items() if _identifier(name) == draft.name), draft)
    if first is not draft:
        return f"the name '{draft.name}' is given twice", f"first to step {first.index + 1}"
    if other is not draft:
        return f"step {other.index + 1} registers a frame as '{draft.name}', and is called so", "give another name"
    return None


def _positions(value: Any) -> dict[str, int]:
    """Where in a list each name stands first; nothing for what is no list."""
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return {item: index for index, item in reversed(list(enumerate(items))) if isinstance(item, str)}


def _hint(
    draft: Draft, name: str, registry: Mapping[str, Draft], all_names: Mapping[str, Draft], guesses: Iterator[int]
) -> str | None:
    if name in all_names:
        later = all_names[name].index
        return "this step registers it itself" if later == draft.index else f"step {later + 1} registers it, later"
    if not registry:
        return "no frame is registered so far"
    can_guess = len(registry) <= LISTED_NAMES or (len(registry) <= _COMPARED_NAMES and next(guesses, None) is not None)
    return did_you_mean(name, registry) if can_guess else None


class _StepNames:
    def __init__(self, reserved: set[str]) -> None:
        self.reserved = reserved
        self.taken: set[str] = set()
        self.counts: Counter[str] = Counter()

    def take(self, register_as: str | None, method: str) -> str:
        base = _identifier(register_as or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", method).lower())
        candidate = base
        while candidate in self.taken or (register_as is None and candidate in self.reserved):
            self.counts[base] = max(self.counts[base], 1) + 1
            candidate = f"{base}_{self.counts[base]}"
        self.taken.add(candidate)
        return candidate


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII)
