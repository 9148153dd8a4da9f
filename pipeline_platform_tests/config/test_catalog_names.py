"""Names of tables in a catalog: what is one, and where in the file one is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.config.catalog_names import CatalogName
from pipeline_platform.config.loader import parse_pipeline
from pipeline_platform.connectors.delta.sink import ToDeltaLake
from pipeline_platform.engine.spark.server import SERVER_VARIABLE, Use
from pipeline_platform.engine.spark.sharing import use_for
from pipeline_platform.engine.table_facts import table_facts
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.config.reading import extract, load, messages_of, pipeline, read, read_step


def loading(text: Any, **keys: Any) -> dict[str, Any]:
    return pipeline(extract(), load(path="out", mode="overwrite", catalogTable=text), **keys)


@pytest.mark.parametrize(
    ("text", "parts", "sql"),
    [
        ("sales.orders", (None, "sales", "orders"), "`sales`.`orders`"),
        ("unity.sales.orders", ("unity", "sales", "orders"), "`unity`.`sales`.`orders`"),
        ("`a.b`.2026", (None, "a.b", "2026"), "`a.b`.`2026`"),
        ("c.`s``1`.`t t`", ("c", "s`1", "t t"), "`c`.`s``1`.`t t`"),
    ],
)
def test_a_name_has_two_or_three_parts_which_may_be_within_backticks(
    text: str, parts: tuple[str | None, str, str], sql: str
) -> None:
    name = CatalogName.parse(text)
    assert ((name.catalog, name.schema, name.table), name.sql) == (parts, sql)
    assert CatalogName.parse(str(name)) == name
    assert read_step(load(path="out", catalogTable=text)).catalog_table == text


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("orders", 0, "the name says no schema"),
        ("sales.my-orders", 8, "'-' has to be within backticks"),
        ("sales. orders", 6, "' ' has to be within backticks"),
        ("sales..orders", 6, "a part of the name is missing"),
        ("sales.", 6, "a part of the name is missing"),
        ("a.b.c.d", 6, "at most 3 parts"),
        ("`sales.orders", 0, "the backtick is not closed"),
        ("sales.``", 6, "the backtick is not closed, or holds nothing"),
    ],
)
def test_a_mistake_in_a_name_is_told_where_it_stands(text: str, offset: int, message: str) -> None:
    content = json.dumps(loading(text), indent=1)
    line = next(line for line in content.splitlines() if "catalogTable" in line)
    with pytest.raises(PipelineConfigurationException) as error:
        parse_pipeline(content, method_registry(), Path("orders.json"))
    told = str(error.value.problems[0]).splitlines()
    assert message in told[0]
    assert told[2].index("^") - told[1].index(line.strip()) == line.strip().index(text) + offset


def test_partitions_have_no_tables_of_their_own_in_a_catalog() -> None:
    daily = {"partitions": {"type": "daily", "start": "2026-01-01", "column": "day"}}
    assert "a partition can't be a part of the name" in messages_of(loading("sales.o_${partition:key}", **daily))[0]
    steps = [extract(), load(path="out/${partition:key}", mode="overwrite", catalogTable="sales.orders")]
    assert messages_of(pipeline(*steps, **daily)) == [
        "each partition is a table of its own, and they can't have one name"
    ]
    assert read(loading("sales.orders", **daily)).steps


def test_a_variable_of_the_environment_may_stand_in_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALES", "sales_2026")
    name = read_step(load(path="out", catalogTable="${env:SALES}.orders"))
    assert isinstance(name, ToDeltaLake)
    assert name.catalog_name() == "sales_2026.orders"
    assert "has to be within backticks" in messages_of(loading("${env:SALES}.or-ders"))[0]


def test_what_is_said_of_a_table_is_what_the_pipeline_says() -> None:
    metadata = {"owner": "team:order desk", "team": "sales", "tags": ["shop"]}
    said = read(loading("sales.orders", name="orders", description="Orders.\n", metadata=metadata))
    facts = table_facts(said, said.steps[1])
    assert (facts.pipeline, facts.step, facts.comment) == ("orders", "to_delta_lake", "Orders.")
    assert (facts.owner, facts.tags) == ("order_desk", ("shop",))
    silent = read(loading("sales.orders", description=" "))
    facts = table_facts(silent, silent.steps[1])
    assert (facts.comment, facts.owner, facts.tags, facts.columns) == (None, None, (), {})


def test_a_load_that_registers_its_table_does_not_use_the_spark_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVER_VARIABLE, "running")
    assert use_for(read(loading("sales.orders"))) == Use.NEVER
    assert use_for(read(pipeline(extract(), load(path="out")))) == Use.RUNNING
