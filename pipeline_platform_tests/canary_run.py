"""Runs every pipeline of a folder as Dagster does, in a process whose traces are searched for secrets afterwards.

`python -m pipeline_platform_tests.canary_run FOLDER OUT [unredacted]`: the pipelines, and where event logs and the
pages of Spark's UI go.
"""

from __future__ import annotations

import sys
import urllib.request
from pathlib import Path

from pipeline_platform import redaction

if sys.argv[3:] == ["unredacted"]:
    redaction.redact = redaction.redact_urls = lambda text: text
    redaction.redact_config = dict

import dagster as dg

from pipeline_platform.orchestration.project_definitions import project_definitions
from pipeline_platform.resources.spark import SparkResource

PAGES = ("environment/", "SQL/", "jobs/", "stages/", "storage/")
DETAILS = ("environment", "sql?details=true&length=1000", "jobs", "stages")


def main(pipelines: Path, out: Path) -> None:
    """Run them all; failures are part of it."""
    (out / "events").mkdir(parents=True)
    conf = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.compress": "false",
        "spark.eventLog.dir": (out / "events").absolute().as_uri(),
        "spark.ui.enabled": "true",
        "spark.ui.port": "0",
    }
    defs = dg.Definitions.merge(project_definitions(pipelines))
    spark = SparkResource(spark_config=conf)
    with dg.DagsterInstance.get() as instance:
        for job in defs.get_repository_def().get_all_jobs():
            # Jobs of the quarantine want to know which.
            if job.name.startswith("__") or job.name.endswith("_quarantine"):
                continue
            result = job.execute_in_process(
                instance=instance,
                raise_on_error=False,
                run_config={"resources": {"spark": {"config": {"spark_config": conf}}}},
            )
            sys.stdout.write(f"{job.name}: {'SUCCESS' if result.success else 'FAILURE'}\n")
    session = spark.session("canary", {})
    address = session.sparkContext.uiWebUrl
    assert address is not None
    rest = f"{address}/api/v1/applications/{session.sparkContext.applicationId}"
    for number, url in enumerate([*(f"{address}/{page}" for page in PAGES), *(f"{rest}/{name}" for name in DETAILS)]):
        with urllib.request.urlopen(url, timeout=60) as page:
            (out / f"ui-{number}.txt").write_bytes(page.read())
    session.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
