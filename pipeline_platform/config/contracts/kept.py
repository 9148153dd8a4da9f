"""The data contract of a load, as far as the files show whether it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.config_reference import References
from pipeline_platform.config.contracts.promises import Promises
from pipeline_platform.config.contracts.reading import ContractErrors, table_contract
from pipeline_platform.config.contracts.rules import partition_columns, promises
from pipeline_platform.config.contracts.table import KeptContract, TableContract
from pipeline_platform.config.documents.document import SourcePosition
from pipeline_platform.config.step import Input, Step


@dataclass(frozen=True)
class ReadContract:
    """What came of reading the contract of a load.

    Args:
        promised: What it promises; None if there are problems.
        problems: What is wrong with it, or with the load.
        warnings: What of it is not checked.
    """

    promised: Promises | None
    problems: Sequence[ConfigError] = ()
    warnings: Sequence[ConfigError] = ()


def read_kept_contract(kept: KeptContract, keys: Mapping[str, SourcePosition], references: References) -> ReadContract:
    """Read the contract of a load, and compare it with the load's config.

    Args:
        kept: The contract, and what of the load it is compared with.
        keys: Where each key of the load was written.
        references: What reads each file once.
    """
    place = keys["contract"]
    at = place if isinstance(place.value, str) else place / "file"
    try:
        contract, root = references.contract(at, kept.reference.file)
        wanted = kept.reference.schema_
        named_at = place / "schema" if wanted is not None else place
        table = table_contract(contract, root, wanted, kept.names, named_at)
    except ContractErrors as error:
        return ReadContract(None, error.problems)
    problems, warnings = _partitions(table, kept, keys)
    promised = promises(table, kept.system)
    return ReadContract(promised, [*problems, *promised.problems], [*warnings, *promised.unchecked])


def contract_steps(steps: Sequence[Step], promised: Mapping[int, Promises]) -> tuple[Step, ...]:
    """The validations of contracts, each of them right before its load when the pipeline runs.

    Args:
        steps: The steps of the file, connected.
        promised: What the contracts of loads promise, by the index of the load.
    """
    taken = {step.name for step in steps}
    found: list[Step] = []
    for load in steps:
        if load.index not in promised:
            continue
        name, number = f"{load.name}_contract", 1
        while name in taken:
            number += 1
            name = f"{load.name}_contract_{number}"
        taken.add(name)
        config = load.config.contract_rules(promised[load.index])
        inputs = tuple(Input(edge.step, edge.name) for edge in load.inputs)
        found.append(Step(len(steps) + len(found), name, config, inputs, load.location, guards=load.index))
    return tuple(found)


def _partitions(
    table: TableContract, kept: KeptContract, keys: Mapping[str, SourcePosition]
) -> tuple[list[ConfigError], list[ConfigError]]:
    """Errors and warnings about the columns by which the table is divided."""
    wanted = partition_columns(table.table.properties)
    given = list(kept.partition_by)
    if not wanted or [name.lower() for name in wanted] == [name.lower() for name in given]:
        return [], []
    number = next(index for index, one in enumerate(table.table.properties) if one.partitioned)
    there = table.place / "properties" / number / "partitioned"
    if not given:
        return [], [there.problem("'partitioned' is not checked: the load has no 'partitionBy'")]
    where = f"{table.file}:{table.line(there)}"
    message = f"the contract {where} promises a table that is partitioned by {', '.join(wanted)}"
    return [keys["partitionBy"].problem(message, hint="partition by these columns, or change the contract")], []
