"""Records of a source that can't be used: one policy for files, messages and whatever else holds text or bytes.

An extract that may meet them marks each record of the frame it reads (`marked`); `MalformedRecords` says what becomes
of the marked ones. The mark is made in the pass that reads, and costs no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pipeline_platform.config.values import Location, one_of
from pipeline_platform.frames.columns import HELPER_PREFIX
from pipeline_platform.steps.extract import BadRecords, Extract

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

OnMalformed = Literal["fail", "null", "quarantine"]
MALFORMED = f"{HELPER_PREFIX}malformed"
"""Column of a marked frame: why the record can't be used; null for one that can."""
MALFORMED_RECORD = "a record can't be used"
"""What the error begins with that `onMalformed` `fail` raises."""
RECORD = f"{HELPER_PREFIX}record"
"""Column of a marked frame: the record as it came, and where it was found."""


def marked(frame: DataFrame, reason: Column, record: Mapping[str, Column]) -> DataFrame:
    """The frame with each record marked.

    Args:
        frame: What was read.
        reason: Why the record can't be used, as text; null for one that can. Never a part of the record itself, since
            it is told in errors.
        record: The record as it came, and where it was found: the columns of the quarantine, beside `reason`.
    """
    from pyspark.sql import functions as F

    whole = F.struct(*(column.alias(name) for name, column in record.items()))
    return frame.withColumns({RECORD: whole, MALFORMED: reason})


def marked_in_file(frame: DataFrame, reason: Column, record: Column) -> DataFrame:
    """As `marked`, for records of files: nothing is made of a record that can be used.

    Args:
        frame: What was read of files, and nothing else.
        reason: As for `marked`.
        record: The record as it came.
    """
    from pyspark.sql import functions as F

    # The name of the file is not deterministic to Spark, so that this is not put into the filter of the policy: for
    # many columns, all memory would go into rewriting that.
    place = F.struct(record.alias("record"), F.input_file_name().alias("file"))
    return frame.withColumns({RECORD: F.when(reason.isNotNull(), place), MALFORMED: reason})


class MalformedRecords(Extract):
    """Keys of the extracts whose source may hold records that can't be used."""

    record_place: ClassVar[tuple[str, ...]] = ()
    """Those columns of a marked record that say where it was found."""

    on_malformed: Annotated[OnMalformed, one_of("fail", "null", "quarantine")] = "fail"
    """What happens to a malformed record: `fail` fails the run, `null` sets what can't be read to null, `quarantine`
    takes the record out.

    The records are counted, and the quarantine keeps each one as it came, with its position and the reason. A csv
    record with as many values as columns is put back together from its values: it may lack quotes, blanks that an
    option says to ignore, and the text that stands for null.
    """
    quarantine_path: Location | None = None
    """With `onMalformed` `quarantine`: the Delta table for those records; by default next to the first sink."""

    def may_be_malformed(self) -> bool:
        """Whether the source, read as the config says, can hold such records at all."""
        return True

    def quarantines_bad_records(self) -> bool:
        return self.on_malformed == "quarantine" and self.may_be_malformed()

    def quarantine(self) -> str | None:
        return self.quarantine_path

    def counts_malformed(self) -> bool:
        return self.on_malformed == "null" and self.may_be_malformed()

    def bad_records(self, frame: DataFrame) -> BadRecords | None:
        from pyspark.sql import functions as F

        if not self.quarantines_bad_records():
            return None
        reason = F.col(MALFORMED).alias("reason")
        return BadRecords(frame.filter(reason.isNotNull()).select(f"{RECORD}.*", reason), self.quarantine_path)

    def accepted(self, frame: DataFrame) -> DataFrame:
        from pyspark.sql import functions as F

        if MALFORMED not in frame.columns:
            return frame
        reason = F.col(MALFORMED)
        if self.on_malformed == "quarantine":
            frame = frame.filter(reason.isNull())
        if self.on_malformed == "fail":
            place = (F.concat_ws(" ", F.lit(name), F.col(f"{RECORD}.{name}")) for name in self.record_place)
            told = F.concat(F.lit(f"{MALFORMED_RECORD}: "), reason, F.lit(": "), F.concat_ws(", ", *place))
            frame = frame.filter(F.when(reason.isNotNull(), F.raise_error(told).cast("boolean")).otherwise(F.lit(True)))
        return frame.drop(MALFORMED, RECORD)
