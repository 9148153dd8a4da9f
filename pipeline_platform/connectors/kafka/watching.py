"""Whether there is something new in topics, told by where they end."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from pipeline_platform.connectors.kafka.cluster import Cluster
from pipeline_platform.steps.extract import SourceState


def state_of_topics(properties: Mapping[str, str], wanted: Iterable[str] | re.Pattern[str]) -> SourceState | None:
    """Which topics there are and where they end for a reader, without reading them.

    Left out is where they begin, so that nothing is new when messages expire; and what nothing was written to yet. A
    reader stops before the first open transaction, unless the property `isolation.level` says that it does not. One
    that is aborted moves the end like one that is committed: only reading tells the two apart.

    Args:
        properties: Of Kafka's Java client, secrets legible.
        wanted: The names of topics, which have to be there; or what names match as a whole.

    Returns:
        None if nothing was ever written.

    Raises:
        PipelineConfigurationException: The package for it is missing, or librdkafka can't enter the cluster so.
        PipelineExecutionException: The cluster does not answer, refuses the login, or has no such topic.
    """
    cluster = Cluster.enter(properties)
    if isinstance(wanted, re.Pattern):
        matching = cluster.topics(cluster.names(wanted))
        # Nor does Java's client match Kafka's own.
        topics = {name: topic for name, topic in matching.items() if not topic.is_internal}
    else:
        topics = cluster.topics(wanted)
    uncommitted = properties.get("isolation.level", "").lower() == "read_uncommitted"
    ends = cluster.offsets(topics, at_the_end=True, uncommitted=uncommitted)
    written = {place: end for place, end in sorted(ends.items()) if end > 0}
    if not written:
        return None
    begins = cluster.offsets(topics, at_the_end=False)
    digest = hashlib.sha256()
    for (name, partition), end in written.items():
        digest.update(f"{name}\0{topics[name].id}\0{partition}\0{end}\n".encode())
    return SourceState(digest.hexdigest()[:16], is_empty=all(begins[place] >= end for place, end in written.items()))
