"""A Hive metastore of its own, from the jars that pyspark ships; it keeps all in Derby, in a temporary folder."""

from __future__ import annotations

import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from devtools.services.process import ServerProcess, free_port, new_folder, program
from pipeline_platform.engine.spark.home import spark_home


@dataclass
class HiveMetastore:
    """A running metastore, with the schema `default` alone.

    Args:
        server: The process.
        address: What `hive.metastore.uris` is to be.
        warehouse: The folder of its own tables.
    """

    server: ServerProcess
    address: str
    warehouse: Path

    def stop(self) -> None:
        """End it."""
        self.server.stop()
        shutil.rmtree(self.server.folder, ignore_errors=True)


def start_hive_metastore() -> HiveMetastore:
    """Start a metastore of its own, which keeps what it holds when it is stopped and started again.

    Raises:
        ServerUnavailableError: There is no Java, or it did not start.
    """
    java, folder, port = program("java"), new_folder("hive-metastore"), free_port()
    warehouse = folder / "warehouse"
    # It listens at every address of the machine, whatever it is told, and lets everybody in: it is for tests alone.
    settings = {
        "javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={folder}/metastore;create=true",
        "javax.jdo.option.ConnectionDriverName": "org.apache.derby.iapi.jdbc.AutoloadedDriver",
        "derby.system.home": str(folder),
        "datanucleus.schema.autoCreateAll": "true",
        "hive.metastore.schema.verification": "false",
        "hive.metastore.warehouse.dir": warehouse.as_uri(),
        # Its asynchronous log needs a jar that pyspark does not ship.
        "hive.async.log.enabled": "false",
    }
    command = [java, "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    command += [f"-D{name}={value}" for name, value in settings.items()]
    command += ["-cp", f"{spark_home()}/jars/*", "org.apache.hadoop.hive.metastore.HiveMetaStore", "-p", str(port)]

    def answers() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            return False
        return True

    server = ServerProcess("hive-metastore", command, folder, answers)
    server.start()
    return HiveMetastore(server, f"thrift://127.0.0.1:{port}", warehouse)
