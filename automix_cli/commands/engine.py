"""`ask --engine ray`: the shards of a file on the workers of a cluster, and their rows in one file."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from automix_cli.api import CallOptions, choose_profile, router_notes, shadow_plan
from automix_cli.commands.merge import merge_line, write_merged
from automix_cli.commands.rows import pick_rows, resume_command
from automix_cli.errors import AutomixError, BudgetError, UsageError
from automix_cli.library.option_checks import check_baseline
from automix_cli.texts import count_of
from automix_cli.views.terminal import Reporter, share_progress

if TYPE_CHECKING:
    from automix_cli.data.sources import Form, Rows
    from automix_cli.profile.model import Profile
    from automix_cli.serving.shard_task import ShardOutcome, ShardTask
    from automix_cli.serving.sharded_run import ShardedRun, WorkerPool


class EngineRun(Struct, frozen=True, kw_only=True):
    """What `ask` was told, as far as it concerns a run on many workers."""

    source: Rows
    output: Path
    calls: CallOptions
    reporter: Reporter
    form: Form = "auto"
    columns: str | None = None
    limit: int | None = None
    sample: int | None = None
    strict: bool = False
    force: bool = False
    resume: bool = False
    shards: int | None = None

    @property
    def folder(self) -> Path:
        """Where the shards' own files are until the run is finished."""
        return self.output.with_name(f"{self.output.name}.shards").absolute()

    def run(self, pool: WorkerPool, workers: int) -> int:
        """Run all shards on a pool, and put their rows together; returns the exit code.

        Raises:
            UsageError: options, input or an earlier run do not allow it; nothing was spent.
            AutomixError: an error ended the run, or shards were given up.
            BudgetError: rows were skipped.
        """
        profile = choose_profile(self.calls)
        check_baseline(self.calls.baseline, [tier.name for tier in profile.tiers])
        shadow_plan(profile, self.calls)
        for line in router_notes(profile):
            self.reporter.once(line)
        with _lock(self.folder, self._shard_count(profile, workers), profile.sha) as count:
            tasks = self._tasks(profile, count)
            for line in _cap_notes(tasks):
                self.reporter.once(line)
            outcomes, ending = self._work(pool, tasks)
            return self._conclude(tasks, outcomes, ending)

    def on_ray(self) -> int:
        """Run on the workers of Ray; see `run`."""
        from automix_cli.serving.ray_pool import RayPool

        pool = RayPool()
        try:
            return self.run(pool, pool.workers)
        finally:
            pool.close()

    # ------------------------------------------------------------ before anything is spent

    def check(self) -> None:
        """Refuse a run that would overwrite something, or has nothing to go on with.

        Raises:
            UsageError: naming the file, and what to do.
        """
        from automix_cli.data.destination import Destination

        if self.resume and self.force:
            raise UsageError("--resume keeps rows and --force drops them: they exclude each other")
        if not self.resume:
            Destination(path=self.output, force=self.force).check()
        if self.folder.exists() and not (self.resume or self.force):
            hint = "--resume goes on with it, --force starts anew"
            raise UsageError(f"{self.folder}: holds the shards of an earlier run", hint=hint)
        if self.resume and not self.folder.exists() and self.output.exists():
            hint = "automix ask --resume, without --engine, does again what failed; --force starts anew"
            raise UsageError(f"{self.output}: its run is finished, and its shards are gone", hint=hint)

    def _shard_count(self, profile: Profile, workers: int) -> int:
        """The number of shards: that of the earlier run, else as many as told, else as workers."""
        state = _read_state(self.folder)
        if self.force and state is not None:
            shutil.rmtree(self.folder)
            state = None
        if state is None:
            return self.shards or workers
        count, sha = state
        if self.shards not in (None, count):
            problem = f"{self.folder}: holds {count_of(count, 'shard')}, not {self.shards}"
            raise UsageError(problem, hint=f"--shards {count}, or --force to start anew")
        if sha != profile.sha:
            problem = f"{self.folder}: was written with another profile or other settings"
            raise UsageError(problem, hint="use that profile, another -o, or --force")
        return count

    def _tasks(self, profile: Profile, count: int) -> list[ShardTask]:
        """A task for every shard that has rows, each with its share of the cap."""
        from automix_cli.data.shards import Shard
        from automix_cli.serving.shard_task import InputFile, ShardTask

        rows = pick_rows(
            self.source,
            output=self.output,
            limit=self.limit,
            sample=self.sample,
            seed=self.calls.seed,
            strict=self.strict,
            shard=Shard(0, count),
        )
        source = InputFile(
            path=Path(self.source.name).absolute(),
            size=os.fstat(self.source.fd).st_size,
            form=self.form,
            columns=self.columns,
            limit=self.limit,
            sample=self.sample,
            seed=self.calls.seed,
            rows=rows.count or 0,
        )
        stop = self.folder / "stop"
        stop.unlink(missing_ok=True)
        stamps = [stamp for stamp in map(rows.stamp_of, range(count)) if stamp.rows]
        return [
            ShardTask(
                folder=self.folder,
                stamp=stamp,
                profile=_with_share(profile, (stamp.rows or 0) / (stamp.input_rows or 1)),
                options=replace(self.calls, max_cost=None),
                source=source,
                stop=stop,
                cache=os.environ.get("AUTOMIX_CACHE_DIR"),
            )
            for stamp in stamps
        ]

    # ------------------------------------------------------------ the run

    def _work(self, pool: WorkerPool, tasks: Sequence[ShardTask]) -> tuple[list[ShardOutcome], list[int]]:
        """Run all tasks; the outcomes, and the signals that came meanwhile."""
        from automix_cli.serving.sharded_run import ShardedRun

        if not tasks:
            return [], []
        total, last = max(1, tasks[0].stamp.input_rows or 0), [0]
        self.reporter.say(f"{count_of(total, 'row')} in {count_of(len(tasks), 'shard')}: {self.folder}")
        with share_progress(self.reporter, "of the rows") as advance:

            def show(rows: int) -> None:
                if rows > last[0]:
                    advance((rows - last[0]) / total)
                    last[0] = rows

            run = ShardedRun(pool, tasks, say=self.reporter.once, on_rows=show)
            with _signals(run, self.reporter) as ending:
                return run.run(), ending

    def _conclude(
        self, tasks: Sequence[ShardTask], outcomes: Sequence[ShardOutcome], signals: Sequence[int]
    ) -> int:
        """Put the rows together where all are there; else say how to go on."""
        from automix_cli.serving.merge import Merge

        failures = [outcome for outcome in outcomes if outcome.message]
        if signals or not all(outcome.complete for outcome in outcomes):
            go_on = f"go on with: {resume_command()}"
            if signals and not any(outcome.exit_code for outcome in failures):
                self.reporter.say(go_on)
                return 128 + signals[0]
            worst = max(failures, key=lambda outcome: outcome.exit_code)
            problem = AutomixError(
                f"stopped: {worst.message}", hint="\n".join(filter(None, (worst.hint, go_on)))
            )
            problem.exit_code = worst.exit_code or 1
            raise problem
        merging = Merge([task.output for task in tasks])
        write_merged(merging, self.output, self.reporter, force=self.force or self.resume)
        self.reporter.say(merge_line(merging))
        return self._end(merging.statuses["error"], merging.statuses["skipped"])

    def _end(self, errors: int, skipped: int) -> int:
        """Remove the shards, unless rows are left to be done again."""
        if not errors and not skipped:
            shutil.rmtree(self.folder)
            return 0
        self.reporter.say(f"to do {count_of(errors + skipped, 'row')} again: {resume_command()}")
        if skipped:
            raise BudgetError(
                f"stopped by --max-cost: {count_of(skipped, 'row')} skipped",
                hint="run it again with --resume and more: what is done costs nothing",
            )
        return 3


