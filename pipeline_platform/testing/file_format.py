"""The keys of a file of tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self, cast

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from pipeline_platform.config.format_model import FormatModel
from pipeline_platform.config.values import Text

Row = dict[str, JsonValue]
Count = Annotated[int, Field(ge=0, strict=True)]


def _rows_alone(value: Any) -> Any:
    return {"rows": cast("list[Any]", value)} if isinstance(value, list) else value


def _count_alone(value: Any) -> Any:
    if isinstance(value, list):
        return {"rows": cast("list[Any]", value)}
    return {"violations": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise PydanticCustomError("now", "expected a time with its zone, such as 2024-01-31T08:00:00Z")
    return text


def _require_same_columns(rows: Sequence[Row], keys: tuple[str | int, ...]) -> None:
    for number, row in enumerate(rows):
        if not row:
            raise PydanticCustomError(
                "columns",
                "this expected row names no column: write the columns that are compared, or 'count' for the number of "
                "rows",
                {"keys": (*keys, number)},
            )
        if row.keys() != rows[0].keys():
            raise PydanticCustomError(
                "columns",
                "all expected rows name the same columns, and this one and the first differ in {different}",
                {"different": ", ".join(sorted(row.keys() ^ rows[0].keys())), "keys": (*keys, number)},
            )


class GivenRows(FormatModel):
    """Rows in place of what an extract reads."""

    rows: list[Row] | None = None
    """Each an object with the values of its columns; a column that a row does not name is NULL in it."""
    batches: Annotated[list[list[Row]] | None, Field(min_length=1)] = None
    """Of a stream, in place of `rows`: the rows of each micro-batch."""
    schema_: Annotated[Text | None, Field(alias="schema")] = None
    """Columns and types as in SQL, such as `id BIGINT, day DATE`; by default what the `schema` of the extract says, or
    else what the values look like: a whole number is a BIGINT, any other a DOUBLE, a date in quotes a STRING."""

    @model_validator(mode="after")
    def _has_one_of_both(self) -> Self:
        if (self.rows is None) == (self.batches is None):
            raise PydanticCustomError("given", "expected either 'rows' or 'batches'")
        return self


class ExpectedStep(FormatModel):
    """What is expected of a step."""

    rows: list[Row] | None = None
    """Of an extract or a transform the rows that it makes, of a load those that it is given, of a validation those
    that it puts into quarantine; in any order. Only the columns that they name are compared; all of them name the
    same."""
    count: Count | None = None
    """How many rows there are."""
    batches: list[list[Row]] | None = None
    """Of a stream, as `rows`, for each micro-batch. After those that have given rows, there may be one in which comes
    what waited for the watermark."""
    schema_: Annotated[Text | None, Field(alias="schema")] = None
    """All columns in their order with their types as in SQL, such as `id BIGINT, day DATE`."""
    violations: Count | dict[Text, Count] | None = None
    """Of a validation: how many rows break its rules, counted once for each rule, or an object with the number for each
    rule; one that is not named is broken by none."""

    @property
    def wants_rows(self) -> bool:
        """Whether it is about rows, and not about columns and rules alone."""
        return self.rows is not None or self.batches is not None or self.count is not None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("expected", "says nothing: expected 'rows', 'count', 'schema' or 'violations'")
        _require_same_columns(self.rows or [], ("rows",))
        for number, batch in enumerate(self.batches or []):
            _require_same_columns(batch, ("batches", number))
        return self


class ExpectedFailure(FormatModel):
    """How a run ends that can't go well."""

    step: Text
    """The step that it fails at: a rule that stops it, or an error."""
    message: Text
    """A part of what it says."""


class PartitionRange(FormatModel):
    """Several partitions that follow each other."""

    from_: Annotated[Text, Field(alias="from")]
    """Key of the first one."""
    to: Text
    """Key of the last one, inclusive."""


class TestCase(FormatModel):
    """One test: what is given, and what is expected then."""

    __test__ = False

    name: Text
    """What it shows, in words."""
    given: dict[Text, Annotated[GivenRows, BeforeValidator(_rows_alone)]] = {}
    """Rows for extracts, by the names of the steps: a list of objects, or an object with `rows` and `schema`."""
    expect: dict[Text, Annotated[ExpectedStep, BeforeValidator(_count_alone)]] = {}
    """What is expected of steps, by their names: a list of rows, for a validation the number of rows that break a rule,
    or an object that says more."""
    fails: ExpectedFailure | None = None
    """Where the run fails."""
    warn_only: list[Text] = []
    """Validations that only warn in this test, whatever their `onFailure` is: such as one that asks for more rows than
    anybody would write."""
    variables: Mapping[str, JsonValue] = {}
    """Values of the pipeline's variables; those of `forEach` choose one of the pipelines of its file."""
    partition: Text | PartitionRange | None = None
    """Key of the partition that is loaded, or `{"from": …, "to": …}`; needed where the pipeline has partitions."""
    now: Annotated[Text, AfterValidator(_moment)] | None = None
    """What `current_timestamp()`, `current_date()` and `now()` are, such as `2024-01-31T08:00:00Z`."""

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        if not self.expect and self.fails is None:
            raise PydanticCustomError("expect", "expects nothing: it needs 'expect' or 'fails'")
        return self


def _distinct(cases: Sequence[TestCase]) -> Sequence[TestCase]:
    names: set[str] = set()
    for number, case in enumerate(cases):
        if case.name in names:
            raise PydanticCustomError("name", "two tests are called '{name}'", {"name": case.name, "keys": (number,)})
        names.add(case.name)
    return cases


class TestFile(FormatModel):
    """A file of tests of one pipeline."""

    __test__ = False

    schema_: Annotated[str | None, Field(alias="$schema")] = None
    """The JSON Schema, for editors."""
    pipeline: Text
    """Its file, from the folder of this one, such as `../orders.json`."""
    tests: Annotated[list[TestCase], Field(min_length=1), AfterValidator(_distinct)]
    """The tests."""
