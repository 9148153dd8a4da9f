"""What is wrong with the partitions of a pipeline, as far as its file shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline_platform.config.config_error import ConfigError, did_you_mean
from pipeline_platform.config.documents.document import SourcePosition
from pipeline_platform.config.graph import Draft
from pipeline_platform.config.partitions import PARTS, Partitions
from pipeline_platform.config.pipeline_keys import PipelineKeys
from pipeline_platform.config.placeholders import misspelled_placeholders, partition_parts


def partition_errors(keys: PipelineKeys, root: SourcePosition, drafts: Sequence[Draft]) -> Iterator[ConfigError]:
    """Every mistake, at its place.

    Args:
        keys: The top-level keys.
        root: The file.
        drafts: The steps, as far as they could be read.
    """
    if keys.partitions is not None and keys.mode == "streaming":
        message = "a streaming pipeline has no partitions; it loads what is new"
        yield (root / "partitions").problem(message, on_key=True)
        return
    for setting, value in keys.spark_conf.items() if keys.partitions is not None else ():
        if setting in _READ_AS and str(value).lower() != _READ_AS[setting].lower():
            message = f"with partitions '{setting}' has to be {_READ_AS[setting]}, as their conditions are read by it"
            yield (root / "sparkConf" / setting).problem(message)
    for draft in drafts:
        for key, place in draft.keys.items():
            for text in misspelled_placeholders(place.value):
                yield draft.key(key).problem(f"'{text}' is no placeholder", hint=_SPELLINGS)
            for part in sorted(partition_parts(place.value)):
                if (wrong := _wrong_part(part, keys.partitions)) is not None:
                    yield draft.key(key).problem(wrong[0], hint=wrong[1])
        if keys.partitions is not None and draft.config is not None:
            for key, message in draft.config.partition_errors(keys.partitions.column):
                place = draft.place if key is None else draft.key(key)
                yield place.problem(message)


# What conditions on times and texts mean.
_READ_AS = {"spark.sql.session.timeZone": "UTC", "spark.sql.parser.escapedStringLiterals": "false"}
_SPELLINGS = "they are '${env:NAME}', '${var:NAME}', '${partition:key}', '${partition:start}' and '${partition:end}'"


def _wrong_part(part: str, partitions: Partitions | None) -> tuple[str, str | None] | None:
    """What is wrong with `${partition:…}`, and what to do; None if it can be replaced."""
    if part not in PARTS:
        return f"there is no '${{partition:{part}}}'", did_you_mean(part, PARTS)
    if partitions is None:
        return f"'${{partition:{part}}}' stands here, and the pipeline has no partitions", "add the key 'partitions'"
    if part != "key" and not partitions.by_time:
        return f"partitions of type {partitions.type} have no {part}", "use '${partition:key}'"
    return None
