"""What Debezium wrote of tables, as `devtools/debezium_recording.py` recorded it."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

from devtools.debezium_recording import recording_of

Json = dict[str, Any]
Recorded = list[tuple[str | None, bytes | None]]


@dataclass(frozen=True)
class Recording:
    """What Debezium wrote of the tables of one database.

    Args:
        database: Which.
        schema: Of its tables, as it stands in the names of topics.
    """

    database: str
    schema: str

    def messages(self, table: str, *, schemas: bool = True) -> Recorded:
        """Key and value of each message of a table, in their order."""
        return self.messages_in(f"dbz.{self.schema}.{table}", schemas=schemas)

    def messages_in(self, topic: str, *, schemas: bool = True) -> Recorded:
        """Key and value of each message of a topic, in their order.

        Args:
            topic: The topic.
            schemas: With the schema, as recorded, or as Kafka Connect writes it without.
        """
        recorded = _read(self.database)
        found: Recorded = []
        for message in recorded["messages"]:
            if message["topic"] == topic:
                payload = message["payload"]
                if payload is not None and schemas:
                    payload = f'{{"schema":{recorded["schemas"][message["schema"]]},"payload":{payload}}}'
                found.append((message["key"], None if payload is None else payload.encode()))
        return found

    def events(self, table: str, *, schemas: bool = True) -> list[bytes]:
        """The values of the messages of a table, without tombstones."""
        return [value for _, value in self.messages(table, schemas=schemas) if value is not None]

    def rows_of(self, table: str, **numbers: Any) -> list[Json]:
        """The rows that the database had in the end, as PostgreSQL writes them in JSON, and MariaDB as texts."""
        rows: list[Any] = _read(self.database)["tables"][table]
        return [json.loads(row, **numbers) if isinstance(row, str) else row for row in rows]


@functools.cache
def _read(database: str) -> Json:
    return json.loads(recording_of(database).read_text())


POSTGRES = Recording("postgres", "public")
MARIADB = Recording("mariadb", "stock")
