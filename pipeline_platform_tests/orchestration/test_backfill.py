"""A project under a real daemon: a month is loaded in the UI by one run, and what depends on it runs by itself."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from deltalake import DeltaTable
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from devtools.services.spark_server import spark_state
from pipeline_platform.engine.spark.server import SERVER_VARIABLE, running_server
from pipeline_platform_tests.orchestration.browser import OpenPage, dagster_server

ROOT = Path(__file__).parent.parent.parent
DAYS = {"type": "daily", "start": "2024-01-01", "end": "2024-03-01", "column": "day"}
_SECONDS = 240

pytestmark = [
    pytest.mark.skipif(shutil.which("chromedriver") is None, reason="chromedriver is not installed"),
    pytest.mark.timeout(900),
]


def step(kind: str, method: str, name: str, **config: Any) -> dict[str, Any]:
    return {"type": kind, "method": method, "name": name, "config": config}


PERIOD = "day >= '${partition:start}' AND day < '${partition:end}'"
DAILY = {
    "name": "days",
    "mode": "batch",
    "description": "Readings of a sensor, loaded day by day.",
    "partitions": DAYS,
    "variables": {
        "lowest": {"type": "number", "default": -50, "description": "Colder readings are left out."},
        "unit": {"default": "celsius", "description": "Unit of the readings."},
    },
    "steps": [
        step(
            *("extract", "fromFiles", "readings"),
            path="readings.json",
            format="json",
            schema="day DATE, sensor STRING, temp DOUBLE",
        ),
        step("transform", "filterRows", "of_the_days", condition=f"{PERIOD} AND temp > ${{var:lowest}}"),
        step(
            *("transform", "aggregateData", "by_day"),
            groupBy=["day"],
            aggregations={"temp": "avg", "n": "count(*)"},
        ),
        step("validate", "validateRanges", "plausible", ranges={"temp_avg": {"min": -60, "max": 60}}),
        step("load", "toDeltaLake", "daily_temperatures", path="lake/daily", mode="overwrite"),
    ],
}
MONTHLY = {
    "name": "months",
    "mode": "batch",
    "partitions": {**DAYS, "type": "monthly", "column": "month"},
    "automation": "onUpstream",
    "steps": [
        step("extract", "fromDeltaLake", "daily", path="lake/daily"),
        step("transform", "filterRows", "of_the_months", condition=PERIOD),
        step("transform", "enrichData", "with_month", columns={"month": "CAST(trunc(day, 'MM') AS DATE)"}),
        step(
            *("transform", "aggregateData", "by_month"),
            groupBy=["month"],
            aggregations={"n": "sum", "days": "count(*)"},
        ),
        step("load", "toDeltaLake", "monthly_readings", path="lake/monthly", mode="overwrite"),
    ],
}
PROJECT = """
from pathlib import Path

import dagster as dg
import pyarrow as pa

from pipeline_platform.orchestration.project_definitions import project_definitions

condition = dg.AutomationCondition


@dg.asset(
    partitions_def=dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-03-01"),
    backfill_policy=dg.BackfillPolicy.single_run(),
    ins={"temperatures": dg.AssetIn(["days", "daily_temperatures"], input_manager_key="delta_tables")},
    automation_condition=condition.eager().without(condition.in_latest_time_window()),
)
def report(temperatures: pa.Table) -> None:
    with Path("report.txt").open("a") as file:
        file.writelines(f"{day}\\n" for day in temperatures["day"].to_pylist())


defs = dg.Definitions.merge(
    project_definitions(Path("pipelines")),
    dg.Definitions(
        assets=[report],
        sensors=[
            dg.AutomationConditionSensorDefinition(
                "own", target=[report], default_status=dg.DefaultSensorStatus.RUNNING, minimum_interval_seconds=5
            )
        ],
    ),
)
"""


TABLES = """
from pathlib import Path

from pipeline_platform.orchestration.project_definitions import project_definitions


def translation(spec, names):
    return spec.replace_attributes(key=spec.key.with_prefix("tables"))


defs = project_definitions(Path("pipelines"), "tables", translation)
"""
"""The same pipelines once more, as tables alone: for the picture."""


@dataclass(frozen=True)
class Project:
    """A project in a folder, under Dagster's daemon and web server.

    Args:
        folder: Of the project.
        address: Of the server.
    """

    folder: Path
    address: str

    def partitions_of(self, *key: str) -> set[str]:
        """The partitions of an asset that are materialized."""
        with dg.DagsterInstance.from_config(str(self.folder / "home")) as instance:
            return instance.get_materialized_partitions(dg.AssetKey(list(key)))

    def runs(self) -> list[dg.DagsterRun]:
        with dg.DagsterInstance.from_config(str(self.folder / "home")) as instance:
            return list(instance.get_runs())

    def wait_for(self, happened: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _SECONDS
        while not happened():
            told = [(run.job_name, run.status.value, run.tags) for run in self.runs()]
            assert time.monotonic() < deadline, f"{what}: {told}\n{(self.folder / 'dev.log').read_text()[-3000:]}"
            time.sleep(1)


@pytest.fixture(scope="module")
def spark_by_default(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs find their Spark as they do where nobody has said how."""
    with spark_state(tmp_path_factory.mktemp("state")), pytest.MonkeyPatch.context() as patch:
        patch.delenv(SERVER_VARIABLE)
        yield


