"""`python -m devtools.mutants`: small wrong changes, each of which the tests have to find.

Each is made in a copy of the checkout, and the tests of its subject are run there until the first fails. With `--only
TEXT` those alone are made whose file or change has that text.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = "pipeline_platform_tests"


@dataclass(frozen=True)
class Mutant:
    """A wrong change.

    Args:
        file: The module, below `pipeline_platform`.
        old: What stands there once.
        new: What is put in its place.
        tests: Where the tests of the subject are, below `pipeline_platform_tests`.
    """

    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _of(file: str, tests: str, *changes: tuple[str, str]) -> Iterator[Mutant]:
    for old, new in changes:
        yield Mutant(file, old, new, tuple(tests.split()))


MUTANTS: tuple[Mutant, ...] = (
    # Supervision.
    *_of(
        "orchestration/supervisor.py",
        "orchestration/test_supervisor.py",
        ("watch.restarts >= options.max_restarts", "watch.restarts > options.max_restarts"),
        ("seen.request.at > watch.since", "seen.request.at < watch.since"),
        ('watch if place == watch.place else watch.model_copy(update={"place": place, "restarts": 0})', "watch"),
        ("2 ** min(watch.restarts, _MOST_DOUBLINGS)", "2"),
        ("watch.start_at is not None and now < watch.start_at", "watch.start_at is not None and now > watch.start_at"),
        ('restarts = watch.restarts if watch.phase == "requested" else 0', "restarts = watch.restarts"),
    ),
    # The batch engine.
    *_of(
        "engine/batch.py",
        "engine/test_retry.py",
        ("- maintained >= retry.max_attempts", "- maintained >= 1"),
        ("retry_if_exception(is_transient)", "retry_if_exception(lambda _: True)"),
        ("        self._forget_attempt()\n", ""),
        (' if step.type != "load"]', "]"),
    ),
    *_of(
        "engine/counting.py",
        "engine/test_counting.py",
        ('metrics["tasks"] == len(metrics["partitions"])', "True"),
        ('other.type == "transform" and other.traits.has_limit', "False"),
        ('if other.type == "transform" and other.traits.filters_rows:', "if False:"),
        ("            # What comes after it gets fewer rows.\n            break", "            pass"),
    ),
    *_of(
        "engine/validation.py",
        "engine/test_validation.py validations engine/test_validation_conservation.py",
        ("self.flagged.filter(~any_flag(self._quarantine_flags()))", "self.flagged"),
        ("F.col(TAKEN_BY).isin(*steps)", "F.lit(True)"),
        ("F.count_if(broken).alias(planned.flag)", "F.count_if(~broken).alias(planned.flag)"),
    ),
    *_of(
        "engine/cancellation.py",
        "engine/test_cancellation.py",
        ("        stop.cancel()\n", ""),
        ("        spark.interruptAll()\n", ""),
    ),
    # Streams.
    *_of(
        "engine/streaming/stream_sinks.py",
        "engine/streaming/test_stream_sinks.py engine/streaming/test_stream_accidents.py",
        ("sink.last > position.planned", "sink.last > position.planned + 1"),
        ("        elif index in empty:", "        elif False:"),
    ),
    *_of(
        "engine/streaming/other_streams.py",
        "engine/streaming/test_stream_accidents.py",
        ("before is None or not before.has_begun or before.checkpoint != checkpoint.uri", "True"),
    ),
    *_of(
        "engine/streaming/stream_state.py",
        "engine/streaming/test_stream_state.py orchestration/test_supervisor.py",
        ("now - self.heartbeat > timedelta", "now - self.heartbeat < timedelta"),
    ),
    # Maintenance.
    *_of(
        "connectors/delta/log_files.py",
        "engine/maintenance/test_upkeep.py",
        ("max(commits) - COMMITS_LOOKED_AT", "max(commits)"),
        ("first_young - 1, ", ""),
        ("file.last_version < checkpoint", "file.last_version <= checkpoint"),
    ),
    *_of(
        "connectors/delta/upkeep.py",
        "engine/maintenance/test_upkeep.py",
        ("return max(wanted, found) if found is not None else wanted", "return wanted"),
        ("if count > 1", ""),
    ),
    *_of(
        "connectors/delta/upkeep.py",
        "engine/maintenance/test_readers.py",
        ("if not _PLAIN_PATH.fullmatch(path)", "if False"),
    ),
    *_of(
        "engine/maintenance/upkeep.py",
        "engine/maintenance/test_upkeep.py",
        ("        require_readers_kept(log, table.version(), readers, kept)\n", ""),
        ("        _require_nothing_inside(uri, self.pipelines)\n", ""),
        ("return rewriting if is_new else None", "return rewriting"),
        ("with FileLock(", "with __import__('contextlib').nullcontext(True) if True else FileLock("),
    ),
    *_of(
        "engine/maintenance/readers.py",
        "engine/maintenance/test_readers.py",
        ("    if reader.version >= latest:", "    if reader.version >= latest - 5:"),
        ("if removed is None or removed >= kept.files_from + _MARGIN:", "if removed is None:"),
        ("state.pipeline not in names and uri in state.sources", "False"),
    ),
    *_of(
        "engine/streaming/micro_batches.py",
        "engine/maintenance/test_beside_loads.py",
        ("stop=stop_after_attempt(MAINTENANCE_ATTEMPTS)", "stop=stop_after_attempt(1)"),
    ),
    # Files.
    *_of(
        "connectors/files/committer.py",
        "connectors/files/test_committer.py",
        (
            "        if self._record.exists():\n            return LoadResult",
            "        if False:\n            return LoadResult",
        ),
        ("max((int(number)", "min((int(number)"),
        ("                held.require()\n", ""),
    ),
    *_of(
        "connectors/files/csv_format.py",
        "connectors/files/test_source.py",
        ('"unescapedQuoteHandling": "RAISE_ERROR"', '"unescapedQuoteHandling": "STOP_AT_DELIMITER"'),
        ('"charToEscapeQuoteEscaping": dialect.escape,', ""),
    ),
    *_of(
        "connectors/files/text_values.py",
        "connectors/files/test_source.py",
        ("F.length(fraction) <= kind.scale", "F.length(fraction) <= kind.scale + 1"),
        ("        .when(is_whole, F.lit(4))", "        .when(is_whole, F.lit(8))"),
    ),
    *_of(
        "frames/exact_json.py",
        "frames/test_json_values.py",
        ("read.between(-128, 127)", "read.between(-128, 128)"),
    ),
    *_of(
        "frames/json_values.py",
        "frames/test_json_values.py",
        ("is_broken = text.isNotNull() & F.try_parse_json(_in_array(text)).isNull()", "is_broken = F.lit(False)"),
    ),
    *_of(
        "frames/widening.py",
        "frames/test_widening.py",
        ("wanted.scale >= found.scale and", "True and"),
        ("isinstance(found, T.AtomicType) and not isinstance(found, T.BinaryType)", "True"),
    ),
    # Systems.
    *_of(
        "connectors/delta/write.py",
        "connectors/delta/test_sink.py",
        ("done is not None and done >= self._version", "False"),
        ("source = with_unique_keys(frame, self.how.merge_keys)", "source = frame"),
    ),
    *_of(
        "connectors/delta/merge.py",
        "connectors/delta/test_sink.py",
        ("target.{quoted(key)} <=> source.{quoted(key)}", "target.{quoted(key)} = source.{quoted(key)}"),
    ),
    *_of(
        "connectors/jdbc/sink.py",
        "connectors/jdbc/test_sinks.py connectors/jdbc/test_postgres.py",
        ("            if finished is not None:\n                return finished\n", ""),
        ("                self._require_mode(place)\n                load", "                load"),
    ),
    *_of(
        "steps/known_files.py",
        "steps/test_known_files.py",
        ("changed += [file] if not file.is_as(mark) else []", "changed += []"),
        ("(file.modified, file.key) <= forgotten", "False"),
        ("file.modified < begin", "False"),
    ),
    *_of(
        "connectors/kafka/values.py",
        "connectors/kafka/test_registry.py",
        ("return parsed.when(~unreadable, F.raise_error(told))", "return parsed"),
    ),
    # Files of a project.
    *_of(
        "config/defaults.py",
        "config/test_defaults.py",
        ("if key not in written)", "if True)"),
    ),
    *_of(
        "credentials/run_credentials.py",
        "credentials/test_run_credentials.py",
        ("self.vault_required and need.has_secrets()", "False"),
    ),
    # Transforms.
    *_of(
        "transforms/deduplicate.py",
        "transforms/test_deduplicate.py",
        ("F.col(_PLACE) == 1", "F.col(_PLACE) <= 2"),
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("--only", default="", help="those alone whose file or change has this text")
    only = parser.parse_args(arguments).only
    chosen = [mutant for mutant in MUTANTS if only in f"{mutant.file} {mutant.old}"]
    for mutant in chosen:
        found = (ROOT / "pipeline_platform" / mutant.file).read_text().count(mutant.old)
        if found != 1:
            raise SystemExit(f"{mutant.file} has {found} times, and not once: {mutant.old}")
    print("| file | change | killed | s |\n|---|---|---|---|", flush=True)
    killed = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        copy = Path(name) / "checkout"
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for file in filter(None, tracked.split("\0")):
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, copy / file)
        for mutant in chosen:
            began = time.monotonic()
            is_killed = _is_killed(mutant, copy)
            killed += is_killed
            change = f"`{' '.join(mutant.old.split())[:70]}` → `{' '.join(mutant.new.split())[:50]}`"
            told = "yes" if is_killed else "**no**"
            print(f"| {mutant.file} | {change} | {told} | {time.monotonic() - began:.0f} |", flush=True)
    print(f"\n{killed} of {len(chosen)} killed")


def _is_killed(mutant: Mutant, copy: Path) -> bool:
    path = copy / "pipeline_platform" / mutant.file
    text = path.read_text()
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        tests = [f"{TESTS}/{test}" for test in mutant.tests]
        # What is installed is the checkout: programs that tests start would run that.
        environment = {**os.environ, "PYTHONPATH": str(copy)}
        command = [sys.executable, "-m", "pytest", "-q", "-x", *tests]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    finally:
        path.write_text(text)
    if done.returncode not in (0, 1):
        raise SystemExit(f"the tests of {mutant.file} could not be run:\n{done.stdout[-2000:]}")
    return done.returncode == 1


if __name__ == "__main__":
    main()
