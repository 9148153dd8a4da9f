"""Which steps of a pipeline are others than before, and in what."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Literal, cast

from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.step import Step
from pipeline_platform.planning.normal_form import config_form, neutral_fields, step_form
from pipeline_platform.planning.versions import Pair
from pipeline_platform.redaction import redact_config

Kind = Literal["added", "removed", "changed", "moved", "rewritten", "same"]
_LONGEST = 60
_CONTEXT = 15
_INPUT = "input"


@dataclass(frozen=True)
class KeyChange:
    """A key of a step that has another value.

    Args:
        key: The key, and what is in it, such as `columns.total`.
        before: Its value; None where it is not there.
        now: The same of now.
        is_neutral: Whether nothing but how the step works depends on it.
    """

    key: str
    before: Any
    now: Any
    is_neutral: bool = False

    def __str__(self) -> str:
        if self.before is None:
            return f"'{self.key}' is new: {shown(self.now)}"
        if self.now is None:
            return f"'{self.key}' is gone: {shown(self.before)}"
        before, now = _text(self.before), _text(self.now)
        # Of long ones the part that differs.
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, now, strict=False)))
        start = same - _CONTEXT if max(len(before), len(now)) > _LONGEST else 0
        return f"'{self.key}': {_excerpt(before, start)} → {_excerpt(now, start)}"


@dataclass(frozen=True)
class StepChange:
    """A step, and what of it is another.

    Args:
        kind: What happened to it; `rewritten` where nothing that comes of it depends on the difference.
        before: The step before; None of one that is new.
        now: The step now; None of one that is gone.
        keys: What is different.
    """

    kind: Kind
    before: Step | None
    now: Step | None
    keys: tuple[KeyChange, ...] = ()

    @property
    def step(self) -> Step:
        """The step, as it is now if it is there."""
        found = self.now or self.before
        assert found is not None
        return found

    @property
    def is_renamed(self) -> bool:
        """Whether its name is another one."""
        return self.before is not None and self.now is not None and self.before.name != self.now.name

    @property
    def effective(self) -> list[KeyChange]:
        """What of the difference may matter."""
        return [one for one in self.keys if not one.is_neutral]

    def told(self) -> str:
        """What happened, in a few words."""
        step = self.step
        named = title(step)
        if self.kind == "moved":
            return f"{named} is at another place among the steps"
        if self.kind in ("added", "removed"):
            return f"{named} is {'new' if self.kind == 'added' else 'gone'}{_gist(step)}"
        return f"{named}: {'; '.join(map(str, self.effective or self.keys))}"


def title(step: Step) -> str:
    """A step as messages name it."""
    if step.guards is not None:
        return f"the contract of step {step.guards + 1}"
    return f"step {step.number} ({step.config.method} '{step.name}')"


def _gist(step: Step) -> str:
    """What the step does, where its config is short."""
    written = redact_config(step.config.as_config())
    texts = [f"{key}: {shown(value)}" for key, value in written.items() if key not in ("registerAs", _INPUT)]
    told = ", ".join(texts)
    return f" ({told})" if told and len(told) <= 2 * _LONGEST else ""


def shown(value: Any) -> str:
    """A value of a config as a message has it.

    Args:
        value: As JSON has it.
    """
    return _excerpt(_text(value), 0)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return " ".join(text.split())


def _excerpt(text: str, start: int) -> str:
    begins = text.rfind(" ", 0, start) + 1 if start > 0 else 0
    part = text[begins:]
    part = part if len(part) <= _LONGEST else f"{part[: _LONGEST - 1]}…"
    return f"…{part}" if begins else part


def step_changes(pair: Pair) -> list[StepChange]:
    """What of the steps is another: each step that is in either version, those of this version first.

    Args:
        pair: The pipeline in both versions.
    """
    matched = _matched(pair.before.in_turn, pair.now.in_turn)
    twins = {now.index: before.index for before, now in matched}
    gone = {before.index for before, _ in matched}
    moved = _moved(pair.now.in_turn, {now.index: pair.before.in_turn.index(before) for before, now in matched})
    found = [_compared(before, now, twins) for before, now in matched]
    found = [
        replace(one, kind="moved") if one.kind in ("same", "rewritten") and one.step.index in moved else one
        for one in found
    ]
    found += [StepChange("added", None, step) for step in pair.now.in_turn if step.index not in twins]
    found += [StepChange("removed", step, None) for step in pair.before.in_turn if step.index not in gone]
    return sorted(found, key=lambda change: change.step.index)


def _moved(steps: Sequence[Step], places: Mapping[int, int]) -> set[int]:
    """The steps that come after one that they came before."""
    last, found = -1, set[int]()
    for step in steps:
        if (place := places.get(step.index)) is not None:
            if place < last:
                found.add(step.index)
            last = max(last, place)
    return found


def frame_forms(pipeline: PipelineConfig) -> list[Any]:
    """All that frames depend on, in one spelling: where it is the same, so are the frames.

    Args:
        pipeline: The pipeline.
    """
    steps = [step for step in pipeline.in_turn if step.type != "validate" or step.config.fills_quarantine()]
    places = {step.index: place for place, step in enumerate(steps)}
    return [
        [*step_form(step, {}), [(places.get(edge.step), edge.name is None) for edge in step.inputs]] for step in steps
    ]


def _matched(before: Sequence[Step], now: Sequence[Step]) -> list[tuple[Step, Step]]:
    """Which step is which: of the same name and method, or of the same config, or the next of the same method."""
    pairs: list[tuple[Step, Step]] = []
    olds, news = list(before), list(now)
    likenesses: tuple[Callable[[Step], object], ...] = (
        lambda step: (step.config.method, step.name, step.guards is None),
        lambda step: repr((step_form(step, {}), step.guards is None)),
        lambda step: (step.config.method, step.guards is None),
        # A load is what it writes to, whatever it is called.
        lambda step: step.config.written_place({}) or step.index if step.type == "load" else step.index - 10_000,
    )
    for likeness in likenesses:
        for new in list(news):
            old = next((one for one in olds if likeness(one) == likeness(new) and one.type == new.type), None)
            if old is not None:
                pairs.append((old, new))
                olds.remove(old)
                news.remove(new)
    return pairs


def _compared(before: Step, now: Step, twins: Mapping[int, int]) -> StepChange:
    keys: list[KeyChange] = []
    if before.config.method == now.config.method:
        written = before.config.as_written.as_config(), now.config.as_written.as_config()
        keys = [
            KeyChange(".".join(path), *(_at(one, path, value) for one, value in zip(written, values, strict=True)))
            for path, *values in _different(_form(before), _form(now))
        ]
    if before.config.method != now.config.method:
        keys = [KeyChange("method", before.config.method, now.config.method)]
    if before.config.read_beside() != now.config.read_beside():
        keys.append(KeyChange("contract", "what it said", "what it says"))
    if keys:
        return StepChange("changed", before, now, (*keys, *_neutral(before, now)))
    neutral = tuple(_neutral(before, now))
    inputs = [edge.step for edge in before.inputs], [twins.get(edge.step) for edge in now.inputs]
    if any(one.key == _INPUT for one in neutral) and inputs[0] != inputs[1]:
        return StepChange("changed", before, now, tuple(replace(one, is_neutral=one.key != _INPUT) for one in neutral))
    return StepChange("rewritten" if neutral else "same", before, now, neutral)


def _form(step: Step) -> dict[str, Any]:
    frames = {edge.name.lower(): f"input {place}" for place, edge in enumerate(step.inputs) if edge.name is not None}
    return config_form(step.config.as_written, frames)


def _at(written: Any, path: Sequence[str], otherwise: Any) -> Any:
    """A value as it is written, where it is."""
    for key in path:
        if not isinstance(written, dict) or key not in written:
            return redact_config({path[-1]: otherwise})[path[-1]]
        written = cast("dict[str, Any]", written)[key]
    return redact_config({path[-1]: written})[path[-1]]


def _different(
    before: Mapping[str, Any], now: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Where two configs differ, and both values; below the keys themselves, the order counts, too."""
    is_found = False
    for key in dict.fromkeys([*now, *before]):
        old, new = before.get(key), now.get(key)
        if repr(old) == repr(new):
            continue
        is_found = True
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _different(cast("dict[str, Any]", old), cast("dict[str, Any]", new), (*path, key))
        else:
            yield (*path, key), old, new
    if path and not is_found:
        yield path, before, now


def _neutral(before: Step, now: Step) -> Iterator[KeyChange]:
    """Keys that are another way to write the same, or say only how the step works."""
    written = before.config.as_written.as_config(), now.config.as_written.as_config()
    fields = type(now.config).model_fields
    neutral = {fields[name].alias or name for name in neutral_fields(now.config) if name in fields}
    effective = {path[0] for path, _, _ in _different(_form(before), _form(now))}
    for path, old, new in _different(*written):
        if path[0] in neutral or path[0] not in effective:
            yield KeyChange(
                ".".join(path), *(redact_config({path[-1]: one})[path[-1]] for one in (old, new)), is_neutral=True
            )
