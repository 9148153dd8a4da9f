"""Makes the Spark session: local by default, a cluster or Spark Connect by configuration alone."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline_platform.config.permissions import is_allowed
from pipeline_platform.config.pipeline import PipelineConfig
from pipeline_platform.config.sql_limits import CODE_FUNCTIONS
from pipeline_platform.engine.spark.compilers import C1_ALONE
from pipeline_platform.engine.spark.connect import remote_session
from pipeline_platform.engine.spark.jars import connector_jars, say
from pipeline_platform.engine.spark.java import require_java
from pipeline_platform.engine.spark.jvm import (
    COMPILES_ALL,
    DRIVER_OPTIONS,
    EXECUTOR_OPTIONS,
    IN_UTC,
    class_archive,
    driver_options,
    end_jvm,
    launch,
)
from pipeline_platform.engine.spark.jvm_death import forget_dead_jvm, forget_jvm, jvm_death
from pipeline_platform.engine.spark.server import Use
from pipeline_platform.engine.spark.settings import (
    DELTA_DEFAULTS,
    EVERYWHERE_CONF,
    LOCAL_CONF,
    MASTER_VARIABLE,
    REMOTE_VARIABLE,
    cluster_settings,
    configured_master,
    local_settings,
)
from pipeline_platform.engine.spark.sharing import leave_server, session_on_server, use_for
from pipeline_platform.exceptions import PipelineConfigurationException, PipelineException
from pipeline_platform.frames.causes import failure_of
from pipeline_platform.frames.failure_text import failure_message
from pipeline_platform.frames.settings import set_on, spark_settings

if TYPE_CHECKING:
    from py4j.java_gateway import JavaGateway
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

_beside = threading.Lock()
_SUBMITTED = "PYSPARK_GATEWAY_PORT"
"""Set by `spark-submit`: where its JVM listens to the Python that it has started."""
_LOGGERS = ("SQLQueryContextLogger", "DataFrameQueryContextLogger")
_WAREHOUSE = "spark.sql.warehouse.dir"


def spark_session(
    app_name: str, conf: Mapping[str, str] | None = None, *, is_short: bool = False, server: Use = Use.NEVER
) -> SparkSession:
    """The process's session, started if there is none.

    `SPARK_REMOTE` (`sc://…`) or `SPARK_MASTER` (`local[*]` by default, `spark://`, `yarn`, `k8s://`) say where.

    Args:
        app_name: Shown by Spark.
        conf: Settings that win over the platform's defaults.
        is_short: What is to be done takes less than a minute; see `engine.spark.compilers`. Matters to a local JVM
            that is started for it.
        server: Whether the session may be one on the machine's server (`engine.spark.server`), where neither says
            otherwise. With `NEVER`, one that is there is left.

    Raises:
        PipelineExecutionException: Java is missing or of the wrong version, jars can't be resolved, or no Spark
            Connect server answers.
        PipelineConfigurationException: A session runs already with other static settings, or the server lacks Delta.
    """
    from pyspark.logger import PySparkLogger

    # They print as JSON, stack and all, what pyspark raises as well; of a session on a server, too.
    for name in _LOGGERS:
        PySparkLogger.getLogger(name).setLevel(logging.CRITICAL)
    forget_dead_jvm()
    wanted = dict(conf or {})
    remote = wanted.pop("spark.remote", None) or os.environ.get(REMOTE_VARIABLE)
    if (running := _running(server)) is not None:
        return _with_settings(running, wanted)
    if _SUBMITTED in os.environ:
        return _submitted_session(app_name, wanted)
    has_place = remote or "spark.master" in wanted or os.environ.get(MASTER_VARIABLE)
    if not has_place and (shared := session_on_server(app_name, wanted, server)) is not None:
        return _with_settings(shared, wanted)
    if remote:
        session = remote_session(remote, app_name)
        ours = {key: value for key, value in EVERYWHERE_CONF.items() if is_modifiable(session, key)}
        return _with_settings(session, {**ours, **wanted})
    java = require_java()
    master = configured_master(wanted)
    wanted.pop("spark.master", None)
    if master.startswith("local"):
        # Spark would start its Python workers with whatever `python3` the PATH has.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    settings = driver_settings(master, app_name, wanted, java, is_short=is_short)
    return _started(settings)


def driver_settings(
    master: str, app_name: str, wanted: Mapping[str, str], java: str | None, *, is_short: bool = False
) -> dict[str, str]:
    """All that a driver is started with.

    Args:
        master: Where Spark runs.
        app_name: Shown by Spark.
        wanted: Settings that win over the platform's defaults.
        java: The Java program that is to start faster from an archive of classes; None for a driver that is elsewhere.
        is_short: What is to be done takes less than a minute.

    Raises:
        PipelineExecutionException: Jars can't be resolved.
    """
    jars = connector_jars()
    is_local = master.startswith("local")
    settings = (local_settings if is_local else cluster_settings)(master, app_name, jars)
    archive = class_archive(java, jars, say) if is_local and java is not None else None
    settings |= wanted
    own = wanted.get(DRIVER_OPTIONS)
    settings[DRIVER_OPTIONS] = driver_options(own, archive, C1_ALONE if is_short and is_local else "")
    if not is_local:
        settings[EXECUTOR_OPTIONS] = f"{IN_UTC} {COMPILES_ALL} {wanted.get(EXECUTOR_OPTIONS, '')}".strip()
    return settings


def _submitted_session(app_name: str, wanted: Mapping[str, str]) -> SparkSession:
    """The session of a process that `spark-submit` has started, in its JVM; what it was given wins."""
    from pyspark import SparkConf
    from pyspark.java_gateway import launch_gateway  # pyright: ignore[reportUnknownVariableType]

    gateway: JavaGateway = launch_gateway()
    given = SparkConf(_jvm=gateway.jvm).getAll()
    return _started({**EVERYWHERE_CONF, "spark.app.name": app_name, **wanted, **dict(given)}, gateway)


def session_beside(session: SparkSession, pool: str) -> SparkSession:
    """Another session in the same JVM, with its own settings and views, which this thread's work is done in.

    Args:
        session: The process's session, of no server.
        pool: The scheduler's, of which each gets an equal share where it is fair (`FAIR_CONF`).
    """
    from pyspark.java_gateway import ensure_callback_server_started  # pyright: ignore[reportUnknownVariableType]

    with _beside:
        # It is made when a stream first hands its micro-batches over to Python, and two at once would make two.
        ensure_callback_server_started(session.sparkContext._gateway)  # pyright: ignore[reportPrivateUsage]
    other = session.newSession()
    jvm: Any = other._jvm  # pyright: ignore[reportPrivateUsage]
    # pyspark gives new sessions to no thread; what parses SQL without being told a session takes the thread's.
    jvm.org.apache.spark.sql.classic.SparkSession.setActiveSession(cast("Any", other)._jsparkSession)
    other.sparkContext.setLocalProperty("spark.scheduler.pool", pool)
    _restrict(other)
    return other


def _running(use: Use) -> SparkSession | None:
    """The process's session; who must not be on a server leaves the one that it has there."""
    from pyspark.sql import SparkSession

    if use == Use.NEVER:
        leave_server()
    return SparkSession.getActiveSession()


