"""The Delta tables that loads have written, as arguments of people's own assets, without a JVM."""

from __future__ import annotations

import dagster as dg


class DeltaTables(dg.ConfigurableIOManagerFactory):  # pyright: ignore[reportMissingTypeArgument]
    """Hands an asset the Delta table of a load that it depends on, as the type that its argument is annotated with.

    `pyarrow.Table` (the default), `pyarrow.RecordBatchReader`, `deltalake.DeltaTable` for its version, history and
    files, and with the extra `polars` also `polars.DataFrame` and `polars.LazyFrame`. The metadata `columns` of the
    input selects columns, and an asset with partitions has the rows of its own ones. A table is read with the
    credentials of the step that loads it. It reads alone: what an asset returns is for another IO manager.
    """

    def create_io_manager(self, context: dg.InitResourceContext) -> dg.IOManager:
        """As Dagster asks for it.

        Args:
            context: Of the resource.
        """
        from pipeline_platform.resources.tables_of_loads import TablesOfLoads

        return TablesOfLoads()
