"""The values that a data contract compares those of a column with."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from pipeline_platform.config.documents.document import json_type

ValueKind = Literal["text", "number", "flag", "date", "timestamp"]


class WrongValue(Exception):
    """A value that none of a column equals, as it is written.

    Args:
        message: What was expected.
        hint: What to write instead.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def value_of(kind: ValueKind, written: Any) -> Any:
    """A value of a contract as what the values of a column are.

    Args:
        kind: What those are.
        written: As the contract has it.

    Returns:
        A `str`, `Decimal`, `bool`, `date` or `datetime`.

    Raises:
        WrongValue: It is something else.
    """
    found = f"'{written}'" if isinstance(written, str) else json_type(written)
    match kind:
        case "text":
            if isinstance(written, str):
                return written
            is_scalar = not isinstance(written, (dict, list))
            raise WrongValue(f"expected a string, not {found}", "write it in quotes" if is_scalar else None)
        case "number":
            number = _decimal(written)
            if number is None:
                raise WrongValue(f"expected a number, not {found}")
            return number
        case "flag":
            if isinstance(written, bool):
                return written
            if isinstance(written, str) and written.lower() in ("true", "false"):
                return written.lower() == "true"
            raise WrongValue(f"expected true or false, not {found}")
        case "date" | "timestamp":
            try:
                if isinstance(written, str):
                    return date.fromisoformat(written) if kind == "date" else datetime.fromisoformat(written)
            except ValueError:
                pass
            raise WrongValue(f"expected a {kind} as ISO 8601 writes it, not {found}")


def _decimal(written: Any) -> Decimal | None:
    if isinstance(written, bool) or not isinstance(written, (int, str, Decimal)):
        return None
    try:
        number = Decimal(written)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise PydanticCustomError("number", "expected a number")
    return value


Number = Annotated[Any, BeforeValidator(_number), WithJsonSchema({"type": "number"})]
"""A number, as it is written: without being rounded, and never a text of one."""
