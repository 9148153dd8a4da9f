"""`joinDataFrames`: joins registered frames, from left to right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError
from sqlglot import exp
from sqlglot.errors import SqlglotError

from pipeline_platform.config.range_frames import Joined, OneByOne, RangeFrame
from pipeline_platform.config.sql import parse_expression
from pipeline_platform.config.traits import Traits
from pipeline_platform.config.values import FrameName, FrameNames, Names, SqlExpressions, in_any_case
from pipeline_platform.exceptions import PipelineExecutionException
from pipeline_platform.frames.columns import find_column, own_column, quoted, repeated
from pipeline_platform.frames.widening import require_same_types
from pipeline_platform.steps.transform import ColumnLineage, ColumnSource, Frames, Transform
from pipeline_platform.transforms.event_time import Watermark

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

    from pipeline_platform.config.step_over_range import RangeStep

Kind = Literal["inner", "left", "right", "full", "semi", "anti", "cross"]

_KINDS: Mapping[str, Kind] = {
    "inner": "inner",
    "cross": "cross",
    "left": "left",
    "leftouter": "left",
    "right": "right",
    "rightouter": "right",
    "full": "full",
    "outer": "full",
    "fullouter": "full",
    "semi": "semi",
    "leftsemi": "semi",
    "anti": "anti",
    "leftanti": "anti",
}


def _kinds(value: object) -> object:
    values: list[object] = list(value) if isinstance(value, list) else [value]  # pyright: ignore[reportUnknownArgumentType]
    return [_KINDS.get(item.replace("_", "").lower(), item) if isinstance(item, str) else item for item in values]


_NAMES = [*_KINDS, "left_outer", "right_outer", "full_outer", "left_semi", "left_anti"]
_ONE_OF_NAMES = [{"enum": _NAMES}, in_any_case(*_NAMES)]
JoinTypes = Annotated[
    tuple[Kind, ...],
    BeforeValidator(_kinds),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [*_ONE_OF_NAMES, {"type": "array", "items": {"anyOf": _ONE_OF_NAMES}, "minItems": 1}]}),
]


@dataclass
class _Output:
    """A column of the result: the first of its sources that is not null."""

    name: str
    sources: list[ColumnSource]
    equal: set[tuple[str, str]] = field(default_factory=set)
    """All columns that a condition makes equal to it, as folded (frame, column) pairs."""


class JoinDataFrames(Transform):
    """Joins registered frames, from left to right; the primary frame is not read.

    Of two columns of the same name that a condition makes equal, as `users.id = orders.id` does, one is kept; in a
    right or full join it has the value of the side that has one. Any other column name that two frames share is an
    error. So is a comparison for equality between types whose values Spark would have to change, such as a number and a
    text: cast one of them in the condition.
    """

    method: ClassVar[str] = "joinDataFrames"
    example = {
        "inputDataFrames": ["orders", "customers"],
        "joinConditions": ["orders.customer = customers.customer"],
        "joinType": "left",
    }

    input_data_frames: FrameNames
    """The registered frames, two or more; conditions refer to them by name."""
    join_conditions: SqlExpressions | None = None
    """One Spark SQL condition for each frame after the first, such as `users.id = orders.user_id`."""
    join_column: Names | None = None
    """In place of conditions: the column, or columns, that all frames have and that must be equal."""
    join_type: JoinTypes = ("inner",)
    """`inner`, `left`, `right`, `full`, `semi`, `anti` or `cross`; one for all joins, or one for each."""
    broadcast: FrameNames | None = None
    """The frames that are small enough to be sent to every executor."""
    watermarks: dict[FrameName, Watermark] = {}
    """By frame, how late a row of a stream may be: required where two streams are joined, without effect in batch. A
    condition on both times, such as `b.at BETWEEN a.at AND a.at + INTERVAL 1 HOUR`, lets Spark forget rows."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for key, message in self._mistakes():
            raise PydanticCustomError("join", "{message}", {"message": message, "key": key})
        return self

    def reads_primary(self) -> bool:
        return False

    def referenced_frames(self) -> Sequence[tuple[str, str]]:
        return [("inputDataFrames", name) for name in self.input_data_frames]

    def traits(self) -> Traits:
        return Traits(is_stateful=False, is_join=True, has_limit=False, sets_watermark=bool(self.watermarks))

    def makes_rows_of(self, inputs: Set[str | None]) -> bool:
        first, *others = self.input_data_frames
        is_made = first in inputs
        for name, kind in zip(others, self._types(), strict=True):
            match kind:
                case "inner" | "cross":
                    is_made = is_made or name in inputs
                case "left" | "semi":
                    pass
                case "right":
                    is_made = name in inputs
                case "full":
                    is_made = is_made and name in inputs
                case "anti":
                    is_made = is_made and name not in inputs
        return is_made

    def state_error(self, streams: Set[str | None]) -> tuple[str, str] | None:
        without = sorted(name for name in streams if name is not None and name not in self.watermarks)
        if len(streams) < 2 or not without:
            return None
        missing = ", ".join(without)
        return (
            f"a join of streams needs 'watermarks' for each of them, or its state grows without bound: {missing}",
            "write 'watermarks': {frame: {column, delay}}",
        )

    def over_range(self, step: RangeStep) -> RangeFrame:
        first, *others = self.input_data_frames
        joined = Joined.of(first.lower(), step.frames[first])
        for name, kind, condition in zip(others, self._types(), self._conditions(), strict=True):
            frame = step.frames[name].under(name.lower())
            left = joined.frames[first.lower()]
            equal = [(left.value(column), frame.value(column)) for column in self.join_column or ()]
            if condition is not None:
                equal += step.sql.equal(joined, name.lower(), frame, condition)
            same = (
                [left[1] for left, _ in _equal_columns(condition)] if condition is not None else self.join_column or ()
            )
            joined = joined.join(name.lower(), frame, equal, kind, [column.lower() for column in same])
        if self.uses_partition():
            raise OneByOne("joins on the bounds of the partition")
        return joined.output(step.origin)

    def apply(self, frames: Frames) -> DataFrame:
        from pyspark.sql import functions as F

        small = set(self.broadcast or ())
        inputs: list[DataFrame] = []
        for name in self.input_data_frames:
            frame = frames.named[name]
            if name in self.watermarks:
                frame = self.watermarks[name].apply(frame)
            inputs.append((F.broadcast(frame) if name in small else frame).alias(name))
        outputs = self._outputs({name: frames.named[name].columns for name in self.input_data_frames})
        if shared := repeated(output.name for output in outputs):
            raise _shared_names(shared, outputs)
        self._require_types(frames.named, outputs)
        joined = inputs[0]
        for right, kind, condition in zip(inputs[1:], self._types(), self._conditions(), strict=True):
            if self.join_column is not None:
                joined = joined.join(right, self.join_column, kind)
            else:
                joined = joined.join(right, F.expr(condition) if condition is not None else None, kind)
        if self.join_column is not None:
            return joined
        columns: list[Column] = []
        for output in outputs:
            sources = [F.col(f"{quoted(source.frame or '')}.{quoted(source.column)}") for source in output.sources]
            columns.append((sources[0] if len(sources) == 1 else F.coalesce(*sources)).alias(output.name))
        return joined.select(columns)

    def lineage(self, columns: Mapping[str | None, Sequence[str]], output: Sequence[str]) -> ColumnLineage:
        outputs = self._outputs({name: columns[name] for name in self.input_data_frames})
        return {column.name: column.sources for column in outputs if column.name in output}

    def _require_types(self, named: Mapping[str, DataFrame], outputs: Sequence[_Output]) -> None:
        """Raise where columns are compared, or put into one, that Spark would change, as a text into a number."""
        columns = {name: named[name].columns for name in self.input_data_frames}
        if self.join_column is not None:
            together = [[(name, key) for name in self.input_data_frames] for key in self.join_column]
        else:
            together = [pair for condition in self._conditions() if condition for pair in _compared(condition, columns)]
            together += [[(source.frame or "", source.column) for source in output.sources] for output in outputs]
        for same in together:
            sides: list[tuple[str, str, DataType]] = []
            for name, column in same:
                found = own_column(columns[name], column, name)
                sides.append((f"'{name}'", found, named[name].schema[found].dataType))
            for one, other in combinations(sides, 2):
                require_same_types(one, other, "the join")

    def _mistakes(self) -> Iterator[tuple[str, str]]:
        names, joins = self.input_data_frames, len(self.input_data_frames) - 1
        if self.input is not None:
            yield "input", "a join reads only the frames in 'inputDataFrames'"
        if joins < 1:
            yield "inputDataFrames", "a join needs two frames or more"
        if same := repeated(names):
            yield "inputDataFrames", f"named twice: {', '.join(same)}; conditions could not tell one from the other"
        if len(self.join_type) not in (1, joins):
            yield "joinType", f"expected one join type, or one for each of the {joins} joins, not {len(self.join_type)}"
        crossed = [kind == "cross" for kind in self._types()]
        if self.join_conditions is not None and self.join_column is not None:
            yield "joinColumn", "give either 'joinConditions' or 'joinColumn', not both"
        if self.join_column is not None and any(crossed):
            yield "joinColumn", "a cross join has no join column"
        if self.join_conditions is not None and len(self.join_conditions) not in (joins, joins - sum(crossed)):
            found = len(self.join_conditions)
            yield (
                "joinConditions",
                f"{joins + 1} frames need {joins} condition{'s' * (joins > 1)}, one for each join, not {found}",
            )
        if self.join_conditions is None and self.join_column is None and not all(crossed):
            yield "joinConditions", "give 'joinConditions' or 'joinColumn'; only a cross join needs neither"
        for name in self.broadcast or ():
            if name not in names:
                yield "broadcast", f"'{name}' is not one of the frames joined: {', '.join(names)}"
        for name in self.watermarks:
            if name not in names:
                yield "watermarks", f"'{name}' is not one of the frames joined: {', '.join(names)}"

    def _types(self) -> Sequence[Kind]:
        return self.join_type * (len(self.input_data_frames) - 1) if len(self.join_type) == 1 else self.join_type

    def _conditions(self) -> list[str | None]:
        """One for each join; None for a cross join that was given none."""
        types, given = self._types(), list(self.join_conditions or ())
        if len(given) == len(types):
            return [*given]
        remaining = iter(given)
        return [None if kind == "cross" else next(remaining, None) for kind in types]

    def _outputs(self, columns: Mapping[str, Sequence[str]]) -> list[_Output]:
        if self.join_column is not None:
            return self._outputs_by_name(columns, self.join_column)
        first, *others = self.input_data_frames
        outputs = [_output(first, column) for column in columns[first]]
        for right, kind, condition in zip(others, self._types(), self._conditions(), strict=True):
            if kind in ("semi", "anti"):
                continue
            pairs = _equal_columns(condition) if condition is not None else []
            for column in columns[right]:
                here = (right.lower(), column.lower())
                equal = {
                    left if right_side == here else right_side
                    for left, right_side in pairs
                    if here in (left, right_side)
                }
                kept = next((output for output in outputs if output.equal & equal), None)
                if kept is None:
                    outputs.append(_output(right, column))
                    continue
                kept.equal.add(here)
                if kind in ("right", "full"):
                    kept.sources.append(ColumnSource(right, column))
        return outputs

    def _outputs_by_name(self, columns: Mapping[str, Sequence[str]], keys: Sequence[str]) -> list[_Output]:
        first, *others = self.input_data_frames
        merged = [_output(first, own_column(columns[first], key, first)) for key in keys]
        folded = {key.lower() for key in keys}
        rest = [_output(first, column) for column in columns[first] if column.lower() not in folded]
        for right, kind in zip(others, self._types(), strict=True):
            for output, key in zip(merged, keys, strict=True):
                source = ColumnSource(right, own_column(columns[right], key, right))
                if kind == "full":
                    output.sources.append(source)
                elif kind == "right":
                    output.name, output.sources = source.column, [source]
            if kind not in ("semi", "anti"):
                rest += [_output(right, column) for column in columns[right] if column.lower() not in folded]
        return [*merged, *rest]


