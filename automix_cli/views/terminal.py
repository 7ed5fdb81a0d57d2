"""The terminal: results on stdout, messages on stderr, the progress bar. Nothing here computes a result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO, cast

from automix_cli.data.jsonl import dumps
from automix_cli.errors import redact
from automix_cli.records import Json
from automix_cli.streams import messages_through, stderr, stdout

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from automix_cli.cascade.break_even import BreakEven
    from automix_cli.profile.model import Profile


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
            print(unbroken(redact(text), width_of(stderr())), file=stderr(), flush=True)
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
        err = stderr()
        is_seen = err is not None and err.isatty() and os.environ.get("TERM") != "dumb"
        return is_seen and not self.quiet


def width_of(stream: TextIO | None) -> int | None:
    """The columns of a terminal; None where a stream is none, or does not tell."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns if stream and stream.isatty() else 0
    except (OSError, ValueError):
        return None
    return columns if columns >= 20 else None


_UNIT_GAP = "\x00"
_BOUND = r"(?:a (?:gain|loss) of (?:under )?[\d.]+|no loss)"
_INTERVAL = (
    rf"(?:from )?{_BOUND} to (?:{_BOUND}|[\d.]+)"
    r"|[-+$]?\d[\d.,]* to [-+$]?\d[\d.]*(?: points)?"
    r"|± [\d.]+(?: points)?"
)


