"""What the platform uses of other packages that these may change without a word: all of it stands here."""

from __future__ import annotations

import ast
import inspect
import re
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
from pyspark import SparkContext
from pyspark.sql import SparkSession
from pyspark.sql.classic.dataframe import DataFrame
from pyspark.sql.connect.client import SparkConnectClient
from pyspark.sql.streaming.query import StreamingQuery

import pipeline_platform

PACKAGE = Path(pipeline_platform.__file__).parent


def mentions(where: Callable[..., object] | type, name: str) -> bool:
    """Whether the source of something uses a name, as that of an attribute which it sets."""
    return f".{name}" in inspect.getsource(where)


MODULES = {
    "dagster._core.definitions.target": "ExecutableDefinition",
    "dagster._core.definitions.unresolved_asset_job_definition": "UnresolvedAssetJobDefinition",
    "dagster._core.definitions.utils": "check_valid_name",
    "dagster._utils.schedules": "reverse_cron_string_iterator",
    "dagster._core.events": "EngineEventData",
    "dagster._core.storage.db_io_manager": "DbTypeHandler",
    "dagster_delta._db_io_manager": "CustomDbIOManager",
    "pydantic._internal._docs_extraction": "extract_docstrings_from_cls",
}
UNDOCUMENTED = {"json.decoder": ("JSONArray", "JSONObject")}
ATTRIBUTES: dict[str, bool] = {
    "_active_spark_context": hasattr(SparkContext, "_active_spark_context"),
    "_gateway": hasattr(SparkContext, "_gateway"),
    "_jsc": mentions(SparkContext, "_jsc"),
    "_jvm": hasattr(SparkContext, "_jvm") and mentions(SparkSession, "_jvm"),
    "_instantiatedSession": hasattr(SparkSession, "_instantiatedSession"),
    "_activeSession": mentions(SparkSession, "_activeSession") or hasattr(SparkSession, "_activeSession"),
    "_jsparkSession": mentions(SparkSession, "_jsparkSession"),
    "_jdf": mentions(DataFrame, "_jdf"),
    "_jsq": mentions(StreamingQuery, "_jsq"),
    "_fetch_enriched_error": hasattr(SparkConnectClient, "_fetch_enriched_error"),
    "_channel": mentions(SparkConnectClient, "_channel"),
    "_register_atexit": hasattr(threading, "_register_atexit"),
}


def used() -> Iterator[tuple[str, str]]:
    """Each private module that is imported, and each private attribute of something that is not our own."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        own |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_self(node.value)}
        declared = [node.target for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)]
        own |= {target.id for target in declared if isinstance(target, ast.Name)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and re.search(r"\._[a-z]", node.module or ""):
                yield "module", str(node.module)
            if isinstance(node, ast.Attribute) and re.match(r"_[a-zA-Z]", node.attr) and node.attr not in own:
                yield "attribute", node.attr


def is_self(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def test_all_that_is_used_is_listed() -> None:
    assert {name for kind, name in used() if kind == "module"} == {*MODULES}
    assert {name for kind, name in used() if kind == "attribute"} <= {*ATTRIBUTES}


@pytest.mark.parametrize(("module", "name"), MODULES.items())
def test_a_private_module_is_where_it_was(module: str, name: str) -> None:
    assert hasattr(import_module(module), name)


@pytest.mark.parametrize(("module", "names"), UNDOCUMENTED.items())
def test_what_a_public_module_has_without_saying_so_is_there(module: str, names: tuple[str, ...]) -> None:
    assert [name for name in names if not hasattr(import_module(module), name)] == []


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_private_attribute_is_there(name: str) -> None:
    assert ATTRIBUTES[name], name
