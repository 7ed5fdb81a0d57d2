"""The loop of `automix label` in a terminal: one row after the other, one key each."""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from types import FrameType
from typing import Any

from rich.console import Console
from rich.text import Text

from automix_cli.data.jsonl import printable
from automix_cli.data.label_cards import AnswerCard, LabelSession
from automix_cli.streams import stderr
from automix_cli.views.label_view import ANSWER_KEYS, CardText, card_text, keys_line
from automix_cli.views.terminal import stderr_console, unbroken

_ENTER = ("\r", "\n")
_AGAIN = "\x0c"  # Ctrl-L
_END = ("", "\x04", "q")  # a terminal that went away, Ctrl-D, and the key that says so


@contextmanager
def single_keys() -> Iterator[Callable[[], str]]:
    """Read keys one by one, unseen; the terminal is as it was afterwards, however that comes.

    Ctrl-C still interrupts, and Ctrl-Z stops. A terminal that goes away reads as "".
    """
    descriptor = sys.stdin.fileno()
    before, own = termios.tcgetattr(descriptor), termios.tcgetattr(descriptor)
    own[3] &= ~(termios.ICANON | termios.ECHO)

    def put(modes: list[Any]) -> None:
        with suppress(termios.error):  # the terminal went away
            termios.tcsetattr(descriptor, termios.TCSADRAIN, modes)

    with _signals_handled(restore=lambda: put(before), again=lambda: put(own)) as signals:
        try:
            put(own)
            termios.tcflush(descriptor, termios.TCIFLUSH)  # keys from before the first row label none
            yield lambda: _read_key(descriptor, signals)
        finally:
            put(before)


def _read_key(descriptor: int, signals: int) -> str:
    """The next key; "" where the terminal went away, and Ctrl-L after a stop: others wrote on it then.

    A signal may reach another thread, and leaves a read of this one waiting then: so that the descriptor of
    signals is read, too.
    """
    while True:
        ready, _, _ = select.select([descriptor, signals], [], [])
        if signals in ready and signal.SIGCONT in os.read(signals, 4096):
            return _AGAIN
        if descriptor not in ready:
            continue
        try:
            return os.read(descriptor, 1).decode("latin-1")
        except OSError as exc:
            if exc.errno != errno.EIO:
                raise
            return ""


@contextmanager
def _signals_handled(*, restore: Callable[[], None], again: Callable[[], None]) -> Iterator[int]:
    """Restore the terminal before a signal ends or stops us, and set it again after a stop.

    Gives a descriptor from which the number of every signal can be read.
    """
    ends = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    earlier = {number: signal.getsignal(number) for number in (*ends, signal.SIGTSTP)}

    def end(number: int, frame: FrameType | None) -> None:
        restore()
        handler = earlier[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def stop(number: int, frame: FrameType | None) -> None:
        restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # waits here until SIGCONT, which sets the terminal
        signal.signal(number, stop)

    for number, handler in earlier.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, stop if number == signal.SIGTSTP else end)
    resume = signal.signal(signal.SIGCONT, lambda number, frame: again())
    wake_up, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    try:
        yield wake_up
    finally:
        signal.set_wakeup_fd(before)
        os.close(wake_up)
        os.close(write_end)
        for number, handler in ((signal.SIGCONT, resume), *earlier.items()):
            signal.signal(number, handler)


class LabelTerminal:
    """Shows rows and reads judgements until all have one, or somebody leaves."""

    def __init__(self, session: LabelSession, progress: Callable[[], str]) -> None:
        self.session, self.progress = session, progress
        self.console: Console = stderr_console()

    def run(self) -> None:
        """Label row after row."""
        with single_keys() as read_key:
            while (place := self.session.place) is not None:
                card = self.session.card(place)
                self._show(place, card, whole=False)
                if not self._act(place, card, read_key):
                    return
                self._print(unbroken(self.progress(), self.console.width), "dim")

    def _act(self, place: int, card: AnswerCard, read_key: Callable[[], str]) -> bool:
        """Read keys until one decides; False where that is to leave."""
        marks: set[int] = set()
        while True:
            key = read_key()
            if key in _END:
                self._print("quit")
                return False
            if key in ("v", _AGAIN):
                self._show(place, card, whole=key == "v")
            elif key == "s":
                self._print("skip")
                self.session.skip(place)
                return True
            elif key == "u":
                self._print("undo" if self.session.undo() else "nothing to undo")
                return True
            elif (right := self._judgement(key, card, marks)) is not None:
                self._print(" ".join(ANSWER_KEYS[k] for k in sorted(right)) or "none")
                self.session.label(place, right)
                return True

    def _judgement(self, key: str, card: AnswerCard, marks: set[int]) -> set[int] | None:
        """The answers that are right; None where the key does not settle that."""
        n = min(len(card.answers), len(ANSWER_KEYS))
        if key == "n":
            return set()
        if key == "b" and n > 1:
            return set(range(n))
        if key in _ENTER and marks:
            return marks
        place = ANSWER_KEYS.find(key.upper() if key.isupper() or key.isdigit() else " ")
        if not 0 <= place < n:
            return None
        if n < 3:
            return {place}
        marks ^= {place}
        self._write(f"\rright: {' '.join(ANSWER_KEYS[k] for k in sorted(marks)) or '-'}, Enter when done   ")
        return None

    # ------------------------------------------------------------ the screen

    def _show(self, place: int, card: AnswerCard, *, whole: bool) -> None:
        text = card_text(card, whole=whole)
        show_card(self.console, f"row {place + 1} of {len(self.session.file.rows)}", text)
        self._print(keys_line(len(card.answers), whole=text.is_whole), "dim")

    def _print(self, text: str, style: str = "") -> None:
        _print(self.console, text, style)

    def _write(self, text: str) -> None:
        out = stderr()
        if out is not None:
            out.write(text)
            out.flush()


def show_card(console: Console, title: str, text: CardText) -> None:
    """Show a question and its answers, without the keys."""
    console.rule(title, style="dim", align="left")
    _print(console, text.question, "bold")
    if text.context:
        _print(console, f"\n{text.context}", "dim")
    for mark, answer in text.answers:
        console.print()
        lines = Text(printable(answer)).wrap(console, max(console.width - 4, 8))
        for line, lead in zip(lines, chain([mark], repeat(" ")), strict=False):
            line.rstrip()
            console.print(Text.assemble((lead, "bold"), "  ", line))
    console.print()


def _print(console: Console, text: str, style: str = "") -> None:
    console.print(Text(printable(text), style))