def _output(frame: str, column: str) -> _Output:
    return _Output(column, [ColumnSource(frame, column)], {(frame.lower(), column.lower())})


def _equal_columns(condition: str) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Pairs of columns of the same name, of two frames, that a condition makes equal."""
    return [(left, right) for left, right in _equalities(condition) if left[1] == right[1]]


def _equalities(condition: str) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Pairs of columns of two frames that a condition makes equal."""
    try:
        parsed = parse_expression(condition)
    except (SqlglotError, RecursionError):
        return []
    found: list[tuple[tuple[str, str], tuple[str, str]]] = []
    pending = [parsed]
    while pending:
        part = pending.pop()
        if isinstance(part, exp.Paren):
            pending.append(part.this)
        elif isinstance(part, exp.And):
            pending += [part.left, part.right]
        elif isinstance(part, exp.EQ | exp.NullSafeEQ):
            left, right = _of_frame(part.left), _of_frame(part.right)
            if left is not None and right is not None:
                found.append((left, right))
    return found


def _compared(condition: str, columns: Mapping[str, Sequence[str]]) -> Iterator[list[tuple[str, str]]]:
    """Pairs of columns, each with its frame, of which a condition asks anywhere whether they are equal.

    Args:
        condition: The condition.
        columns: Those of each frame; a column without a frame is that of the only one that has it.
    """
    try:
        parsed = parse_expression(condition)
    except (SqlglotError, RecursionError):
        return
    pairs = [(part.left, part.right) for part in parsed.find_all(exp.EQ, exp.NullSafeEQ)]
    pairs += [(part.this, item) for part in parsed.find_all(exp.In) for item in part.expressions]
    for pair in pairs:
        found = [place for side in pair if (place := _place(side, columns)) is not None]
        if len(found) == len(pair):
            yield found


def _place(side: exp.Expr, columns: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """Frame and column that a side of a comparison is; None for an expression, or a column that is not there."""
    if not isinstance(side, exp.Column) or len(side.parts) > 2:
        return None
    *frames, name = (part.name for part in side.parts)
    candidates = [frame for frame in columns if not frames or frame.lower() == frames[0].lower()]
    found = [(frame, column) for frame in candidates if (column := find_column(columns[frame], name)) is not None]
    return found[0] if len(found) == 1 else None


def _of_frame(side: exp.Expr) -> tuple[str, str] | None:
    if not isinstance(side, exp.Column) or len(side.parts) != 2:
        return None
    frame, column = side.parts
    return frame.name.lower(), column.name.lower()


def _shared_names(shared: Sequence[str], outputs: Sequence[_Output]) -> PipelineExecutionException:
    described: list[str] = []
    for name in shared:
        frames = [output.sources[0].frame or "" for output in outputs if output.name.lower() == name.lower()]
        described.append(f"'{name}' (in {', '.join(frames)})")
    return PipelineExecutionException(
        f"the join would have more than one column {', '.join(described)}",
        hint="rename or drop them in a step before the join, or make them equal in the join condition",
    )
