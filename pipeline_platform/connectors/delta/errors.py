"""What the errors of Delta Lake mean, of the JVM's and of delta-rs."""

from __future__ import annotations

from pipeline_platform.frames.rules import UNREACHABLE, Rule, raised

REPEATED_KEYS = "two rows of this load have the same merge keys"
"""What a merge raises for rows that would both become the same one."""
CONFLICTING_CHANGES = "two different changes have the same keys and sequence:"
"""What applying changes raises where nobody could say which of two is the later one."""
INCOMPLETE_CHANGE = "a change has NULL in"
"""What applying changes raises for a change without a key or a sequence."""
_DELTA_RS = ("_internal.DeltaError", "OSError")
# Delta's own in Python extend nothing in common.
_CONFLICTS = (
    "DeltaConcurrentModificationException",
    "ConcurrentWriteException",
    "MetadataChangedException",
    "ProtocolChangedException",
    "ConcurrentAppendException",
    "ConcurrentDeleteReadException",
    "ConcurrentDeleteDeleteException",
    "ConcurrentTransactionException",
)
_CONFLICT_STATES = ("2D521", "40000")
_CONFLICT_CLASSES = (
    "io.delta.exceptions.DeltaConcurrentModificationException",
    "org.apache.spark.sql.delta.DeltaConcurrentModificationException",
    "_internal.CommitFailedError",
    *(f"delta.exceptions.base.{name}" for name in _CONFLICTS),
)
CONFLICT = Rule(
    "another writer changed the same table at the same time; run again",
    transient=True,
    states=_CONFLICT_STATES,
    classes=_CONFLICT_CLASSES,
)
"""A commit that came second."""

RULES = (
    raised(
        REPEATED_KEYS,
        "make the rows unique first, with deduplicate and its 'orderBy'; or use mode applyChanges with 'sequenceBy', "
        "which keeps the newest row of each key",
    ),
    raised(
        CONFLICTING_CHANGES,
        "name a column in 'sequenceBy' that tells any two changes of a row apart, such as the position in the log",
    ),
    raised(INCOMPLETE_CHANGE, "leave out such rows before the load, or correct 'keys' and 'sequenceBy' in 'changes'"),
    Rule(
        "cast the column to the type that the table has, for example with enrichData",
        conditions=("DELTA_FAILED_TO_MERGE_FIELDS", "DELTA_MERGE_INCOMPATIBLE_DATATYPE"),
    ),
    Rule(
        "the table has several rows with the same keys: delete all but one of each, or load it anew",
        conditions=("DELTA_MULTIPLE_SOURCE_ROW_MATCHING_TARGET_ROW_IN_MERGE",),
    ),
    Rule(
        "have the table take the type once: ALTER TABLE delta.`…` SET TBLPROPERTIES ('delta.feature.timestampNtz' = "
        "'supported'), or cast the column to TIMESTAMP",
        conditions=("DELTA_FEATURES_REQUIRE_MANUAL_ENABLEMENT",),
    ),
    Rule(
        "check the path; if another pipeline creates the table, run that one first",
        conditions=(
            "DELTA_TABLE_NOT_FOUND",
            "DELTA_MISSING_DELTA_TABLE",
            "DELTA_PATH_DOES_NOT_EXIST",
            "DELTA_TABLE_ONLY_OPERATION",
        ),
        classes=("_internal.TableNotFoundError",),
    ),
    Rule(
        "read one of the versions that the table still has",
        conditions=(
            "DELTA_VERSION_NOT_FOUND",
            "DELTA_VERSIONS_NOT_CONTIGUOUS",
            "DELTA_TIMESTAMP_GREATER_THAN_COMMIT",
            "DELTA_TIMESTAMP_EARLIER_THAN_COMMIT_RETENTION",
            "DELTA_TIMESTAMP_INVALID",
        ),
    ),
    Rule(
        "a stream of a Delta table reads only what is appended; after any other change, start over with "
        "reset-checkpoint",
        conditions=(
            "DELTA_SOURCE_IGNORE_DELETE",
            "DELTA_SOURCE_TABLE_IGNORE_CHANGES",
            "DELTA_SCHEMA_CHANGED",
            "DELTA_SCHEMA_CHANGED_WITH_VERSION",
            "DELTA_SCHEMA_CHANGED_WITH_STARTING_OPTIONS",
        ),
    ),
    Rule(
        "the table was maintained at the same time, each time; run again, and maintain it when it is not loaded",
        transient=True,
        is_maintenance=True,
        states=_CONFLICT_STATES,
        classes=_CONFLICT_CLASSES,
        says=r"^(\[[\w.]+\] )?Transaction conflict detected\. a concurrent OPTIMIZE ",
    ),
    CONFLICT,
    # delta-rs has words only.
    Rule(
        "check the access key and its rights to the bucket",
        classes=_DELTA_RS,
        says=r"^Generic S3 error: .*(401 Unauthorized|403 Forbidden)|^The operation lacked the necessary privileges",
    ),
    Rule(
        UNREACHABLE,
        transient=True,
        classes=_DELTA_RS,
        says=r"^Generic S3 error: .*(error sending request|connection error|HTTP error|\b(429|50[0234])\b)",
    ),
    Rule("check that the folder can be written to", conditions=("DELTA_CANNOT_CREATE_LOG_PATH",)),
)
