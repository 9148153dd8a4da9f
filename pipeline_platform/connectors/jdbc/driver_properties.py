"""Which names a step or a secret may give as properties of a JDBC driver."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What MySQL's driver can parse in a URL; every property of either driver is called so.
_NAME = re.compile(r"[\w.-]+", re.ASCII)
# What a URL may say in place of what the step or the secret says, under the drivers' names.
_OWN_KEYS = {
    "host": "host",
    "pghost": "host",
    "port": "port",
    "pgport": "port",
    "dbname": "database",
    "pgdbname": "database",
    "user": "username",
    "password": "password",
}
# Those of Spark 4.1's JDBCOptions. Drivers ignore what they don't know.
_SPARKS = frozenset(
    {
        *("url", "driver", "dbtable", "query", "prepareQuery", "customSchema", "preferTimestampNTZ", "hint"),
        *("partitionColumn", "lowerBound", "upperBound", "numPartitions", "fetchsize", "batchsize", "queryTimeout"),
        *("pushDownPredicate", "pushDownAggregate", "pushDownLimit", "pushDownOffset", "pushDownTableSample"),
        *("pushDownJoin", "sessionInitStatement", "isolationLevel", "truncate", "cascadeTruncate", "tableComment"),
        *("createTableOptions", "createTableColumnTypes", "keytab", "principal", "refreshKrb5Config"),
        "connectionProvider",
    }
)
_SPARKS_NAMES = frozenset(name.lower() for name in _SPARKS)


def misplaced_property(names: Iterable[str]) -> tuple[str, str] | None:
    """The first name that is none of a driver's properties, and what it is instead.

    Args:
        names: Of the properties.
    """
    for name in names:
        if (key := _OWN_KEYS.get(name.lower())) is not None:
            return name, f"'{name}' has a key of its own, '{key}', beside 'properties'"
        if name.lower() in _SPARKS_NAMES:
            return name, f"'{name}' is an option of Spark's, and 'properties' are the JDBC driver's"
        if not _NAME.fullmatch(name):
            return name, f"'{name}' is no name of a property: expected letters, digits, '.', '_' and '-'"
    return None
