"""Valid pipelines with a few things changed, as people and programs get them wrong; the same ones for the same seed."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline_platform.config.dagster_names import RESERVED_NAMES

_ODD_STRINGS = (
    "",
    " ",
    ".",
    "-",
    "_",
    "a b",
    "a/b",
    "ü",
    "ß",
    "ss",
    "日本",
    "😀",
    "\u202e",
    "a\nb",
    "a\tb",
    'a"b',
    "a'b",
    "a`b",
    "a\\b",
    "%",
    "%2f",
    "#",
    "?",
    "*",
    "$",
    "{}",
    "{{ x }}",
    "${env:NOWHERE}",
    "${env:NOWHERE:-x}",
    "${env:",
    "true",
    "null",
    "0",
    "-1",
    "1e999",
    "9" * 40,
    "x" * 300,
    "s3a://bucket/[x]",
    "s3a:///",
    "file:///tmp/x y",
    "hdfs://nowhere:1/x",
    "a = ",
    "(" * 50,
    "a:b::int",
    "count(*)",
    "SELECT 1",
    "a; b",
    "1 minute",
    "availableNow",
    "team:",
    "team:ä",
    "x@y.technology",
    "x@y.z",
    "dagster/kind/x",
    "@reboot",
    "@daily",
    "0 0 31 2 *",
    "*/5 * * * *",
    "Europe/Berlin",
    "Europe",
    "../x",
)
_ODD_NAMES = (
    *sorted(RESERVED_NAMES),
    "__ASSET_JOB",
    "__ASSET_JOB_1",
    "__repository__",
    "default",
    "streams",
    "sources",
    "broken",
    "files",
    "delta",
    "run_a",
    "a",
    "a-b",
    "a_b",
    "A",
    "-",
    "_",
    "x" * 300,
)
_ODD_NUMBERS = (
    0,
    -1,
    1,
    2**31 - 1,
    2**31,
    -(2**31) - 1,
    2**53 + 1,
    2**63 - 1,
    2**63,
    10**38,
    10**400,
    0.5,
    -0.0,
    1e-300,
    1.7e308,
    1e300,
)
_ODD_VALUES: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"": ""}, {"a": {"b": []}})
TABLES = tuple(f"lake/table{index}" for index in range(6))
"""Tables that many of the pipelines read and write, so that there are cycles between them."""


def mutated_texts(files: Sequence[Any], count: int, seed: str) -> Iterator[str]:
    """JSON texts, each a file of these with one to four things changed.

    Args:
        files: Valid pipelines.
        count: How many texts.
        seed: The same texts come of the same seed.
    """
    for index in range(count):
        # Each text has a generator of its own, so that one can be made again alone.
        chance = random.Random(f"{seed}/{index}")
        file = copy.deepcopy(chance.choice(files))
        if chance.random() < 0.8:
            file["name"] = f"flow_{index}"
        for _ in range(chance.randint(1, 4)):
            _mutate(file, chance)
        text = json.dumps(file, indent=chance.choice((None, 1, 2)), ensure_ascii=chance.random() < 0.5)
        if chance.random() < 0.1:
            at = chance.randrange(len(text))
            text = text[:at] + chance.choice(("", ",", '"', "}", "\0", "ü", "1e999", "\\u0000")) + text[at + 1 :]
        yield text


def example_files(folder: Path) -> list[Any]:
    """The pipelines of a folder, as values."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def _ways(value: Any, way: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for part, item in items for found in ((*way, part), *_ways(item, (*way, part)))]


def _at(file: Any, way: Sequence[str | int]) -> Any:
    for part in way:
        file = file[part]
    return file


def _mutate(file: dict[str, Any], chance: random.Random) -> None:
    kind = chance.choice((*["value"] * 3, "string", "remove", "key", "swap", "repeat", "top", *["table"] * 2))
    if kind == "top":
        _mutate_keys(file, chance)
        return
    if kind == "table":
        _move(file, chance)
        return
    ways = _ways(file)
    if not ways:
        return
    *way, last = chance.choice(ways)
    holder = _at(file, way)
    match kind:
        case "value":
            holder[last] = _like(holder[last], chance)
        case "string":
            holder[last] = chance.choice(_ODD_STRINGS)
        case "remove":
            del holder[last]
        case "key" if isinstance(holder, dict):
            holder[chance.choice((*_ODD_STRINGS, "input", "registerAs", "cache", "path", "config"))] = holder.pop(last)
        case "swap":
            holder[last] = copy.deepcopy(_at(file, chance.choice(ways)))
        case "repeat" if isinstance(holder, list) and isinstance(last, int):
            holder.insert(chance.randint(0, len(holder)), copy.deepcopy(holder[last]))
        case _:
            pass


def _like(value: Any, chance: random.Random) -> Any:
    """Another value, more often than not of the same type."""
    if chance.random() < 0.3:
        return chance.choice(_ODD_VALUES)
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return chance.choice(_ODD_NUMBERS)
    if isinstance(value, str):
        at = chance.randint(0, len(value))
        return value[:at] + chance.choice(_ODD_STRINGS) + value[at + chance.randint(0, 2) :]
    if isinstance(value, list):
        return [*value, *value[:1]] if chance.random() < 0.5 else list(reversed(value))
    return value


def _mutate_keys(file: dict[str, Any], chance: random.Random) -> None:
    key = chance.choice(("name", "name", "mode", "owner", "team", "tags", "schedule", "scheduleTimezone"))
    odd = chance.choice(_ODD_STRINGS)
    if key == "name":
        file["name"] = chance.choice(_ODD_NAMES)
    elif key == "mode":
        file["mode"] = "streaming" if file.get("mode") == "batch" else "batch"
    elif key in ("owner", "team", "tags"):
        metadata = file.setdefault("metadata", {})
        if isinstance(metadata, dict):
            metadata[key] = [odd, chance.choice(_ODD_STRINGS)] if key == "tags" else odd
    else:
        file[key] = odd


def _move(file: dict[str, Any], chance: random.Random) -> None:
    """Let a step read or write a table that others read and write too."""
    steps = file.get("steps")
    found = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    ends = [step for step in found if step.get("type") in ("extract", "load")]
    if not ends:
        return
    step = chance.choice(ends)
    config = {"path": chance.choice(TABLES)}
    if step["type"] == "extract":
        name = step["config"].get("registerAs") if isinstance(step.get("config"), dict) else None
        config |= {"registerAs": name} if name is not None else {}
        step.update(method="fromDeltaLake", config=config)
    else:
        step.update(method="toDeltaLake", config=config)
