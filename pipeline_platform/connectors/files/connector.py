"""Files, as the platform knows them."""

from __future__ import annotations

from urllib.parse import SplitResult, unquote

from pipeline_platform.connectors.connector import Connector
from pipeline_platform.connectors.files.errors import RULES
from pipeline_platform.connectors.files.sink import ToFiles
from pipeline_platform.connectors.files.source import FromFiles

_FORMATS = ("csv", "json", "parquet", "orc")


def _path(uri: SplitResult) -> tuple[str, str]:
    return "file", unquote(uri.path)


CONNECTOR = Connector(
    name="files",
    methods=(FromFiles, ToFiles),
    kinds={"files": "file"},
    rules=RULES,
    dataset_names={"file": _path},
    misnomers={
        **{f"from{name}": f"read such files with 'fromFiles' and 'format': '{name}'" for name in _FORMATS},
        **{f"to{name}": f"write such files with 'toFiles' and 'format': '{name}'" for name in _FORMATS},
    },
)
