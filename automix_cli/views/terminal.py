"""The terminal: messages on stderr, consoles for tables, the progress bar. Nothing here computes a result."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from automix_cli.errors import redact

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


@dataclass(slots=True)
class Reporter:
    """Messages for the person at the terminal: stderr, never stdout."""

    quiet: bool = False
    verbose: bool = False
    _once: set[str] = field(default_factory=set)

    def say(self, text: str) -> None:
        """Print a line, unless quiet; it may quote what a server said, and that may quote a key."""
        if self.quiet:
            return
        try:
            print(redact(text), file=sys.stderr, flush=True)
        except BrokenPipeError:
            raise
        except OSError:  # a full disk behind stderr: the results matter more than messages about them
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

    def once(self, text: str) -> None:
        """Print a line the first time only."""
        if text not in self._once:
            self._once.add(text)
            self.say(text)

    def detail(self, text: str) -> None:
        """Print a line only under --verbose."""
        if self.verbose:
            self.say(text)

    @property
    def shows_progress(self) -> bool:
        """Whether a progress bar can be seen."""
        return not self.quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def stdout_console() -> Console:
    """A Rich console on stdout for tables; piped, it is as wide as it needs to be and has no colour."""
    from rich.console import Console

    class Tables(Console):
        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704 (called where the error is at hand; Rich itself would exit with 1)

    out = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (the caller closed stdout)
    wide = None if out.isatty() else 120
    console = Tables(file=out, highlight=False, markup=False, emoji=False, width=wide)
    if console.width < 1:  # COLUMNS=0
        console.width = 80
    return console


def stderr_console() -> Console:
    """A Rich console on stderr; it honours NO_COLOR and TERM=dumb by itself."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


@contextmanager
def row_progress(
    reporter: Reporter, total: int | None, note: Callable[[float], str]
) -> Iterator[Callable[[], None]]:
    """A bar that moves on by a row whenever the function it gives is called; silent off a terminal.

    `note` is the text beside the bar, given the seconds so far.
    """
    if not reporter.shows_progress:
        yield lambda: None
        return
    with _row_bar(stderr_console()) as bar:
        task, start = bar.add_task("", total=total, note=""), time.monotonic()
        yield lambda: bar.update(task, advance=1, note=note(time.monotonic() - start))


def _row_bar(console: Console) -> Progress:
    """A progress bar for rows; each task carries a `note`."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


@contextmanager
def name_status(reporter: Reporter) -> Iterator[Callable[[str], None]]:
    """Shows which of several things is at work: on a terminal beside a spinner, else under --verbose."""
    if not reporter.shows_progress:
        yield reporter.detail
        return
    with stderr_console().status("") as status:
        yield lambda name: status.update(name)