def _cap_notes(tasks: Sequence[ShardTask]) -> Iterator[str]:
    """What the cap of the shard with the least share of it keeps from being asked."""
    from automix_cli.cascade.cap_notes import cap_notes

    caps = [(task.profile.limits.max_cost, task.profile) for task in tasks]
    least = min(((cap, profile) for cap, profile in caps if cap is not None), default=None, key=itemgetter(0))
    if least is not None:
        yield from (f"of a shard: {line}" for line in cap_notes(least[1]))


def _with_share(profile: Profile, share: float) -> Profile:
    """The profile, with a share of its cap."""
    if profile.limits.max_cost is None:
        return profile
    return replace(profile, limits=replace(profile.limits, max_cost=profile.limits.max_cost * share))


@contextmanager
def _lock(folder: Path, count: int, sha: str) -> Iterator[int]:
    """The folder of shards, for one run at a time; yields the number of shards that it is for.

    Raises:
        UsageError: another process runs them, or it cannot be written.
    """
    from automix_cli.data.output import open_output

    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        raise UsageError(f"{folder}: cannot be written: {exc.strerror}") from exc
    with ExitStack() as stack:
        stack.enter_context(open_output(folder / "lock", force=True))
        state = folder / "run.json"
        if not state.exists():
            state.write_text(json.dumps({"shards": count, "profile_sha": sha}), encoding="utf-8")
        yield count


def _read_state(folder: Path) -> tuple[int, str] | None:
    """The number of shards and the profile of an earlier run; None where there is none.

    Raises:
        UsageError: the folder holds something else.
    """
    if not folder.exists():
        return None
    try:
        state = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return int(state["shards"]), str(state["profile_sha"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise UsageError(f"{folder}: holds no shards of a run", hint="another -o, or remove it") from exc


@contextmanager
def _signals(run: ShardedRun, reporter: Reporter) -> Iterator[list[int]]:
    """First Ctrl-C, SIGTERM or SIGHUP: workers finish the rows at work; second: they are ended.

    Yields the list that grows by every signal received.
    """
    numbers: list[int] = []

    def stop(number: int, frame: object) -> None:
        numbers.append(number)
        if len(numbers) > 1:
            run.drop()
            return
        reporter.say("stopping: the workers finish the rows they are at work on; again ends them at once")
        run.stop()

    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {kind: signal.getsignal(kind) for kind in kinds}
    for kind in kinds:
        if before[kind] != signal.SIG_IGN:
            signal.signal(kind, stop)
    try:
        yield numbers
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