@pytest.fixture(scope="module")
def project(spark_by_default: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("weather")
    (folder / "pipelines").mkdir()
    (folder / "home").mkdir()
    shutil.copy(ROOT / "dagster.yaml", folder / "home")
    for pipeline in (DAILY, MONTHLY):
        (folder / "pipelines" / f"{pipeline['name']}.json").write_text(json.dumps(pipeline, indent=2))
    (folder / "project.py").write_text(PROJECT)
    (folder / "tables.py").write_text(TABLES)
    rows = (
        {"day": str(date(2024, 1, 1) + timedelta(days=n % 60)), "sensor": f"s{n % 7}", "temp": n % 50 - 10}
        for n in range(6000)
    )
    (folder / "readings.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ("dagster", "dev", "-f", "project.py", "-f", "tables.py")
    with dagster_server(*command, folder=folder, home=folder / "home") as address:
        yield Project(folder, address)


@pytest.fixture
def look(open_page: OpenPage, project: Project) -> Callable[..., str]:
    """Open a page of the UI."""
    return partial(open_page, project.address)


def test_the_launchpad_has_the_variables_of_a_pipeline(look: Callable[..., str]):
    look("/locations/project.py/jobs/days/playground", "lowest", "celsius", "Launch Run", picture="launchpad")


def test_a_project_of_tables_shows_each_table_with_what_it_is_made_of(look: Callable[..., str]):
    page = look("/assets/tables/months/monthly_readings?view=lineage", "daily_temperatures", picture="tables")
    assert "by_month" not in page


def test_a_month_is_loaded_in_the_ui_and_all_that_depends_on_it_runs_by_itself(
    look: Callable[..., str], browser: Any, project: Project
):
    look("/locations/project.py/asset-groups/days/lineage", "Materialize all", picture="partitioned")
    click(browser, "Materialize all…")
    wait = WebDriverWait(browser, _SECONDS)
    keys = wait.until(lambda driver: driver.find_element(By.CSS_SELECTOR, "input[placeholder^='ex: 2024']"))
    keys.click()
    keys.send_keys("[2024-01-01...2024-01-31]", Keys.TAB)
    wait.until(lambda driver: "31 partitions" in driver.find_element(By.TAG_NAME, "body").text)
    click(browser, "Launch backfill")
    project.wait_for(lambda: any(run.status == dg.DagsterRunStatus.STARTED for run in project.runs()), "no run starts")
    look(f"/runs/{project.runs()[0].run_id}", "(toDeltaLake)", picture="run")
    january = {str(date(2024, 1, 1) + timedelta(days=n)) for n in range(31)}
    project.wait_for(lambda: project.partitions_of("days", "daily_temperatures") == january, "the days are not loaded")
    loads = [run for run in project.runs() if "days/daily_temperatures" in map(_name, run.asset_selection or ())]
    assert len(loads) == 1, "one run loads them all"
    assert running_server() is not None, "the first run starts a Spark for those that follow"
    look("/assets/days/by_day?view=overview", "avg(temp) ← of_the_days.temp", picture="columns")
    look("/assets/days/daily_temperatures?view=partitions", "Materialized (31)", picture="partitions")
    project.wait_for(
        lambda: project.partitions_of("months", "monthly_readings") == {"2024-01-01"}, "the month is not loaded"
    )
    project.wait_for(lambda: project.partitions_of("report") == january, "the asset in Python has not run")
    # The daemon may look while the days are still being told, and start a run for those and one for the rest.
    assert sorted((project.folder / "report.txt").read_text().split()) == sorted(january)
    source = f"read_json('{project.folder}/readings.json', columns = {{day: 'DATE', temp: 'DOUBLE'}})"
    with duckdb.connect() as connection:
        daily = connection.execute(
            f"SELECT day, avg(temp), count(*) FROM {source} WHERE day < '2024-02-01' GROUP BY 1 ORDER BY 1"
        ).fetchall()
        monthly = connection.execute(
            f"SELECT date_trunc('month', day)::DATE, count(*), count(DISTINCT day) FROM {source} "
            "WHERE day < '2024-02-01' GROUP BY 1"
        ).fetchall()
    assert rows_of(project.folder / "lake" / "daily") == daily
    assert rows_of(project.folder / "lake" / "monthly") == monthly


def rows_of(table: Path) -> list[tuple[Any, ...]]:
    return sorted(tuple(row.values()) for row in DeltaTable(table).to_pyarrow_table().to_pylist())


def click(browser: Any, text: str) -> None:
    """Click what says this, the innermost of what does."""
    place = f"(//*[normalize-space(text())='{text}'])[last()]"
    WebDriverWait(browser, _SECONDS).until(lambda driver: driver.find_element(By.XPATH, place).is_displayed())
    browser.find_element(By.XPATH, place).click()


def _name(key: dg.AssetKey) -> str:
    return key.to_user_string()
