"""What a load says if its staging table is not what it was: its table is as before, and the load can be tried again."""

from __future__ import annotations

from pipeline_platform.exceptions import PipelineExecutionException

_RUN_AGAIN = "run again: the table is as it was before"


def rows_lost(about: str, staged: int, rows: int) -> PipelineExecutionException:
    """The exception for rows that are no longer there.

    Args:
        about: The database and the table.
        staged: How many there are.
        rows: How many were staged.
    """
    return PipelineExecutionException(
        f"{about}: {rows} rows were staged, and the server has {staged} of them: it was killed in the meantime, and "
        "lost the others",
        hint=_RUN_AGAIN,
        retryable=True,
    )


def staging_removed(about: str) -> PipelineExecutionException:
    """The exception for a table that somebody dropped.

    Args:
        about: The database and the table.
    """
    return PipelineExecutionException(
        f"{about}: the staging table is gone: another attempt at this load started in the meantime, or the server "
        "ended the session that marks it as in use",
        hint=_RUN_AGAIN,
        retryable=True,
    )
