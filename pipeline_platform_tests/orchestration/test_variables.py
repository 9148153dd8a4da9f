"""Variables of a pipeline in Dagster's launchpad, and on its runs."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from deltalake import DeltaTable

from pipeline_platform_tests.orchestration.conftest import MakeDefinitions, rate_to_delta

VARIABLES = {
    "rows": {"type": "integer", "default": 2, "description": "Rows for each second."},
    "shop": {"default": "north"},
}


def shop(tmp_path: Path, **variables: Any) -> dict[str, Any]:
    pipeline = rate_to_delta("shop", tmp_path / "out" / "${var:shop}")
    pipeline["steps"][0]["config"]["rowsPerSecond"] = "${var:rows}"
    return {**pipeline, "variables": {**VARIABLES, **variables}}


def launched(definitions: dg.Definitions, **values: Any) -> Any:
    with dg.instance_for_test() as instance:
        config = {"ops": {"run_shop": {"config": values}}} if values else {}
        done = definitions.resolve_job_def("shop").execute_in_process(instance=instance, run_config=config)
        return instance.get_run_by_id(done.run_id)


def test_a_run_without_values_takes_the_defaults(define: MakeDefinitions, tmp_path: Path):
    run = launched(define(shop(tmp_path)))
    assert DeltaTable(tmp_path / "out" / "north").to_pyarrow_table().num_rows == 120
    assert run.tags["pipeline_platform/var/shop"] == "north"


def test_a_run_takes_what_it_is_given_and_says_so_in_its_tags(define: MakeDefinitions, tmp_path: Path):
    run = launched(define(shop(tmp_path)), rows=1, shop="south")
    assert DeltaTable(tmp_path / "out" / "south").to_pyarrow_table().num_rows == 60
    assert not (tmp_path / "out" / "north").exists()
    assert run.tags["pipeline_platform/var/rows"] == "1"


def test_the_launchpad_has_a_typed_form(define: MakeDefinitions, tmp_path: Path):
    job = define(shop(tmp_path, day={"type": "date"})).resolve_job_def("shop")
    op: Any = job.nodes[0].definition
    fields = op.config_schema.as_field().config_type.fields
    assert {name: (field.config_type.given_name, field.is_required) for name, field in fields.items()} == {
        "rows": ("Int", False),
        "shop": ("String", False),
        "day": ("String", True),
    }
    assert fields["rows"].description == "Rows for each second."


@pytest.mark.parametrize(
    ("values", "message"), [({"rows": "many"}, "Invalid scalar"), ({"rws": 1}, "unexpected config entry")]
)
def test_a_value_of_another_type_or_name_is_refused_before_the_run(
    values: dict[str, Any], message: str, define: MakeDefinitions, tmp_path: Path
):
    with pytest.raises(dg.DagsterInvalidConfigError, match=message):
        launched(define(shop(tmp_path)), **values)


def test_a_value_with_which_the_file_is_wrong_fails_the_run_with_its_line(define: MakeDefinitions, tmp_path: Path):
    with pytest.raises(dg.Failure, match=r"must be greater than 0"):
        launched(define(shop(tmp_path)), rows=0)
    assert not (tmp_path / "out").exists()
