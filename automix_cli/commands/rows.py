"""What commands that work on rows do alike: pick, continue an earlier run, show the bar, say how it ended."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from msgspec import Struct

from automix_cli.errors import BudgetError, UsageError
from automix_cli.streams import stdout
from automix_cli.texts import count_of
from automix_cli.views.stops import stop_error
from automix_cli.views.terminal import Reporter, row_progress

if TYPE_CHECKING:
    from automix_cli.cascade.jobs import Ending, RowJob
    from automix_cli.data.destination import Destination
    from automix_cli.data.output import EarlierRows
    from automix_cli.data.shards import Shard
    from automix_cli.data.sources import Rows
    from automix_cli.records import RowError

T = TypeVar("T")


def pick_rows(
    rows: Rows,
    *,
    output: Path | None,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    strict: bool = False,
    shard: Shard | None = None,
) -> Rows:
    """The rows that are wanted, checked as far as they can be before anything is spent.

    Raises:
        UsageError: the options exclude each other, or the input would be overwritten.
        DataError: a line is refused.
    """
    from automix_cli.data.destination import check_other_file

    rows = rows.pick(limit=limit, sample=sample, seed=seed, shard=shard)
    check_other_file(rows.fd, output)
    rows.check(strict=strict)
    return rows


def destination_of(
    rows: Rows | None, output: Path | None, *, schema: str, profile_sha: str, force: bool, resume: bool
) -> Destination:
    """Where rows go, checked before anything is spent; under --resume with those of an earlier run.

    `rows` is None where there is a single question.

    Raises:
        UsageError: the options do not allow it, or the earlier rows are of another input.
        DataError: the file holds other rows than those of `schema`, or those of another profile.
    """
    from automix_cli.data.destination import Destination

    if resume:
        earlier = _earlier_rows(rows, output, schema, profile_sha, force=force)
        return Destination(path=output, force=force, earlier=earlier)
    destination = Destination(path=output, force=force)
    destination.check()
    return destination


def check_destination(source: object, output: Path | None, *, force: bool, resume: bool) -> None:
    """Refuse, in a dry run, the options that `destination_of` refuses; no file is opened.

    Raises:
        UsageError: the options exclude each other, or the file exists.
    """
    from automix_cli.data.destination import Destination
    from automix_cli.data.sources import Rows

    if resume:
        _check_resume(source if isinstance(source, Rows) else None, output, force=force)
    else:
        Destination(path=output, force=force).check()


def _check_resume(rows: Rows | None, output: Path | None, *, force: bool) -> Path:
    """The file of an earlier run.

    Raises:
        UsageError: the options do not allow to go on with one.
    """
    if rows is None or output is None:
        raise UsageError("--resume goes with rows and -o FILE")
    if force:
        raise UsageError("--resume keeps rows and --force drops them: they exclude each other")
    return output


def _earlier_rows(
    rows: Rows | None, output: Path | None, schema: str, profile_sha: str, *, force: bool
) -> EarlierRows:
    """What an earlier run wrote, opened and locked."""
    from automix_cli.data.output import EarlierRows

    output = _check_resume(rows, output, force=force)
    earlier = EarlierRows(output, profile_sha, schema)
    _check_shard(earlier, "" if rows is None or rows.shard is None else str(rows.shard))
    ids = None if rows is None else rows.all_ids()
    if ids is not None and earlier.ids and not any(ident in ids for ident in earlier.ids):
        earlier.close()
        raise UsageError(
            f"{output}: holds rows of another input: no id in common",
            hint="another -o, or --force to start anew",
        )
    return earlier


def _check_shard(earlier: EarlierRows, shard: str) -> None:
    """Refuse to go on with the file of another shard: its rows would be dropped.

    Raises:
        UsageError: naming both.
    """
    others = earlier.shards - {shard}
    if not others:
        return
    earlier.close()
    other = min(others)
    raise UsageError(
        f"{earlier.path}: holds rows of {f'shard {other}' if other else 'no shard'}",
        hint=f"{f'--shard {other}' if other else 'no --shard'}, another -o, or --force to start anew",
    )


# ---------------------------------------------------------------- run


class RowTally(Protocol):
    """What a batch came to, as far as its end depends on it."""

    @property
    def rows(self) -> int:
        """Rows that were worked on."""
        ...

    @property
    def spent_usd(self) -> float | None:
        """Dollars paid; None where a price is unknown."""
        ...

    @property
    def skipped(self) -> int:
        """Rows that a cap left undone."""
        ...

    @property
    def errors(self) -> int:
        """Rows that failed."""
        ...


class RowRun(Struct, frozen=True):
    """One run over rows: where they come from, where they go, and what is shown of them.

    `note` is the text beside the bar and `summary` the lines at the end, both given the seconds so far;
    `summary` is told, too, whether the run came to all rows.
    `is_cached` says whether completions are kept for another run.
    """

    rows: Rows
    destination: Destination
    reporter: Reporter
    tally: RowTally
    note: Callable[[float], str]
    summary: Callable[[float, bool], Iterable[str]]
    is_cached: bool = True

    async def run(
        self,
        job: RowJob[T],
        on_result: Callable[[T], None] = lambda result: None,
        *,
        ordered: bool = True,
    ) -> Ending[T]:
        """Work on the rows; the summary is shown however the run ends, unless the reader went away."""
        start, ending, has_reader = time.monotonic(), None, True
        try:
            bar = row_progress(self.reporter, self.rows.total, self.note, rows_shown=self._rows_shown())
            with rare_collection(), bar as advance:

                def take(result: T) -> None:
                    on_result(result)
                    advance()

                ending = await job.run(
                    self.rows, self.destination, say=self.reporter.say, on_result=take, ordered=ordered
                )
        except BrokenPipeError:
            has_reader = False
            raise
        finally:
            if has_reader:
                is_whole = ending is not None and not (ending.early or self.tally.skipped)
                self._conclude(start, whole=is_whole)
        return ending

    def _rows_shown(self) -> bool:
        """Whether rows appear on the terminal: a bar would run into them, and they show the progress."""
        out = stdout()
        return self.destination.path is None and out is not None and out.isatty()

    def _conclude(self, start: float, *, whole: bool) -> None:
        """Say what became of the rows, and how to go on where some are left."""
        from automix_cli.views import lines

        if self.destination.earlier is not None:
            self.reporter.say(lines.resume_line(self.destination.earlier))
        for line in self.summary(time.monotonic() - start, whole):
            self.reporter.say(line)
        if not whole and (left := self._rows_left()):
            self.reporter.say(f"{count_of(left, 'row')} not started")
        if not whole and not self.rows.is_pipe and self.destination.path is not None:
            self.reporter.say(f"go on with: {resume_command()}")

    def _rows_left(self) -> int:
        """How many rows the run did not come to; 0 where nobody knows how many there are."""
        earlier = self.destination.earlier
        count = self.tally.rows + (0 if earlier is None else earlier.kept_rows)
        return 0 if self.rows.total is None else max(0, self.rows.total - count)

    def exit_code(self, ending: Ending[Any]) -> int:
        """That of a signal, else 3 where some rows are errors.

        Raises:
            AutomixError: an error ended the run.
            BudgetError: rows were skipped.
        """
        if ending.signals:
            return ending.exit_code
        errors: list[RowError | None] = [getattr(stop, "error", None) for stop in ending.stops]
        if (stop := stop_error([e for e in errors if e is not None], self.tally.spent_usd)) is not None:
            stop.hint = stop.hint or "the rows written so far are complete"
            raise stop
        if self.tally.skipped:
            raise BudgetError(
                f"stopped by --max-cost: {count_of(self.tally.skipped, 'row')} skipped",
                hint=self._more_words(),
            )
        return 3 if self.tally.errors else 0

    def _more_words(self) -> str:
        """What becomes of the rows that are done, when the command is run again with a higher cap."""
        if self.is_cached:
            return "run it again with more: what is done is in the cache and costs nothing"
        if self.rows.is_pipe or self.destination.path is None:
            return "run it again with more: without a cache (--no-cache) every row is paid for again"
        again = "calls of the others are not cached (--no-cache), and are paid for again"
        return f"run it again with more and --resume: rows that are done are kept; {again}"


_NEW_OBJECTS = 20_000
"""Objects made since, and still there, before Python looks for cycles among them; its own number is 700."""


@contextmanager
def rare_collection() -> Iterator[None]:
    """Look for cycles of objects more rarely: rows make few, and each look costs time.

    What was made before, modules above all, is not looked at again meanwhile.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def resume_command() -> str:
    """The command that goes on where this one stopped."""
    import shlex

    words = [a for a in sys.argv[1:] if a != "--force"]
    return shlex.join(["automix", *words, *([] if "--resume" in words else ["--resume"])])
