"""`forEach`: many pipelines of one file, one for each item."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_platform.config.config_error import ConfigError
from pipeline_platform.config.documents.csv_document import parse_csv
from pipeline_platform.config.documents.document import DocumentError
from pipeline_platform.config.for_each_item import options_for
from pipeline_platform.config.loader import load_pipeline, load_pipelines, parse_pipeline, parse_pipelines
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.variables import VariableValue
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.config.reading import Json, extract, load, pipeline, read
from pipeline_platform_tests.config.valid_files import FOR_EACH


def mirror(items: Any, *between: Json, **keys: Any) -> Json:
    """A file that copies the table of each item."""
    steps = [extract(path="in/${var:table}", format="csv"), *between, load(path="out/${var:table}")]
    declared = {"name": "mirror_${var:table}", "variables": {"table": {}, "key": {"default": "id"}}}
    return pipeline(*steps, forEach=items, **{**declared, **keys})


def of_all(value: Json, **values: VariableValue) -> list[PipelineConfig]:
    return parse_pipelines(json.dumps(value, indent=2), method_registry(), values=values)


def wrong(value: Json, **values: VariableValue) -> list[ConfigError]:
    with pytest.raises(PipelineConfigurationException) as refused:
        of_all(value, **values)
    return list(refused.value.problems)


def told(problems: list[ConfigError]) -> list[tuple[str, str]]:
    """What each one points at, and says."""
    return [
        (
            (one.source_line or "")[one.column - 1 :].rstrip(","),
            f"{one.message} ({one.hint})" if one.hint else one.message,
        )
        for one in problems
    ]


def in_files(folder: Path, value: Json) -> Path:
    (folder / "pipelines").mkdir()
    path = folder / "pipelines" / "mirror.json"
    path.write_text(json.dumps(value, indent=2))
    return path


def test_each_item_makes_a_pipeline_with_its_values_in_steps_and_keys():
    orders, customers = of_all(FOR_EACH)
    assert [step.config.as_config()["path"] for step in (customers.steps[0], customers.steps[2])] == [
        "in/customers",
        "out/customers",
    ]
    assert customers.steps[1].config.as_config() == {"condition": "name IS NOT NULL"}
    assert (orders.name, customers.name) == ("mirror_orders", "mirror_customers")
    assert (orders.description, orders.cron, customers.cron) == ("orders by id", "5 6 * * *", "20 6 * * *")
    assert (customers.metadata.owners(), customers.metadata.tags) == (["team:name"], ["customers"])
    assert orders.steps[0].location.pipeline == "mirror_orders"


def test_what_items_give_a_value_to_is_fixed_and_what_no_item_names_a_run_may_be_given():
    orders, customers = of_all(FOR_EACH, since="2025")
    assert list(orders.variables) == ["since"]
    assert orders.values == {"table": "orders", "key": "id", "minute": 5, "since": "2025"}
    assert customers.values == {"table": "customers", "key": "name", "minute": 20, "since": "2025"}


@pytest.mark.parametrize("since", ["2024", "2025"])
def test_the_values_of_a_pipeline_find_it_again(since: str):
    for found in of_all(FOR_EACH, since=since):
        again = parse_pipeline(json.dumps(FOR_EACH, indent=2), method_registry(), values=found.values)
        assert again == found


def test_values_that_no_item_or_several_have_say_how_to_choose():
    one, several = ({"table": "none"}, {"key": "id"})
    items = [{"table": f"t{number}"} for number in range(30)]
    for values, message in (
        (one, "no pipeline of the file has table=none; there are mirror_t0, "),
        (several, "the file makes 30 pipelines: mirror_t0, "),
    ):
        with pytest.raises(PipelineConfigurationException) as refused:
            parse_pipeline(json.dumps(mirror(items)), method_registry(), values=values)
        [problem] = refused.value.problems
        assert problem.message.startswith(message)
        assert problem.message.endswith("mirror_t11 and 18 more")
        assert problem.hint == "choose one, as in --var table=t0"


def test_an_item_is_chosen_by_as_few_values_as_tell_it_from_the_others():
    by_both = [{"table": table, "key": key} for table in ("a", "b") for key in ("x", "y")]
    assert [one.command_arguments for one in of_all(mirror(by_both, name="m_${var:key}_${var:table}"))] == [
        f"pipeline.json --var table={item['table']} --var key={item['key']}" for item in by_both
    ]
    assert of_all(mirror([{"table": "a"}]))[0].command_arguments == "pipeline.json"
    assert options_for({"table": "two words", "all": True}) == "--var 'table=two words' --var all=true"


def test_a_file_without_for_each_has_no_item():
    found = read(pipeline(extract(), load()))
    assert (found.item, found.command_arguments) == (None, "pipeline.json")


def test_each_mistake_of_an_item_is_told_at_its_place():
    items: list[Any] = [
        {"table": "a"},
        {"table": "b", "tabel": "c"},
        {"table": "d", "tabel": "e"},
        "f",
        {"table": 4},
        {"table": ["x"]},
        {"table": "${env:HOME}"},
        {"key": "g"},
        {"table": "a", "key": "id"},
        {"table": "public.h"},
        {"table": "i-j"},
        {"table": "i_j"},
    ]
    assert told(wrong(mirror(items))) == [
        ('"tabel": "c"', "there is no variable 'tabel' (did you mean 'table'?)"),
        ('"f"', "expected an object with values of variables, not a string"),
        ("4", "the value of the variable 'table': expected a string, not 4"),
        ("[", "the value of the variable 'table': expected a string, not a list"),
        ('"${env:HOME}"', "the value of the variable 'table': a value must not hold '${'"),
        ("{", "there is no value for the variable 'table', which has no default"),
        ("{", "this item is the same as item 1"),
        (
            "{",
            "'mirror_public.h' can't be the name of a pipeline: it has letters, digits, '_' and '-' (let another "
            "variable stand in the name)",
        ),
        ("{", "the name 'mirror_i_j' is that of item 11, too, 'mirror_i-j' (let each item have a name of its own)"),
    ]


def test_what_is_no_list_of_items_is_told():
    assert [one for _, one in told(wrong(mirror([])))] == ["expected at least one item"]
    message = "expected 'forEach' to be a list of objects, the path of a CSV or JSON file, or a query, not "
    assert told(wrong(mirror(3))) == [("3", f"{message}a number")]
    assert [one for _, one in told(wrong(mirror({})))] == ["the key 'items' is missing", "the key 'method' is missing"]
    assert told(wrong(mirror("tables.txt"))) == [
        ('"tables.txt"', "expected a file named *.csv or *.json, not 'tables.txt'")
    ]


def test_names_that_do_not_depend_on_the_item_or_depend_on_the_run_are_told_once():
    items = [{"table": "a"}, {"table": "b"}]
    assert told(wrong(mirror(items, name="mirror"))) == [
        (
            '"mirror"',
            "every item would make a pipeline called 'mirror' (let it hold a variable, as in mirror_${var:table})",
        )
    ]
    assert [one for _, one in told(wrong(mirror(items, name="m_${var:key}_${var:tabel}")))] == [
        "'key' is no variable that the items of 'forEach' give a value to (valid: table)",
        "'tabel' is no variable that the items of 'forEach' give a value to (did you mean 'table'?)",
    ]
    assert [one for _, one in told(wrong(mirror(items, name="m ${var:table}")))] == ["must match ^[A-Za-z0-9_-]+$"]


def test_a_mistake_that_all_items_share_is_told_once():
    wrong_step = {"type": "transform", "method": "filterRow", "config": {"condition": "${var:key} >"}}
    problems = wrong(mirror([{"table": f"t{number}"} for number in range(50)], wrong_step, retry={"maxAttempts": 0}))
    assert [one.message for one in problems] == ["must be greater than 0", "unknown method 'filterRow'"]


def test_a_mistake_of_some_items_is_told_with_the_first_of_them():
    items = [{"table": "a"}, {"table": "b", "key": "b ("}, {"table": "c", "key": "c ("}]
    filtered = {"type": "transform", "method": "filterRows", "config": {"condition": "${var:key} IS NULL"}}
    [problem] = wrong(mirror(items, filtered))
    assert "SQL syntax" in problem.message
    assert problem.message.endswith(", in 'mirror_b' and 1 more")


def test_the_steps_are_read_even_if_no_item_is_right():
    steps = {"type": "transform", "method": "filterRow"}, load("toFiles", path="out", format="${var:table}")
    value = mirror("none.csv", *steps, name="m_${var:table}")
    assert [one.message.partition(" '")[0] for one in wrong(value)] == ["the referenced file", "unknown method"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tables.csv", 'table,key,rows\norders,,5\n\n"customers",name,20\n'),
        ("tables.CSV", "\ufefftable,key,rows\r\norders,,5\r\ncustomers,name,20"),
        ("tables.json", '[{"table": "orders", "rows": 5}, {"table": "customers", "key": "name", "rows": 20}]'),
    ],
)
def test_items_may_be_in_a_file_beside_the_pipeline(name: str, text: str, tmp_path: Path):
    path = in_files(
        tmp_path, mirror(name, variables={"table": {}, "key": {"default": "id"}, "rows": {"type": "integer"}})
    )
    (path.parent / name).write_text(text)
    orders, customers = load_pipelines(path, method_registry())
    assert orders.values == {"table": "orders", "key": "id", "rows": 5}
    assert customers.values == {"table": "customers", "key": "name", "rows": 20}
    assert load_pipeline(path, method_registry(), values={"rows": 20}).name == "mirror_customers"
    assert customers.item is not None
    assert customers.item.source == path.parent / name


def test_mistakes_in_a_csv_file_are_told_at_their_cells(tmp_path: Path):
    path = in_files(tmp_path, mirror("tables.csv", variables={"table": {}, "rows": {"type": "integer"}}))
    (path.parent / "tables.csv").write_text("table,rows,tabel\na,1,\nb,many,c\nd\na,1,\ne,2,x\n")
    with pytest.raises(PipelineConfigurationException) as refused:
        load_pipelines(path, method_registry())
    assert [(one.file.name, one.line, one.column, one.message) for one in refused.value.problems] == [
        ("tables.csv", 1, 12, "there is no variable 'tabel'"),
        ("tables.csv", 3, 3, "the value of the variable 'rows': expected an integer, not 'many'"),
        ("tables.csv", 4, 1, "expected 3 cells, as in the first line, not 1"),
        ("tables.csv", 4, 1, "there is no value for the variable 'rows', which has no default"),
        ("tables.csv", 5, 1, "this item is the same as item 1"),
    ]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("../../tables.csv", "is outside the project folder"),
        ("none.csv", "the referenced file 'none.csv' does not exist"),
        ("mirror.json", "expected a list of objects for 'forEach', not an object"),
        ("a\0.csv", "expected 'forEach' to be a list of objects"),
    ],
)
def test_a_file_that_can_t_be_taken_is_told(reference: str, message: str, tmp_path: Path):
    (tmp_path / "project").mkdir()
    (tmp_path / "tables.csv").write_text("table\na\n")
    path = in_files(tmp_path / "project", mirror(reference))
    with pytest.raises(PipelineConfigurationException, match=message):
        load_pipelines(path, method_registry())


def test_a_list_of_items_that_is_taken_for_a_pipeline_says_where_it_belongs(tmp_path: Path):
    path = tmp_path / "tables.json"
    path.write_text('[{"table": "a"}]')
    with pytest.raises(PipelineConfigurationException, match=r"belongs into another folder, such as \.\./shared"):
        load_pipeline(path, method_registry())


cells = st.text(alphabet='a,"\n é', max_size=5)


@settings(deadline=None, database=None, max_examples=300)
@given(st.lists(st.lists(cells, min_size=2, max_size=2), min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_csv_is_read_as_python_s_own_reader_reads_it(rows: list[list[str]], end: str):
    written = io.StringIO()
    csv.writer(written, lineterminator=end).writerows([["one", "two"], *rows])
    document = parse_csv(written.getvalue(), Path("tables.csv"))
    _, *expected = csv.reader(io.StringIO(written.getvalue(), newline=""))
    assert document.value == [
        {name: cell for name, cell in zip(("one", "two"), row, strict=True) if cell} for row in expected
    ]
    for index, row in enumerate(document.value):
        for name, cell in row.items():
            line, column = document.position((index, name))
            rest = "".join(document.text.splitlines(keepends=True)[line - 1 :])[column - 1 :]
            assert '"' in cell or rest.removeprefix('"').startswith(cell)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "the file is empty"), ("\n\n", "the file is empty"), ('a\n"b', "2:1: not CSV"), ('a\nb"c\n', "2:1: not CSV")],
)
def test_what_is_no_csv_is_told(text: str, message: str):
    with pytest.raises(DocumentError, match=message):
        parse_csv(text, Path("tables.csv"))


def test_the_default_of_a_variable_may_be_given_back_to_it():
    value = pipeline(extract(), load(path="${var:to}"), variables={"to": {"default": "${env:HOME}/out"}})
    again = parse_pipeline(json.dumps(value), method_registry(), values=read(value).values)
    assert again.values == {"to": "${env:HOME}/out"}