def unbroken(text: str, width: int | None) -> str:
    r"""The text in lines that fit, cut between words; the terminal itself would cut words in two.

    A word that is longer than a line stays whole: it may be an address. An interval stays in one line. Lines
    that fit stay as they are; a command to be copied goes on behind a backslash, before an option. What is
    cut off a line is indented as the line is.

    Example:
        >>> unbroken("automix calibrate replaces this", 20)
        'automix calibrate\nreplaces this'
        >>> unbroken("it saved 49.4 %", 15)
        'it saved\n49.4 %'
        >>> unbroken("by confidence: 0.88→0.97 (115)", 30)
        'by confidence:\n0.88→0.97 (115)'
        >>> unbroken("loses 0.6 points (95 %: 0.5 to 0.6 points)", 36)
        'loses 0.6 points (95 %:\n0.5 to 0.6 points)'
        >>> print(unbroken("use it: automix calibrate a.jsonl --labels b.jsonl", 30))
        use it:
          automix calibrate a.jsonl \
            --labels b.jsonl
        >>> unbroken("  small: buys 8 votes, or none", 20)
        '  small: buys 8\n  votes, or none'
    """
    if width is None:
        return text
    import re
    import textwrap

    gap = r"(?<=\d) (?=[%×]|\(\d+\)(?: |$))"  # a number stays with its unit, and with a count in brackets
    text = re.sub(gap, _UNIT_GAP, text, flags=re.MULTILINE)
    text = re.sub(_INTERVAL, lambda match: match[0].replace(" ", _UNIT_GAP), text)
    return "\n".join(
        part
        for line in text.split("\n")
        for part in (
            [line]
            if len(line) < width
            else _command_lines(line)
            if ": automix " in line
            else textwrap.wrap(
                line,
                width - 1,
                subsequent_indent=line[: len(line) - len(line.lstrip())],
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    ).replace(_UNIT_GAP, " ")


def _command_lines(line: str) -> list[str]:
    """A command to be copied, on lines of its own; whole where a backslash might stand within quotes."""
    import re

    head, command = line.split(": automix ", 1)
    if "'" in command or '"' in command or "#" in command:
        return [line]
    first, *options = re.split(r" (?=--[a-z])", f"automix {command}")
    parts = [f"  {first}", *(f"    {option}" for option in options)]
    return [f"{head}:", *(f"{part} \\" for part in parts[:-1]), parts[-1]]


def print_text(text: str) -> None:
    """Print text on stdout, if there is one; on a terminal its lines are cut between words."""
    out = stdout()
    print(unbroken(text, width_of(out)), file=out, flush=True)


def print_words(text: str) -> None:
    """Print sentences on stdout, on a terminal in lines that are cut between words."""
    print_text(unbroken(text, width_of(stdout())))


def print_json(row: Json) -> None:
    """Print a value as one line of JSON on stdout, if there is one: in UTF-8, whatever the locale."""
    out = stdout()
    if out is not None:
        out.buffer.write(f"{dumps(row)}\n".encode())
        out.buffer.flush()


def show_plan(
    plan: Mapping[str, Any],
    as_json: bool,
    own: BreakEven | None = None,
    *,
    pays_back: bool = False,
    words: Iterable[str] = (),
    profile: Profile | None = None,
) -> None:
    """Show on stdout what a dry run found out.

    Args:
        plan: calls and dollars.
        as_json: whether it is written as JSON.
        own: what verification costs beside the last tier's answer.
        pays_back: whether the calls are to be paid back by what routing saves.
        words: what is planned for the questions.
        profile: that is followed; where it lacks a price, the line to add is shown.
    """
    from automix_cli.profile.unknown_prices import price_notes
    from automix_cli.views.break_even_words import break_even_line, payback_lines
    from automix_cli.views.lines import plan_lines

    if as_json:
        print_json({**plan, **({} if own is None else {"break_even": own.to_dict()})})
        return
    lines, usd = plan_lines(plan), plan["expected"]["usd"]
    if usd is None and profile is not None:
        lines[-1:-1] = price_notes(profile)
    lines[-1:-1] = words
    if own is not None:
        ends = plan["expected"].get("usd_range", ())
        payback = payback_lines(own, usd, ends) if pays_back and usd is not None else ()
        lines[-1:-1] = [break_even_line(own), *payback]
    print_words("\n".join(lines))


def print_parts(console: Console, parts: Iterable[Any]) -> None:
    """Print lines and tables; lines that are longer than a terminal is wide are cut between words."""
    width = width_of(stdout())
    for part in parts:
        if isinstance(part, str):
            console.print(unbroken(part, width), soft_wrap=True)
        else:
            console.print(part)


def stdout_console() -> Console:
    """A Rich console on stdout for tables; piped, it is as wide as it needs to be and has no colour."""
    from rich.console import Console

    class Tables(Console):
        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704 (called where the error is at hand; Rich itself would exit with 1)

    out = stdout() or open(os.devnull, "w")  # noqa: SIM115 (the caller closed stdout)
    wide = None if out.isatty() else 120
    console = Tables(file=out, highlight=False, markup=False, emoji=False, width=wide)
    if console.width < 1:  # COLUMNS=0
        console.width = 80
    return console


def stderr_console() -> Console:
    """A Rich console on stderr; it honours NO_COLOR and TERM=dumb by itself."""
    from rich.console import Console

    return Console(file=stderr(), highlight=False, markup=False, emoji=False)


@contextmanager
def row_progress(
    reporter: Reporter, total: int | None, note: Callable[[float], str], *, rows_shown: bool = False
) -> Iterator[Callable[[], None]]:
    """A bar that moves on by a row whenever the function it gives is called; silent off a terminal.

    `note` is the text beside the bar, given the seconds so far. There is no bar where the rows themselves
    are shown on the terminal.
    """
    if rows_shown or not reporter.shows_progress:
        yield lambda: None
        return
    console = stderr_console()
    with _row_bar(console) as bar, _messages_above(console):
        task, start = bar.add_task("", total=total, note=""), time.monotonic()
        yield lambda: bar.update(task, advance=1, note=note(time.monotonic() - start))


@contextmanager
def share_progress(reporter: Reporter, note: str) -> Iterator[Callable[[float], None]]:
    """A bar that moves on by the share of the work that the function is given; silent off a terminal."""
    if not reporter.shows_progress:
        yield lambda share: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = stderr_console()
    columns = BarColumn(bar_width=30), TaskProgressColumn(), TextColumn(note), TimeRemainingColumn()
    with (
        Progress(
            *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
        ) as bar,
        _messages_above(console),
    ):
        task = bar.add_task("", total=1.0)
        yield lambda share: bar.advance(task, share)


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
        redirect_stdout=False,  # what libraries print is not to be seen above the bar
        redirect_stderr=False,
    )


@contextmanager
def _messages_above(console: Console) -> Iterator[None]:
    """Show messages above what moves at the bottom of the terminal."""
    from rich.file_proxy import FileProxy

    with messages_through(cast(TextIO, FileProxy(console, console.file))):
        yield


@contextmanager
def name_status(reporter: Reporter) -> Iterator[Callable[[str], None]]:
    """Shows which of several things is at work: on a terminal beside a spinner, else under --verbose."""
    if not reporter.shows_progress:
        yield reporter.detail
        return
    from rich.live import Live
    from rich.spinner import Spinner

    console, spinner = stderr_console(), Spinner("dots")
    with (
        Live(
            spinner,
            console=console,
            refresh_per_second=12.5,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ),
        _messages_above(console),
    ):
        yield lambda name: spinner.update(text=name)
