"""`toS3`: files in a bucket of S3, published only when all are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline_platform.methods.load.base import LoadRun, Prepared
from pipeline_platform.methods.load.files import ToFiles
from pipeline_platform.methods.real_systems import not_yet
from pipeline_platform.methods.s3 import EntersS3, InBucket

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class ToS3(InBucket, ToFiles, EntersS3):
    """Writes files to a bucket of S3; readers see them when all are there."""

    method: ClassVar[str] = "toS3"
    kind: ClassVar[str] = "s3"

    def prepare(self, frame: DataFrame, run: LoadRun) -> Prepared:
        raise not_yet(self.method)
