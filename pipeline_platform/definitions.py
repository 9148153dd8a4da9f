"""What Dagster loads: every pipeline of the folder `PIPELINES_DIR`, by default `pipelines`."""

import os
from pathlib import Path

import dagster as dg

from pipeline_platform.logs import configure_logs, is_json
from pipeline_platform.orchestration.project_definitions import project_definitions

if is_json():
    # Otherwise what is logged is Dagster's, as dagster.yaml has it.
    configure_logs()

defs = dg.Definitions.merge(
    project_definitions(Path(os.environ.get("PIPELINES_DIR") or "pipelines")),
    # For what is materialized without a job; as part of another project the executor is that project's matter.
    dg.Definitions(executor=dg.in_process_executor),
)
