"""Keys of the metadata by which the pipeline and the step of an asset are found."""

from __future__ import annotations

PIPELINE = "pipeline"
"""The name of the pipeline."""
PIPELINE_FILE = "pipeline_file"
"""The file that the step is written in."""
OPTIONS = "command_options"
"""What chooses the pipeline on the command line, where its file makes several."""
ITEM = "for_each"
"""The values of the item of `forEach` that the pipeline is made of."""
TEMPLATE = "template"
"""The file of the template that the step is written in."""
ENVIRONMENT = "environment"
"""The environment that the pipeline is in."""
STEP = "step"
"""The number of the step, from 1."""

NOT_LOADED = "not_loaded"
"""Of an asset whose pipeline is not loaded: why."""
