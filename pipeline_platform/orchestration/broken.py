"""A file that is no valid pipeline, as an asset that can't be materialized and whose check has failed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import dagster as dg

from pipeline_platform.orchestration.op_names import OpNames
from pipeline_platform.orchestration.project import BrokenFile

GROUP = "broken"
CHECK = "file_is_valid"
SENSOR = "broken_files"
_TICK_SECONDS = 30


@dataclass(frozen=True)
class BrokenAsset:
    """A broken file in Dagster.

    Args:
        key: Of its asset.
        file: What is wrong with it.
    """

    key: dg.AssetKey
    file: BrokenFile

    @property
    def message(self) -> str:
        """What is wrong, in Markdown."""
        errors = "\n".join(map(str, self.file.problems))
        return f"{self.file.left_out} is not loaded:\n\n```\n{errors}\n```"

    def spec(self) -> dg.AssetSpec:
        """An asset that nobody can materialize; its description holds the errors."""
        return dg.AssetSpec(self.key, group_name=GROUP, kinds={"json"}, description=self.message)

    def result(self) -> dg.AssetCheckResult:
        """The check's result: it has failed."""
        return dg.AssetCheckResult(
            check_name=CHECK,
            asset_key=self.key,
            passed=False,
            description=str(self.file.problems[0]).splitlines()[0],
            metadata={"problems": len(self.file.problems), "errors": dg.MetadataValue.md(self.message)},
        )


def broken_assets(files: Sequence[BrokenFile], taken: Set[dg.AssetKey], part: str = "") -> list[BrokenAsset]:
    """One for each broken file, each with a key of its own.

    Args:
        files: The files.
        taken: Keys that other assets have.
        part: What their names end with.
    """
    found: dict[dg.AssetKey, BrokenAsset] = {}
    for file in files:
        name = re.sub(r"\W", "_", f"{file.path.stem}{part}", flags=re.ASCII) or "_"
        while (key := dg.AssetKey([GROUP, name])) in taken or key in found:
            name += "_"
        found[key] = BrokenAsset(key, file)
    return list(found.values())


def broken_file_check(broken: BrokenAsset, names: OpNames) -> dg.AssetChecksDefinition:
    """A check that whoever runs it sees fail, with the errors.

    Args:
        broken: The file.
        names: Of ops.
    """

    @dg.multi_asset_check(
        name=names.take(f"{GROUP}_{broken.key.path[-1]}"),
        specs=[dg.AssetCheckSpec(CHECK, asset=broken.key, description=broken.message)],
    )
    def compute() -> Iterator[dg.AssetCheckResult]:
        yield broken.result()

    return compute


def broken_files_sensor(broken: Sequence[BrokenAsset], part: str = "") -> dg.SensorDefinition:
    """A sensor, on by default, that makes the check of each broken file fail, once for each state of the file.

    Args:
        broken: The files.
        part: What its name ends with.
    """

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=f"{SENSOR}{part}",
        minimum_interval_seconds=_TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Fails the check of each file that can't be loaded, so that it is seen.",
    )
    def report(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        state = hashlib.sha256("".join(asset.message for asset in broken).encode()).hexdigest()
        if context.cursor == state:
            return dg.SensorResult(skip_reason=f"{len(broken)} broken files, reported already")
        events = [
            dg.AssetCheckEvaluation(
                check_name=CHECK,
                asset_key=asset.key,
                passed=False,
                description=result.description,
                metadata=result.metadata,
            )
            for asset in broken
            for result in [asset.result()]
        ]
        return dg.SensorResult(asset_events=events, cursor=state, skip_reason=f"{len(broken)} broken files")

    return report
