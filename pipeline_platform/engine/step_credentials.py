"""With which credentials of a run a step, or a place that belongs to none, is entered."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline_platform.config.step import Step, StepConfig
from pipeline_platform.connectors.storage.location import S3Options, bucket_of
from pipeline_platform.credentials.model import Credentials
from pipeline_platform.credentials.run_credentials import RunCredentials
from pipeline_platform.steps.credentialed import Credentialed


def credentials_for(credentials: RunCredentials, config: StepConfig, step: Step) -> Credentials | None:
    """Those of a step's system; None if it has none, or lets the step in without.

    Args:
        credentials: Those of the run.
        config: Of the step, its environment variables replaced.
        step: The step.

    Raises:
        CredentialException: They are missing, incomplete, refused or can't be reached.
    """
    need = config.credential_request() if isinstance(config, Credentialed) else None
    return credentials.enter(need, step.location) if need is not None else None


def credentials_of_bucket(credentials: RunCredentials, steps: Iterable[Step], uri: str) -> Credentials | None:
    """For a place in a bucket those of the step that writes to the bucket, or else of one that reads from it.

    Args:
        credentials: Those of the run.
        steps: The steps that are looked at.
        uri: The place; for one that is in no bucket there are none.

    Raises:
        CredentialException: They are missing, incomplete, refused or can't be reached.
    """
    bucket = bucket_of(uri)
    if bucket is None:
        return None
    for step in sorted(steps, key=lambda step: step.type != "load"):
        # Where no pipeline is run, as when a checkpoint is moved, not all of them are resolved.
        config = step.config.resolved()
        if isinstance(config, S3Options) and bucket_of(config.uri()) == bucket:
            return credentials_for(credentials, config, step)
    return None
