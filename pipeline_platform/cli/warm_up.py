"""What the first run on a machine waits for, made beforehand."""

from __future__ import annotations

import typer

from pipeline_platform.cli.output import FAILED


def warm_up() -> None:
    """Fetch Spark's connector jars and prepare its start, which the first run would do otherwise.

    A minute or two, once a machine or image. What is there already is left as it is.
    """
    from pipeline_platform.engine.spark.home import lasting_home
    from pipeline_platform.engine.spark.jars import connector_jars, say
    from pipeline_platform.engine.spark.java import require_java
    from pipeline_platform.engine.spark.jvm import class_archive
    from pipeline_platform.exceptions import PipelineException

    try:
        java = require_java()
        jars = connector_jars()
        archive = class_archive(java, jars, say)
    except PipelineException as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from error
    typer.echo(f"Spark            {lasting_home()}")
    typer.echo(f"connector jars   {jars[0].parent}: {len(jars)}")
    typer.echo(f"class archive    {archive or 'none: Spark starts from its jars, some seconds later'}")
