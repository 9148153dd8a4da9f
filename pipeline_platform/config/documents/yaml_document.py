"""A YAML file as JSON has it, with the place of every value in it.

Numbers with a point are decimals, as they are written: a float would round them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, cast

import yaml
from yaml.constructor import ConstructorError

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.documents.document import Document, DocumentError
from pipeline_platform.config.documents.json_positions import JsonError, LocatedValue

_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """The safe loader, but that dates stay text, as they are in JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_yaml(text: str, path: Path) -> Document:
    """Read one YAML document whose values JSON has, too.

    Args:
        text: The text.
        path: Named in errors.

    Raises:
        DocumentError: It is not such YAML.
    """
    text = text.removeprefix("\ufeff")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise DocumentError(ConfigError(path, 1, 1, "the file is empty"))
        reader = _Reader(loader)
        root = reader.located(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DocumentError(_problem(text, path, mark.index if mark is not None else 0, str(error.problem))) from error
    except yaml.reader.ReaderError as error:
        message = f"the character #x{int(error.character):04x} is not allowed"
        raise DocumentError(_problem(text, path, int(error.position), message)) from error
    except RecursionError as error:
        raise DocumentError(ConfigError(path, 1, 1, "the YAML is nested too deeply")) from error
    return Document(path, text, root, reader.flaws)


def _problem(text: str, path: Path, at: int, message: str) -> ConfigError:
    line, start = text.count("\n", 0, at) + 1, text.rfind("\n", 0, at) + 1
    source = text[start:].split("\n", 1)[0].removesuffix("\r")
    return ConfigError(path, line, at - start + 1, f"not YAML: {message}", source_line=source)


@dataclass
class _Reader:
    loader: _Loader
    flaws: list[JsonError] = field(default_factory=list[JsonError])
    _known: dict[int, LocatedValue | None] = field(default_factory=dict[int, "LocatedValue | None"])
    """What was made of each node; None while it is made."""

    def located(self, node: yaml.Node) -> LocatedValue:
        """The value of a node; one that several aliases name is made once."""
        if id(node) in self._known:
            known = self._known[id(node)]
            if known is None:
                raise ConstructorError(None, None, "an alias leads back to what it stands in", node.start_mark)
            return known
        self._known[id(node)] = None
        start, end = int(node.start_mark.index), int(node.end_mark.index)
        match node:
            case yaml.MappingNode():
                parts = self._members(node)
                made = LocatedValue({key: part.value for key, part in parts.items()}, start, end, parts)
            case yaml.SequenceNode():
                items = [self.located(item) for item in cast("list[yaml.Node]", node.value)]
                made = LocatedValue([item.value for item in items], start, end, items)
            case _:
                made = LocatedValue(self._scalar(node), start, end, None)
        self._known[id(node)] = made
        return made

    def _members(self, node: yaml.MappingNode) -> dict[str, LocatedValue]:
        own = {id(key) for key, _ in cast("list[tuple[yaml.Node, yaml.Node]]", node.value)}
        self.loader.flatten_mapping(node)
        construct: Callable[..., Any] = cast("Any", self.loader).construct_object
        parts: dict[str, LocatedValue] = {}
        written: dict[str, int] = {}
        for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            name = construct(key, deep=True)
            at = int(key.start_mark.index)
            if not isinstance(name, str):
                self.flaws.append(JsonError(at, f"the key {name!r} is not text; write it in quotes"))
                name = str(name)
            # What a merge brings comes first, and may be written anew.
            if id(key) in own:
                if name in written:
                    self.flaws.append(JsonError(at, f"the key '{name}' appears twice in one object", written[name]))
                written[name] = at
            found = self.located(value)
            parts[name] = LocatedValue(found.value, found.start, found.end, found.parts, at)
        return parts

    def _scalar(self, node: yaml.Node) -> Any:
        try:
            value: Any = cast("Any", self.loader).construct_object(node)
        except (ValueError, KeyError) as error:
            # Such as a number of thousands of digits, or a text that is tagged as a number.
            kind = str(node.tag).rpartition(":")[2]
            raise ConstructorError(None, None, f"the value is no {kind}", node.start_mark) from error
        if isinstance(value, float):
            return _decimal(str(node.value), value)
        if value is None or isinstance(value, (str, bool, int)):
            return value
        raise ConstructorError(None, None, f"a value of the type {node.tag} is none that JSON has", node.start_mark)


def _decimal(written: str, value: float) -> Decimal:
    try:
        return Decimal(written.replace("_", ""))
    except InvalidOperation:
        # YAML has spellings of its own: `.inf`, and `1:30.5` to the base of sixty.
        return Decimal(str(value))
