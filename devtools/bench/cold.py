"""The smallest batch, cold and warm: `python -m devtools.bench.cold [ROUNDS]`, with nothing else running.

Each side is a program of its own, in turn: `pipeline-platform run` as it is, the same with both of Java's compilers,
the same on a Spark server that runs, and a script of a few lines with Spark's own defaults and Delta's jars beside
pyspark's. CPU seconds are those of the whole machine meanwhile, as a JVM outlives the program that has started it by a
moment.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from devtools.bench.programs import Taken, measured, print_table
from devtools.bench.ratios import Ratio, report
from devtools.services.spark_server import spark_server
from pipeline_platform.config.loader import load_pipeline
from pipeline_platform.engine.spark.compilers import remember
from pipeline_platform.engine.spark.jars import connector_jars
from pipeline_platform.engine.spark.server import Use
from pipeline_platform.registry import method_registry

ROUNDS = 5
_SHORT, _LONG = "short.json", "long.json"
WARM = "platform, warm"
_ROWS = 1000
_SCRIPT = """
import sys
from pyspark.sql import SparkSession
spark = (SparkSession.builder.master("local[*]")
    .config("spark.driver.extraClassPath", sys.argv[1])
    .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
    .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog").getOrCreate())
rows = spark.read.csv("rows.csv", header=True, inferSchema=True)
rows.filter("amount >= 0").write.format("delta").mode("overwrite").save("by_script")
"""
_STEPS = [
    {"type": "extract", "method": "fromFiles", "config": {"path": "rows.csv", "format": "csv"}},
    {"type": "transform", "method": "filterRows", "config": {"condition": "amount >= 0"}},
    {"type": "load", "method": "toDeltaLake", "config": {"path": "by_platform", "mode": "overwrite"}},
]


def write_job(folder: Path) -> Mapping[str, Sequence[str]]:
    """Write the rows, the pipelines and the script; the commands by what they are called in the table.

    Args:
        folder: An empty folder.
    """
    lines = [f"{n},{n % 7 - 1},shop {n % 3}" for n in range(_ROWS)]
    (folder / "rows.csv").write_text("\n".join(["id,amount,shop", *lines]) + "\n")
    (folder / "script.py").write_text(_SCRIPT)
    for name in (_SHORT, _LONG):
        (folder / name).write_text(json.dumps({"name": "small", "mode": "batch", "steps": _STEPS}))
    run = [sys.executable, "-m", "pipeline_platform", "run"]
    return {
        "script": [sys.executable, "script.py", ":".join(map(str, connector_jars()))],
        "platform, C1 and C2": [*run, _LONG],
        "platform": [*run, _SHORT],
        WARM: [*run, _SHORT],
    }


def main() -> None:
    """Measure, and print a table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    taken: dict[str, list[Taken]] = {}
    with tempfile.TemporaryDirectory() as folder, spark_server(Path(folder)):
        commands = write_job(Path(folder))
        long = load_pipeline(Path(folder) / _LONG, method_registry())
        for _ in range(rounds):
            for name, command in commands.items():
                # Each run notes that it was short.
                remember(long, 1e6)
                use = Use.RUNNING if name == WARM else Use.NEVER
                taken.setdefault(name, []).append(measured(command, Path(folder), use))
    times = print_table("", taken)
    report("cold", [Ratio.of(f"{name} / script", times[name], times["script"]) for name in times if name != "script"])


if __name__ == "__main__":
    main()
