"""`configRef`: the config of a step in a file of its own, which may refer to another in turn."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.contracts.odcs import DataContract
from pipeline_platform.config.contracts.reading import ContractErrors, read_contract
from pipeline_platform.config.documents.document import (
    Document,
    DocumentError,
    SourcePosition,
    json_type,
    read_document,
)
from pipeline_platform.config.project_files import is_path, referenced_file, shown_as


@dataclass
class ReferencedConfig:
    """What a reference leads to.

    Args:
        keys: The keys of the config, each where it was written; nearer files come first and win.
        problems: What is wrong with the reference, or with the files it leads to.
        complete: Whether all of them could be read.
    """

    keys: list[SourcePosition] = field(default_factory=list)
    problems: list[ConfigError] = field(default_factory=list)
    complete: bool = True


def follow(reference: SourcePosition, project: Path) -> ReferencedConfig:
    """Read the config that a `configRef` leads to.

    Args:
        reference: The `configRef`; its path is relative to the file it stands in.
        project: The folder that it must not leave, resolved.
    """
    found = ReferencedConfig()
    file = reference.document.path.resolve()
    seen = {file}
    following: SourcePosition | None = reference
    while following is not None:
        try:
            target = _target(following, file.parent, project, seen)
            document = _config(read_document(target, shown_as(target, reference)))
        except DocumentError as error:
            found.problems.append(error.problem)
            found.complete = False
            return found
        seen.add(target)
        file = target
        found.problems.extend(document.problems)
        found.keys.extend(SourcePosition(document, (key,)) for key in document.value if key != "configRef")
        following = SourcePosition(document, ("configRef",)) if "configRef" in document.value else None
    return found


@dataclass
class References:
    """What the references of one file lead to, each read once however often it is asked for.

    Args:
        project: The folder that they must not leave, resolved.
    """

    project: Path
    _followed: dict[SourcePosition, ReferencedConfig] = field(default_factory=dict[SourcePosition, ReferencedConfig])
    _contracts: dict[tuple[SourcePosition, str], tuple[DataContract, SourcePosition] | ContractErrors] = field(
        default_factory=dict[tuple[SourcePosition, str], "tuple[DataContract, SourcePosition] | ContractErrors"]
    )

    def follow(self, reference: SourcePosition) -> ReferencedConfig:
        """As `follow`."""
        if reference not in self._followed:
            self._followed[reference] = follow(reference, self.project)
        return self._followed[reference]

    def contract(self, place: SourcePosition, path: str) -> tuple[DataContract, SourcePosition]:
        """As `read_contract`.

        Raises:
            ContractErrors: As there.
        """
        key = place, path
        if key not in self._contracts:
            try:
                self._contracts[key] = read_contract(place, path, self.project)
            except ContractErrors as error:
                self._contracts[key] = error
        found = self._contracts[key]
        if isinstance(found, ContractErrors):
            raise found
        return found


def _target(place: SourcePosition, folder: Path, project: Path, seen: set[Path]) -> Path:
    if not is_path(place.value):
        raise DocumentError(place.problem("expected 'configRef' to be the path of a JSON file"))
    return referenced_file(place, folder, project, seen)


def _config(document: Document) -> Document:
    if not isinstance(document.value, dict):
        message = f"expected a config object, not {json_type(document.value)}"
        raise DocumentError(SourcePosition(document).problem(message))
    return document
