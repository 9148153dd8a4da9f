"""What stands beside a component in its `dg` project: the components of its kind that come before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
from dagster.components import Component, ComponentLoadContext
from dagster.components.core.decl import ComponentDecl
from dagster.components.core.defs_module import ComponentPath, find_defs_or_component_yaml

Kind = TypeVar("Kind", bound=Component)


@dataclass(frozen=True)
class Beside:
    """The keys and names that components before have, with the file of the component that has each.

    Args:
        keys: Of assets.
        names: Of jobs and ops.
    """

    keys: Mapping[dg.AssetKey, Path] = field(default_factory=dict[dg.AssetKey, Path])
    names: Mapping[str, Path] = field(default_factory=dict[str, Path])


def file_of(place: Path) -> Path:
    """The file that a component is defined in.

    Args:
        place: The folder of a `defs.yaml`, or a file.
    """
    return find_defs_or_component_yaml(place) or place


def components_before(context: ComponentLoadContext, kind: type[Kind]) -> list[tuple[ComponentPath, Kind]] | None:
    """The components of a kind that Dagster builds before this one, as the project is one code location.

    Args:
        context: Of this component.
        kind: Their class.

    Returns:
        Where they are, and the components; None if this one is in no project, such as one that another component makes.
    """
    found: list[tuple[ComponentPath, Kind]] = []
    given: Any = context
    own = given.component_decl
    if not isinstance(own, ComponentDecl):
        return None
    root: Any = context.component_tree.find_root_decl()
    for loc, decl in root.iterate_loc_component_decl_pairs():
        if loc == own.loc:
            return found
        if not isinstance(loc, ComponentPath) or not _is_kind(decl, kind):
            continue
        try:
            component = context.component_tree.load_component(loc)
        # Dagster tells what is wrong with it, in its place.
        except Exception:  # noqa: BLE001
            continue
        if isinstance(component, kind):
            found.append((loc, component))
    return None


def _is_kind(decl: Any, kind: type[Component]) -> bool:
    try:
        return issubclass(decl.component_type, kind)
    except Exception:  # noqa: BLE001
        return False


def taken_by(context: ComponentLoadContext, components: Iterable[ComponentPath]) -> Beside:
    """What components have; Dagster keeps what it has built of them, and builds nothing twice.

    Args:
        context: Of the component that comes after them.
        components: Where they are.
    """
    keys: dict[dg.AssetKey, Path] = {}
    names: dict[str, Path] = {}
    for loc in components:
        file = file_of(loc.file_path)
        try:
            definitions = context.build_defs(loc)
        # As above.
        except Exception:  # noqa: BLE001
            continue
        for key in _keys(definitions):
            keys.setdefault(key, file)
        for name in _names(definitions):
            names.setdefault(name, file)
    return Beside(keys, names)


def _keys(definitions: dg.Definitions) -> Iterator[dg.AssetKey]:
    for asset in definitions.assets or ():
        if isinstance(asset, dg.AssetSpec):
            yield asset.key
        elif isinstance(asset, dg.AssetsDefinition):
            yield from asset.keys


def _names(definitions: dg.Definitions) -> Iterator[str]:
    for definition in [*(definitions.assets or ()), *(definitions.asset_checks or ())]:
        if isinstance(definition, dg.AssetsDefinition):
            yield definition.op.name
    for job in definitions.jobs or ():
        yield job.name
        if isinstance(job, dg.JobDefinition):
            yield from (node.name for node in job.nodes)
