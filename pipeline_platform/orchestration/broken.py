"""A file that is no valid pipeline, as an asset that shows why."""

import re

import dagster as dg

from pipeline_platform.orchestration.project import BrokenFile

GROUP = "broken"


def broken_file_assets(broken: BrokenFile) -> dg.AssetsDefinition:
    """An asset whose description holds the errors; to materialize or check it fails with them."""
    name = re.sub(r"\W", "_", broken.path.stem, flags=re.ASCII)
    key = dg.AssetKey([GROUP, name])
    errors = "\n".join(map(str, broken.problems))
    told = f"`{broken.path}` is not a valid pipeline:\n\n```\n{errors}\n```"

    @dg.multi_asset(
        name=f"{GROUP}_{name}",
        specs=[dg.AssetSpec(key, group_name=GROUP, kinds={"json"}, description=told, skippable=True)],
        check_specs=[dg.AssetCheckSpec("file_is_valid", asset=key, blocking=True, description=told)],
        can_subset=True,
    )
    def compute(context: dg.AssetExecutionContext):
        if context.selected_asset_check_keys:
            yield dg.AssetCheckResult(
                check_name="file_is_valid",
                asset_key=key,
                passed=False,
                metadata={"problems": len(broken.problems), "errors": dg.MetadataValue.md(told)},
            )
        raise dg.Failure(description=f"{broken.path} is not a valid pipeline:\n{errors}", allow_retries=False)

    return compute
