"""`toS3`: files in a bucket of S3, published only when all are written."""

from __future__ import annotations

from typing import ClassVar

from pipeline_platform.connectors.files.sink import ToFiles
from pipeline_platform.connectors.storage.location import InBucket


class ToS3(InBucket, ToFiles):
    """Writes files to an S3 bucket; readers see them once all are there."""

    method: ClassVar[str] = "toS3"
    kind: ClassVar[str] = "s3"
    example = {
        "bucket": "shop",
        "path": "orders",
        "format": "parquet",
        "mode": "overwrite",
        "credentialPath": "secret/data/s3",
    }
