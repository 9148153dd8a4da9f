"""`toKafka`: a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline_platform.config.values import Text
from pipeline_platform.methods.dataset import Dataset
from pipeline_platform.methods.kafka import EntersKafka, Topic
from pipeline_platform.methods.load.base import Load, LoadRun, Prepared
from pipeline_platform.methods.real_systems import not_yet

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class ToKafka(Load, EntersKafka):
    """Writes to a topic: the columns `key` and `value` if there is a `value`, else all columns as one JSON value."""

    method: ClassVar[str] = "toKafka"

    topic: Topic
    """The topic."""
    key_column: Text | None = None
    """Without a column `value`: the column that becomes the key."""

    def dataset(self) -> Dataset:
        return self.topic_dataset([self.topic])

    def prepare(self, frame: DataFrame, run: LoadRun) -> Prepared:
        raise not_yet(self.method)
