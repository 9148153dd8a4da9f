"""Vault as a Dagster resource."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from pipeline_platform.exceptions import StepLocation

if TYPE_CHECKING:
    from pipeline_platform.credentials.run_credentials import RunCredentials


class VaultResource(dg.ConfigurableResource):  # pyright: ignore[reportMissingTypeArgument]
    """Where the credentials of a run come from.

    It has no settings of its own: `VAULT_ADDR` and the other variables say where Vault is and how to log in, because
    what stands in a resource's config is stored and shown by Dagster.
    """

    def run_credentials(self, run_id: str, location: StepLocation) -> RunCredentials:
        """The credentials of one run.

        Args:
            run_id: The run, for the audit log.
            location: The pipeline, for errors.

        Raises:
            CredentialException: The environment names a Vault and no login for it.
        """
        from pipeline_platform.credentials.run_credentials import RunCredentials

        return RunCredentials.from_environment(run_id, location)
