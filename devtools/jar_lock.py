"""Locks the jars of the platform's own connectors: `python -m devtools.jar_lock`."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline_platform.engine.spark.jar_lock import LOCK_FILE, JarLock
from pipeline_platform.engine.spark.jars import resolved_jars
from pipeline_platform.registry import CONNECTORS


def main() -> None:
    coordinates = [jar for connector in CONNECTORS for jar in connector.jars]
    with TemporaryDirectory() as temporary:
        lock = JarLock.from_jars(coordinates, resolved_jars(coordinates, Path(temporary)))
    LOCK_FILE.write_text(json.dumps(lock.model_dump(mode="json"), indent=2) + "\n")


if __name__ == "__main__":
    main()
