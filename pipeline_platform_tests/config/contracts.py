"""Projects whose loads keep a data contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline_platform_tests.config.reading import extract, load, pipeline

HEAD = "apiVersion: v3.1.0\nkind: DataContract\nid: orders\nversion: 1.2.0\nstatus: active\n"


def table(*properties: str, name: str = "orders", quality: str = "") -> str:
    """The text of a contract for one table, with a line of YAML for each property, from line 9 on."""
    lines = "".join(f"      - {one}\n" for one in properties)
    return f"{HEAD}schema:\n  - name: {name}\n    properties:\n{lines}{quality}"


def project(folder: Path, contract: str, *, reference: Any = "../contracts/orders.odcs.yaml", **config: Any) -> Path:
    """A pipeline file that loads `lake/orders` under this contract."""
    for name in ("pipelines", "contracts"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "contracts" / "orders.odcs.yaml").write_text(contract)
    step = load(**{"path": str(folder / "lake" / "orders"), "contract": reference, **config})
    file = folder / "pipelines" / "orders.json"
    file.write_text(json.dumps(pipeline(extract(), step), indent=2))
    return file
