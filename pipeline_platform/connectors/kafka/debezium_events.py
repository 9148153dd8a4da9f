"""Change events of Debezium: the row that was changed, what happened to it, and where that is in the order of changes.

An event is a JSON object with `op`, `before`, `after` and `source`, alone or as the `payload` beside its `schema`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from pipeline_platform.config.config_error import nearest
from pipeline_platform.connectors.kafka.debezium_types import (
    Read,
    Told,
    UnfitError,
    is_unavailable,
    may_be_unsigned,
    named,
    reader,
)
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.frames.json_values import EMPTY, NOT_UTF8

if TYPE_CHECKING:
    from pyspark.sql.types import StructField, StructType

OPERATION, SEQUENCE, TIME, TRANSACTION = "change_op", "change_sequence", "change_time", "change_transaction"
CHANGE_COLUMNS = (OPERATION, SEQUENCE, TIME, TRANSACTION)
"""Columns that say of each row which change it is."""

Json = dict[str, Any]
_ROW_OF = {"c": "after", "u": "after", "r": "after", "d": "before"}
_TRUNCATE = "t"
_SURROGATE = re.compile("[\ud800-\udfff]")
_BINLOG = re.compile(r".*\.(\d{1,10})", re.ASCII)
_SCALE = re.compile(r"-?\d{1,4}", re.ASCII)
_LARGEST = 2**63
_WITH_BINLOG = ("mysql", "mariadb")
_UNSIGNED = (
    "'{column}' is negative, as Debezium writes a large BIGINT UNSIGNED, too: the connector needs "
    "bigint.unsigned.handling.mode=precise, or 'valueSchema' a BIGINT if the column is signed"
)
_SCHEMA, _PAYLOAD = b'{"schema":', b',"payload":'
_TWICE = "a key occurs twice in it"
_SHOWN = 100


class UnusableError(Exception):
    """A message is no change that can be used; says why."""


@dataclass(frozen=True)
class Rows:
    """What the rows of the table are.

    Args:
        schema: Of their columns.
        types: Of messages without a schema: the types of columns, by their names, as `DEBEZIUM_TYPE` has them.
        ignored: Columns of the table that the schema lacks, and that are left out.
    """

    schema: StructType
    types: Mapping[str, str] = field(default_factory=dict[str, str])
    ignored: Collection[str] = ()


def change_reader(rows: Rows) -> Callable[[bytes], Json]:
    """What reads messages: the columns of the row, and `CHANGE_COLUMNS`; it raises `UnusableError`.

    The columns of the row are null for a truncation.

    Args:
        rows: What the rows of the table are.

    Raises:
        PipelineConfigurationException: A column has a type that is not read, or a name that means another.
    """
    columns = rows.schema.fields
    reads = [(column.name, *_how(column)) for column in columns]
    required = [column.name for column in columns if not column.nullable]
    decimals = {name for name, _, kind in reads if kind.startswith("DECIMAL")}
    _require_own_names(rows)
    known = {column.name for column in columns} | set(rows.ignored)
    given = {name: named(text) for name, text in rows.types.items()}

    latest = _Latest()

    def read(data: bytes) -> Json:
        message, types = latest.parsed(data)
        event = message.get("payload") if "op" not in message else message
        if not isinstance(event, dict):
            raise UnusableError(_why_no_change(message))
        event = cast("Json", event)
        operation, row = _operation_and_row(event)
        unknown = next((name for name in row if name not in known), None)
        if unknown is not None:
            raise UnusableError(f"'valueSchema' lacks the column '{unknown[:_SHOWN]}'")
        # Of a deleted row, often only the key is known.
        missing = [name for name in required if row.get(name) is None and operation in ("c", "u", "r")]
        if missing:
            raise UnusableError(f"'{missing[0]}' is missing or null")
        source = _source(event)
        change: Json = {}
        for name, how, kind in reads:
            told = given.get(name) if types is None else types.get(name, Told(""))
            if name in decimals and source.get("connector") in _WITH_BINLOG and may_be_unsigned(row.get(name), told):
                raise UnusableError(_UNSIGNED.format(column=name))
            change[name] = _value(name, row.get(name), how, kind, told)
        return change | _place(source, operation)

    return read


class _Latest:
    """The schema of the latest message, which the next one mostly has, too: it is longer than most rows."""

    def __init__(self) -> None:
        self._start = b""
        self._types: Mapping[str, Told] | None = None

    def parsed(self, data: bytes) -> tuple[Json, Mapping[str, Told] | None]:
        """The message, without a schema that is known, and what its schema tells of each column.

        Raises:
            UnusableError: As `parsed`.
        """
        if self._start and data.startswith(self._start):
            message = parsed(_PAYLOAD.replace(b",", b"{") + data[len(self._start) :])
            if "schema" in message:
                raise UnusableError(_TWICE)
            return message, self._types
        message = parsed(data)
        types = _types_in(message.get("schema"))
        # With a space after the colon, as others than Kafka Connect write it, it is parsed each time.
        if types is not None and data.startswith(_SCHEMA + b"{"):
            text = data.decode()
            _, end = json.JSONDecoder().raw_decode(text, len(_SCHEMA))
            start = text[:end].encode() + _PAYLOAD
            if data.startswith(start):
                self._start, self._types = start, types
        return message, types


def parsed(data: bytes) -> Json:
    """The JSON object of these bytes, with the digits of each number.

    Raises:
        UnusableError: They are no object of strict JSON, or something follows it.
    """
    if not data:
        raise UnusableError(EMPTY)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise UnusableError(NOT_UTF8) from None
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, ArithmeticError, RecursionError):
        raise UnusableError("not JSON") from None
    if not isinstance(value, dict):
        raise UnusableError("not a JSON object")
    if "\\u" in text and _has_half_of_a_pair(value):
        raise UnusableError("a text in it has half of a surrogate pair")
    return cast("Json", value)


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise UnusableError(_TWICE)
    return found


def _no_constant(_: str) -> Any:
    raise ValueError


def _has_half_of_a_pair(value: Any) -> bool:
    match value:
        case str():
            return _SURROGATE.search(value) is not None
        case list():
            return any(_has_half_of_a_pair(item) for item in cast("list[Any]", value))
        case dict():
            pairs = cast("Json", value).items()
            return any(_has_half_of_a_pair(name) or _has_half_of_a_pair(item) for name, item in pairs)
        case _:
            return False


def _operation_and_row(event: Json) -> tuple[str, Json]:
    operation = event.get("op")
    if operation == _TRUNCATE:
        return _TRUNCATE, {}
    side = _ROW_OF.get(operation) if isinstance(operation, str) else None
    if operation is None or side is None:
        raise UnusableError(_why_no_change(event))
    row = event.get(side)
    if not isinstance(row, dict):
        raise UnusableError(f"it has the op '{operation}', and no row in '{side}'")
    return operation, cast("Json", row)


def _why_no_change(event: Json) -> str:
    """Which other message of Debezium it is, by the fields that only that has."""
    if event.get("op") == "m":
        return "a message that an application wrote into the log, and no change of a row"
    if "op" in event:
        return "its 'op' is none of c, u, d, r and t"
    if "status" in event and "id" in event:
        return "a mark of a transaction, and no change of a row"
    if "ddl" in event or "tableChanges" in event:
        return "a change of the schema, and not of a row"
    if set(event) == {"ts_ms"}:
        return "a heartbeat, and no change of a row"
    return "no change event of Debezium, which has an 'op'"


def _types_in(schema: Any) -> Mapping[str, Told] | None:
    """What the schema in a message tells of each column; None if there is none."""
    for side in _fields(schema):
        if side.get("field") == "after":
            return {column["field"]: _told(column) for column in _fields(side) if isinstance(column.get("field"), str)}
    return None


def _fields(schema: Any) -> list[Json]:
    fields = cast("Json", schema).get("fields") if isinstance(schema, dict) else None
    return [part for part in cast("list[Any]", fields) if isinstance(part, dict)] if isinstance(fields, list) else []


def _told(schema: Json) -> Told:
    kind, name, parameters, items = (schema.get(key) for key in ("type", "name", "parameters", "items"))
    scale = cast("Json", parameters).get("scale") if isinstance(parameters, dict) else None
    is_scale = isinstance(scale, str) and _SCALE.fullmatch(scale)
    return Told(
        kind if isinstance(kind, str) else "",
        name if isinstance(name, str) else None,
        int(cast("str", scale)) if is_scale else None,
        _told(cast("Json", items)) if isinstance(items, dict) else None,
    )


def _require_own_names(rows: Rows) -> None:
    """Raise unless each name is that of one column."""
    names = rows.schema.fieldNames()
    taken = [name for name in names if name.lower() in CHANGE_COLUMNS]
    if taken:
        raise PipelineConfigurationException(
            f"'valueSchema' has a column '{taken[0]}', which is what debezium calls one of its own",
            hint="leave it out, and name it in 'ignoredColumns'",
        )
    strange = [name for name in rows.types if name not in names]
    if strange:
        raise PipelineConfigurationException(
            f"'valueTypes' has a column '{strange[0]}', which 'valueSchema' lacks",
            hint=nearest(strange[0], names) or f"the columns are {', '.join(names)}",
        )


def _how(column: StructField) -> tuple[Read, str]:
    """How a column is read, and as what."""
    read, kind = reader(column.dataType), column.dataType.simpleString().upper()[:60]
    if read is None:
        raise PipelineConfigurationException(
            f"'{column.name}' is {kind} in 'valueSchema', which no value in a change of debezium is read as",
            hint="take a number, STRING, BOOLEAN, BINARY, DATE, TIMESTAMP, TIMESTAMP_NTZ, or an ARRAY of one",
        )
    return read, kind


def _value(name: str, value: Any, read: Read, kind: str, told: Told | None) -> Any:
    if value is None:
        return None
    if is_unavailable(value):
        raise UnusableError(f"'{name}' was left out, as it had not changed: its table needs REPLICA IDENTITY FULL")
    try:
        return read(value, told)
    except UnfitError as error:
        raise UnusableError(str(error).format(column=name) or f"'{name}' is not {kind}") from None


def _source(event: Json) -> Json:
    source = event.get("source")
    return cast("Json", source) if isinstance(source, dict) else {}


def _place(source: Json, operation: str) -> Json:
    """`CHANGE_COLUMNS`.

    PostgreSQL sends a transaction when it commits, with the positions at which its changes were written: of two that
    were open at once, the one that wrote first may commit last. So the end of the transaction before it comes first.

    What was read for a snapshot counts as older than any change. It has a position of its own, but a transaction that
    was open at that position may have written before it, and the snapshot lacks what it wrote.
    """
    is_snapshot = operation == "r" or source.get("snapshot") not in (None, False, "false")
    match source.get("connector"):
        case "postgresql":
            numbers = [source.get("lsn")] if is_snapshot else [_last_commit(source), source.get("lsn")]
        case connector if connector in _WITH_BINLOG:
            numbers = [_binlog(source.get("file")), source.get("pos"), source.get("row")]
        case _:
            raise UnusableError("its source is neither PostgreSQL nor MySQL or MariaDB")
    numbers = [0, *numbers] if is_snapshot else numbers
    if not all(_is_count(number) for number in numbers):
        raise UnusableError("its source does not say at which position of the log it is")
    time: Any = source.get("ts_ms")
    if not _is_count(time):
        raise UnusableError("its source does not say when it was")
    # Older versions have milliseconds alone.
    micros = source.get("ts_us", time * 1000)
    transaction = source.get("txId", source.get("gtid"))
    return {
        OPERATION: operation,
        SEQUENCE: "-".join(f"{number:020}" for number in numbers),
        TIME: micros if _is_count(micros) else None,
        TRANSACTION: None if transaction is None else str(transaction),
    }


def _last_commit(source: Json) -> Any:
    """Where the transaction before ended; of the first, which has none before it, where it is itself."""
    try:
        found = json.loads(source["sequence"])[0]
        return source.get("lsn") if found is None else int(found)
    except (KeyError, TypeError, ValueError, IndexError):
        return None


def _binlog(name: Any) -> Any:
    found = _BINLOG.fullmatch(name) if isinstance(name, str) else None
    return int(found.group(1)) if found else None


def _is_count(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < _LARGEST
