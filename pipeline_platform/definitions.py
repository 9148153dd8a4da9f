"""What Dagster loads: every pipeline of the folder `PIPELINES_DIR`, by default `pipelines`."""

import os
from pathlib import Path

from pipeline_platform.orchestration.project_definitions import project_definitions

defs = project_definitions(Path(os.environ.get("PIPELINES_DIR", "pipelines")))