def _started(settings: Mapping[str, str], given: JavaGateway | None = None) -> SparkSession:
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    # A JVM that ran a session before serves the next one too.
    running = SparkContext._gateway  # pyright: ignore[reportPrivateUsage]
    gateway = running or given or launch(settings)
    conf = SparkConf(loadDefaults=False).setAll(list(settings.items()))
    interrupted = signal.getsignal(signal.SIGINT)
    try:
        context = SparkContext(conf=conf, gateway=gateway)
        _require_sql_settings(context, settings)
        session = SparkSession.builder.config(map=dict(settings)).getOrCreate()
        # Spark makes what a session needs when it is first asked for any of it.
        _ = session.conf
        _make_room_for_code(session)
        _restrict(session)
    except Exception as error:
        failed = _not_started(error)
        # The next session is made in another JVM: what this one has made of the settings is not known.
        end_jvm(gateway)
        forget_jvm()
        raise failed from error
    finally:
        if threading.current_thread() is threading.main_thread():
            # pyspark puts its own there, which calls the JVM within the signal: a second one cuts through that call.
            # Runs interrupt Spark's jobs themselves.
            signal.signal(signal.SIGINT, interrupted)
    return session


def _make_room_for_code(session: SparkSession) -> None:
    """Have Spark make what keeps compiled code now, while the session's settings say how much.

    It is made once in a JVM, when code is first compiled; within a task, which may know no settings, it would be of
    Spark's default.
    """
    jvm: Any = session._jvm  # pyright: ignore[reportPrivateUsage]
    jvm.org.apache.spark.sql.catalyst.expressions.codegen.CodeGenerator.resetCompileTime()


def _require_sql_settings(context: SparkContext, settings: Mapping[str, str]) -> None:
    """Have Spark look at each value before a session is made of them.

    A session with a wrong one can't be asked for its settings. pyspark asks for one whenever it makes text of an
    exception, fails at that with another exception, and goes on so without end.
    """
    jvm: Any = context._jvm  # pyright: ignore[reportPrivateUsage]
    checked = jvm.org.apache.spark.sql.internal.SQLConf()
    for key, value in settings.items():
        checked.setConfString(key, value)


