"""`fromS3`: files in a bucket of S3, or of a store that speaks its protocol."""

from __future__ import annotations

from typing import ClassVar

from pipeline_platform.connectors.files.source import ReadsFiles
from pipeline_platform.connectors.storage.location import InBucket


class FromS3(InBucket, ReadsFiles):
    """Reads files in an S3 bucket."""

    method: ClassVar[str] = "fromS3"
    kind: ClassVar[str] = "s3"
    example = {"bucket": "shop", "path": "orders", "format": "parquet", "credentialPath": "secret/data/s3"}
