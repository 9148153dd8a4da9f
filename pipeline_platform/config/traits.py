"""What the engine has to know of a step that the step's frames do not tell."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Traits:
    """What a step is, with its config; each field is asked of one kind of step.

    The defaults are for a method that says nothing of itself: whatever it does, no row is lost or counted wrongly.
    They cost time or a row count, or refuse a pipeline with an error that says so.

    Args:
        is_stream: Extract: in a streaming pipeline it is a stream, by `read_stream`; without this it is a dataset that
            `read` reads anew for each micro-batch, and a pipeline that has no stream is refused.
        is_repeatable: Extract: a frame that is read twice in a run gives the same rows, whatever happens to the dataset
            meanwhile. Without this, a frame is kept from its validation to its load, so that what is loaded is what was
            validated.
        pushes_down_filters: Extract: the source may carry out a filter that follows, and not read all rows; then they
            are not counted. Without this, they are all read and counted.
        checks_micro_batches: Extract: `check_micro_batch` is asked before each micro-batch of a stream, which therefore
            does not go by Spark's own sink.
        asks_first: Extract: `settled` is asked before it is read, and again after a failure.
        may_lose_data: Extract: a stream is to go on where part of what it would have read is gone. Without this, it
            ends.
        is_stateful: Transform: what comes of a row may depend on other rows of its frame. Such a step has to see all
            rows of a stream, not those of one micro-batch, and its config may not change under a checkpoint.
        is_join: Transform: rows of one input are brought together with rows of another. The same holds for it where
            more than one of its inputs is a stream.
        keeps_row_count: Transform: the output always has exactly as many rows as its one input, so that they are
            counted once. Without this, they are counted after it too.
        keeps_rows: Transform: each row of the output is one of its one input, and differs from it at most in the
            columns of `expressions`. Then a validation before it looks at the rows of the run's partition alone;
            without this, at all that were read.
        filters_rows: Transform: it is a filter that Spark may hand on to the source; see `pushes_down_filters`.
        sets_watermark: Transform: it sets a watermark on its input.
        has_limit: Transform: it may leave rows of its inputs unread, as a LIMIT does; then they are not counted.
        looks_at_rows: Validate: the rules are about single rows, which can be quarantined and of which a share can be
            tolerated. Without this, they are about the frame as a whole, and a broken one is never tolerated.
        reports_rows: Load: the sink says how many rows of the frame it took. Without this, they are counted on the way.
        fails_whole: Load: a write that fails at a row, however late, leaves the sink as it was. Then a validation right
            before it may stop it by the first row that breaks a rule. Without this, all rows are validated before it
            begins.
        replaces_partitions: Load: mode `overwrite` replaces the rows of `LoadRun.rows` and no others. Without this, a
            pipeline with partitions is refused.
        remembers_rows: Load: what `prepare` returns says in `past_rows` how many rows the loads before had.
        can_be_continuous: Load: Spark can hand rows on to the sink one by one.
        needs_own_jvm: Load: part of it is done in a JVM of this process, so that a run with it does not use the
            machine's Spark server.
        loads_once: Load: a load that is repeated under its load id, in another process and later, changes nothing.
            Without this, no quarantine is replayed into it.
    """

    is_stream: bool = False
    is_repeatable: bool = False
    pushes_down_filters: bool = False
    checks_micro_batches: bool = True
    asks_first: bool = False
    may_lose_data: bool = False

    is_stateful: bool = True
    is_join: bool = True
    keeps_row_count: bool = False
    keeps_rows: bool = False
    filters_rows: bool = False
    sets_watermark: bool = False
    has_limit: bool = True

    looks_at_rows: bool = False

    reports_rows: bool = False
    fails_whole: bool = False
    replaces_partitions: bool = False
    remembers_rows: bool = False
    can_be_continuous: bool = False
    needs_own_jvm: bool = False
    loads_once: bool = False