def _not_started(error: Exception) -> PipelineException:
    if (death := jvm_death(error)) is not None:
        return death.error()
    return PipelineConfigurationException(
        f"Spark does not start with these settings: {failure_message(failure_of(error))}",
        hint="correct the value in sparkConf, in SPARK_MASTER or in Spark's own configuration",
    )


def _restrict(session: Any) -> None:
    """Take the functions that run Java code from a session, in case it reads SQL otherwise than `check` does."""
    if is_allowed("sql-code"):
        return
    functions = session._jsparkSession.sessionState().functionRegistry()
    for name in CODE_FUNCTIONS:
        functions.dropFunction(session._jvm.org.apache.spark.sql.catalyst.FunctionIdentifier(name))


def clashing_settings(session: SparkSession, wanted: Mapping[str, str]) -> dict[str, str]:
    """Those of the settings that are fixed when a session starts, and that this one was started without."""
    return {
        key: value
        for key, value in wanted.items()
        if not is_modifiable(session, key) and not _holds(session.conf.get(key, None), key, value)
    }


def _holds(running: str | None, key: str, value: str) -> bool:
    if key == _WAREHOUSE and ":" not in value:
        # Spark makes a URI of a path.
        return running in (value, f"file:{Path(value).absolute()}")
    # The JVM's options have the platform's own before them.
    return running == value or (key == DRIVER_OPTIONS and (running or "").endswith(f" {value}"))


def is_modifiable(session: SparkSession, key: str) -> bool:
    """Whether a running session takes another value; of those that Spark does not know, only Delta's defaults are."""
    return key.startswith(DELTA_DEFAULTS) or session.conf.isModifiable(key)


def _with_settings(session: SparkSession, wanted: Mapping[str, str]) -> SparkSession:
    clashes = clashing_settings(session, wanted)
    if clashes:
        raise PipelineConfigurationException(
            f"a Spark session is already running, without the settings {', '.join(clashes)}, which are fixed when "
            "it starts",
            hint="run the pipeline in a process of its own",
        )
    for key, value in wanted.items():
        if is_modifiable(session, key):
            set_on(session, key, value)
    return session


def session_for(pipeline: PipelineConfig, *, is_short: bool) -> SparkSession:
    """The process's session, started if there is none, with no more than its own settings for the next pipeline.

    Args:
        pipeline: The pipeline. What is fixed when a session starts is what this one says; for the rest there is
            `pipeline_settings`.
        is_short: As for `spark_session`.

    Raises:
        PipelineException: As `spark_session`.
    """
    forget_dead_jvm()
    use = use_for(pipeline)
    if _running(use) is not None:
        return spark_session(pipeline.name, is_short=is_short, server=use)
    settings = pipeline.spark_settings()
    session = spark_session(pipeline.name, settings, is_short=is_short, server=use)
    # It was started with them, as some can't be set later. The next pipeline must not find the others.
    for key in settings:
        if is_modifiable(session, key):
            _set_to_default(session, key)
    return session


@contextmanager
def planning_session(pipeline: PipelineConfig) -> Generator[SparkSession]:
    """A session with a pipeline's own settings, of which none is left when the block ends.

    Args:
        pipeline: The pipeline.

    Raises:
        PipelineException: As `session_for` and `pipeline_settings`.
    """
    session = session_for(pipeline, is_short=True)
    with pipeline_settings(pipeline, session):
        yield session


def _set_to_default(session: SparkSession, key: str) -> None:
    is_local = (session.conf.get("spark.master", "") or "").startswith("local")
    default = {**EVERYWHERE_CONF, **(LOCAL_CONF if is_local else {})}.get(key)
    if default is None:
        session.conf.unset(key)
    else:
        session.conf.set(key, default)


@contextmanager
def pipeline_settings(pipeline: PipelineConfig, spark: SparkSession) -> Generator[None]:
    """Let a pipeline's own settings hold while the block lasts.

    Args:
        pipeline: The pipeline.
        spark: The session.

    Raises:
        PipelineConfigurationException: The session runs with other values for what is fixed when it starts.
    """
    wanted = pipeline.spark_settings()
    wrong = clashing_settings(spark, wanted)
    if wrong:
        raise PipelineConfigurationException(
            f"the running Spark session has other values for {', '.join(wrong)}, which are fixed when it starts",
            location=pipeline.location,
            hint="run the pipeline, or check it, in a process of its own",
        )
    with spark_settings(spark, {key: value for key, value in wanted.items() if is_modifiable(spark, key)}):
        yield
