"""What a session of ours has and what it hides."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from typing import Any

import pytest
from pyspark.errors import AnalysisException
from pyspark.errors.exceptions import base
from pyspark.sql import SparkSession

from pipeline_platform.config.sql_limits import CODE_FUNCTIONS
from pipeline_platform.engine.spark.settings import EVERYWHERE_CONF

IN_PLANS = EVERYWHERE_CONF["spark.sql.redaction.string.regex"]


def test_a_session_has_no_function_that_runs_java_code_whatever_it_is_called_by(spark: SparkSession):
    for name in CODE_FUNCTIONS:
        for called in (name, f"IDENTIFIER('{name}')"):
            with pytest.raises(AnalysisException, match=r"Cannot resolve routine|cannot be found"):
                spark.sql(f"SELECT {called}('java.lang.System', 'getenv', 'HOME')")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            '[kafka.sasl.jaas.config=x required username="u" password="a;,b) "c";,kafka.client.id=d]',
            "[***,kafka.client.id=d]",
        ),
        ('(jaas.config=x required password="a" b="c";)', "(***)"),
        ("[sasl.jaas.config=x useKeyTab=true;, a=b]", "[***, a=b]"),
        ('[x.password="a, b)"c, d=e]', "[***, d=e]"),
        ("[pwd=a, url=b, password=c, fs.s3a.secret.key=d", "[***, url=b, ***, ***"),
        ("[token=, a=b]", "[***, a=b]"),
        ("Filter (a#1 > 5 AND b#2 = x)", "Filter (a#1 > 5 AND b#2 = x)"),
        (
            'options {\n  key: "fs.s3a.secret.key"\n  value: "a \\" b, c"\n}\noptions {\n  key: "d"\n  value: "e"\n}',
            'options {\n  ***\n}\noptions {\n  key: "d"\n  value: "e"\n}',
        ),
        ('key: "password"\n  value: "cut of', "***"),
        ('value: "jdbc:mysql://h:1/d?a=b&keyStorePassword=c%20d&e=f"\n}', 'value: "jdbc:mysql://h:1/d?a=b&***\n}'),
    ],
)
def test_a_secret_among_the_options_of_a_plan_is_hidden_whole(text: str, shown: str):
    # What the pattern uses means the same to Java.
    assert re.sub(IN_PLANS, "***", text) == shown


@pytest.mark.parametrize(
    "piece",
    [
        "a.b-c",
        "jaas.config=",
        'jaas.config="',
        "password",
        'password="',
        "x=y, ",
        ";",
        'key: "a',
        'key: "password" value: "',
    ],
)
def test_a_plan_is_searched_in_time_that_grows_with_it(piece: str):
    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        start = time.process_time()
        re.sub(IN_PLANS, "***", text)
        return time.process_time() - start

    assert seconds(32_000) < 16 * seconds(4_000) + 0.05


def test_more_code_is_kept_than_a_micro_batch_needs(spark: SparkSession):
    def compiled_for_many() -> int:
        before = compiled.getCount()
        # Each of them takes two classes.
        for number in range(60):
            session.range(3).selectExpr(f"id % {number + 7}").collect()
        return compiled.getCount() - before

    session = spark.newSession()
    # Where tests are interpreted.
    session.conf.set("spark.sql.codegen.factoryMode", "FALLBACK")
    jvm: Any = session._jvm
    compiled = jvm.org.apache.spark.metrics.source.CodegenMetrics.METRIC_COMPILATION_TIME()
    first, second = compiled_for_many(), compiled_for_many()
    assert first > 100
    assert second == 0


def test_no_error_is_printed_as_json_beside_the_message_about_it(spark: SparkSession):
    assert spark is not None
    names = re.findall(r'PySparkLogger.getLogger\("(\w+)"\)', Path(base.__file__).read_text())
    assert "DataFrameQueryContextLogger" in names
    assert [name for name in names if logging.getLogger(name).isEnabledFor(logging.ERROR)] == []
