"""The examples of methods as whole pipelines: with the frames that they read, and a sink."""

from __future__ import annotations

from pipeline_platform_tests.config.reading import Json, extract, load, pipeline, transform

FRAMES = [
    extract("fromFiles", path="data/orders.csv", format="csv"),
    transform("filterRows", condition="quantity < 0", registerAs="returns"),
    extract("fromFiles", path="data/customers.csv", format="csv", registerAs="customers"),
    extract("fromFiles", path="data/orders.csv", format="csv", registerAs="orders"),
]
"""What the examples take as registered, from the data of the project that `init` makes."""


def pipeline_around(step: Json) -> Json:
    """A pipeline with this step."""
    if step["type"] == "extract":
        return pipeline(step, load())
    return pipeline(*FRAMES, step, *([load()] if step["type"] == "validate" else []))
