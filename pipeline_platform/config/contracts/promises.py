"""What a data contract promises of each row, and what of it the platform does not look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.contracts.table import TableContract
from pipeline_platform.config.documents.document import SourcePosition

RuleKind = Literal[
    "notNull", "unique", "minimum", "maximum", "above", "below", "multipleOf", "minLength", "maxLength", "pattern",
    "oneOf", "noneOf", "minItems", "maxItems", "uniqueItems", "maxBytes",
]  # fmt: skip


@dataclass(frozen=True)
class PromisedRule:
    """A condition that each row keeps.

    Args:
        kind: What is asked.
        columns: Each a column, or a field in one by the names that lead to it; several only of `unique`.
        value: What the values are compared with.
        name: For people: the column, and the contract's own name for the rule.
        place: Where the contract says so.
    """

    kind: RuleKind
    columns: tuple[tuple[str, ...], ...]
    value: Any
    name: str
    place: SourcePosition


@dataclass(frozen=True)
class Promises:
    """What a contract promises of each row of a table.

    Args:
        contract: The contract.
        rules: What is checked.
        unchecked: What is not, and why, at its place in the contract.
        system: That of the load.
        problems: What no value can be, at its place in the contract.
    """

    contract: TableContract
    rules: tuple[PromisedRule, ...]
    unchecked: tuple[ConfigError, ...]
    system: str
    problems: tuple[ConfigError, ...] = ()
