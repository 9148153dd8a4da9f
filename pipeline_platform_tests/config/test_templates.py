"""`template`: steps in a file of their own, with values where they are used, and what is said of mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.config.loader import load_pipeline, load_pipelines
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.exceptions import PipelineConfigurationException
from pipeline_platform.orchestration.asset_view import AssetView
from pipeline_platform.orchestration.project import load_project, side_by_side
from pipeline_platform.orchestration.specs import asset_specs, code_versions
from pipeline_platform.registry import method_registry
from pipeline_platform_tests.config.reading import Json, extract, load, pipeline, transform

MIRROR: Json = {
    "description": "A copy of a table.",
    "variables": {"table": {}, "folder": {"default": "lake"}, "parts": {"type": "integer", "default": 1}},
    "steps": [
        extract(path="in/${var:table}", format="csv"),
        transform("repartition", numPartitions="${var:parts}"),
        {**load(path="${var:folder}/${var:table}"), "name": "load_${var:table}"},
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "templates").mkdir()
    return tmp_path / "pipelines"


def use(file: Any = "../templates/mirror.json", **values: Any) -> Json:
    return {"template": file, "with": values}


def write(folder: Path, name: str, value: Any) -> Path:
    (folder / name).write_text(value if isinstance(value, str) else json.dumps(value, indent=2))
    return folder / name


def read(folder: Path, *steps: Json, template: Any = MIRROR, **keys: Any) -> PipelineConfig:
    write(folder, "../templates/mirror.json", template)
    return load_pipeline(write(folder, "orders.json", pipeline(*steps, **keys)), method_registry())


def refused(folder: Path, *steps: Any, template: Any = MIRROR, **keys: Any) -> list[str]:
    """What is wrong, as file, line, and message."""
    with pytest.raises(PipelineConfigurationException) as found:
        read(folder, *steps, template=template, **keys)
    return [
        f"{problem.file.name}:{problem.line} {problem.message}".replace(f"{folder}/", "")
        + (f" ({problem.hint})" if problem.hint else "")
        for problem in found.value.problems
    ]


def configs(found: PipelineConfig) -> list[Json]:
    return [step.config.as_config() for step in found.steps]


def test_the_steps_of_a_template_stand_in_its_place_with_the_values_and_the_defaults(folder: Path):
    first, more = extract("fromRate", rowsPerSecond=1, registerAs="rates"), transform("coalesce", numPartitions=1)
    found = read(folder, first, use(table="orders", parts=3), more, load())
    assert configs(found)[1:4] == [
        {"path": "in/orders", "format": "csv"},
        {"numPartitions": 3},
        {"path": "lake/orders"},
    ]
    assert [step.config.method for step in found.steps[4:]] == ["coalesce", "toDeltaLake"]
    assert found.steps[3].name == "load_orders"
    template = folder / "../templates/mirror.json"
    assert [step.location.file and step.location.file.resolve() for step in found.steps[2:5]] == [
        template.resolve(),
        template.resolve(),
        folder / "orders.json",
    ]
    assert [step.location.line for step in found.steps[1:4]] == [14, 22, 29]
    assert [path.resolve() for path in found.sources] == [template.resolve()]


def test_a_template_is_used_several_times_and_by_another_template(folder: Path):
    both = {"variables": {"one": {}}, "steps": [use("mirror.json", table="${var:one}"), use("mirror.json", table="b")]}
    write(folder, "../templates/both.json", both)
    found = read(folder, use("../templates/both.json", one="a"))
    assert [config["path"] for config in configs(found) if "path" in config] == ["in/a", "lake/a", "in/b", "lake/b"]


def test_for_each_and_a_run_give_values_to_a_template(folder: Path):
    write(folder, "../templates/mirror.json", MIRROR)
    keys: Json = {"name": "m_${var:t}", "variables": {"t": {}, "to": {}}, "forEach": [{"t": "a"}, {"t": "b"}]}
    file = write(folder, "all.json", pipeline(use(table="${var:t}", folder="${var:to}"), **keys))
    assert [configs(found)[2]["path"] for found in load_pipelines(file, method_registry(), values={"to": "x"})] == [
        "x/a",
        "x/b",
    ]
    assert configs(load_pipelines(file, method_registry())[0])[2]["path"] == "${var:to}/a"


def test_a_value_that_only_a_run_gives_has_the_type_that_it_has_there(folder: Path):
    template = {"variables": {"day": {"type": "date"}}, "steps": [extract(path="in/${var:day}", format="csv")]}
    open_one = {"variables": {"since": {"type": "date"}}}
    assert configs(read(folder, use(day="${var:since}"), template=template, **open_one))[0]["path"] == "in/${var:since}"
    values = {"since": "2024-01-31"}
    given = load_pipeline(folder / "orders.json", method_registry(), values=values)
    assert configs(given)[0]["path"] == "in/2024-01-31"
    text = {"variables": {"since": {"default": "yesterday"}}}
    [wrong] = refused(folder, use(day="${var:since}"), template=template, **text)
    assert wrong.startswith("orders.json:13 the value of the variable 'day': expected a date")


def test_what_is_wrong_with_the_values_is_told_where_they_stand(folder: Path):
    wrong = use(tabel="orders", parts="many", folder="${var:nothing}")
    assert refused(folder, wrong, {**use(table="x"), "type": "load"}) == [
        "orders.json:7 the template '../templates/mirror.json' needs a value for the variable table"
        ' (give it, as in "with": {"table": …})',
        "orders.json:8 there is no variable 'tabel' (did you mean 'table'?)",
        "orders.json:9 the value of the variable 'parts': expected an integer, not 'many'",
        "orders.json:10 there is no variable 'nothing' (declare it under 'variables')",
        "orders.json:18 unknown key 'type' (an entry with 'template' has template and with alone)",
    ]
    assert refused(folder, {"template": "../templates/mirror.json", "with": []})[0].startswith(
        "orders.json:7 expected an object with values of variables, not a list"
    )


def test_a_mistake_in_a_template_is_told_at_its_line_with_all_that_use_it(folder: Path):
    template = {
        **MIRROR,
        "steps": [extract(path="in/${var:tabel}", fromat="csv"), load(path="x", mode="${var:folder}")],
    }
    wrong = refused(folder, use(table="a"), use(table="b", folder="append"), template=template)
    assert wrong == [
        "mirror.json:17 the key 'format' is missing, in the template of orders.json:5 and 11",
        "mirror.json:18 there is no variable 'tabel', in the template of orders.json:5 and 11 (did you mean 'table'?)",
        "mirror.json:19 unknown key 'fromat', in the template of orders.json:5 and 11 (did you mean 'format'?)",
        wrong[3],
    ]
    assert wrong[3].startswith("mirror.json:27 expected 'append'")
    assert wrong[3].endswith("in the template of orders.json:5")
    between = refused(
        folder, use(table="a"), template={**MIRROR, "steps": [transform("coalesce", input="x", numPartitions=1)]}
    )
    assert between == [
        "mirror.json:15 the first step has to be an extract, in the template of orders.json:5",
        "mirror.json:18 there is no registered frame 'x' before this step, in the template of orders.json:5"
        " (no frame is registered so far)",
    ]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("[]", "mirror.json:1 expected an object with 'variables' and 'steps', not a list"),
        ("{", "mirror.json:1 not JSON: expecting property name enclosed in double quotes"),
        (
            '{"stesp": []}',
            "mirror.json:1 unknown key 'stesp', in the template of orders.json:5 (did you mean 'steps'?)",
        ),
        ('{"steps": []}', "mirror.json:1 expected 'steps', a list of at least one step"),
        ('{"variables": {"a": {"type": "int"}}, "steps": []}', "mirror.json:1 expected 'string', "),
        ('{"steps": [{"template": "mirror.json"}]}', "mirror.json:1 'mirror.json' is a circular reference"),
    ],
)
def test_a_file_that_is_no_template_is_told_with_what_uses_it(folder: Path, template: str, message: str):
    [wrong] = refused(folder, use(), template=template)
    assert wrong.startswith(message)
    assert "in the template of orders.json:5" in wrong


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("../templates/mirrors.json", "the referenced file '../templates/mirrors.json' does not exist"),
        ("../../x.json", "'../../x.json' is outside the project folder"),
        ("orders.json", "'orders.json' is a circular reference"),
        ("other.json", "beside the pipelines a template would be taken for one of them"),
        (3, "expected the path of a template, not a number"),
    ],
)
def test_a_template_that_can_not_be_used_is_told_where_it_is_named(folder: Path, file: Any, message: str):
    write(folder, "other.json", MIRROR)
    [wrong] = refused(folder, use(file), load(path="x", input="anything"))
    assert wrong.startswith(f"orders.json:6 {message}")


def test_a_placeholder_that_a_template_is_given_is_checked_where_it_is_given(folder: Path):
    [wrong] = refused(folder, use(table="a", folder="lake/${partition:key}"))
    assert wrong.startswith("orders.json:9 '${partition:key}' stands here, and the pipeline has no partitions")


def test_the_code_version_is_another_with_another_template_and_the_asset_names_it(folder: Path):
    before = read(folder, use(table="a"))
    after = read(
        folder, use(table="a"), template={**MIRROR, "variables": {**MIRROR["variables"], "folder": {"default": "x"}}}
    )
    assert code_versions(before)[1] == code_versions(after)[1]
    assert code_versions(before)[2] != code_versions(after)[2]
    project = load_project(folder, method_registry())
    specs = asset_specs(AssetView(project), project.pipelines[0])
    assert {spec.metadata["template"] for spec in specs} == {str((folder / "../templates/mirror.json").resolve())}


def test_pipelines_that_can_not_stand_side_by_side_are_told_at_the_step_of_the_template(folder: Path):
    cycle = {
        "variables": {"a": {}, "b": {}},
        "steps": [extract("fromDeltaLake", path="${var:a}"), load(path="${var:b}")],
    }
    first = read(folder, use(a="a", b="b"), template=cycle)
    second = load_pipeline(write(folder, "z.json", pipeline(use(a="b", b="a"), name="z")), method_registry())
    [broken] = side_by_side([first, second])[1]
    assert (broken.path.name, broken.problems[0].file.name, broken.problems[0].line) == ("z.json", "mirror.json", 7)
    assert "in the template of" in broken.problems[0].message
    unrelated = use(a="c", b="d")
    own = [extract("fromDeltaLake", path="b"), load(path="a")]
    last = load_pipeline(write(folder, "z.json", pipeline(unrelated, *own, name="z")), method_registry())
    [broken] = side_by_side([first, last])[1]
    assert (broken.problems[0].file.name, broken.problems[0].line) == ("z.json", 12)
