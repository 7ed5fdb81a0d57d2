"""The console blocks of a page: run, compared with what the page shows, and rewritten.

    python tests/console_blocks.py             # run the blocks of README.md and docs/*.md
    python tests/console_blocks.py --update    # and write into the pages what the commands print
    python tests/console_blocks.py README.md --update

A block is fenced as `console`. A line that begins with `$ ` is a command of `sh`, continued by a backslash at
its end; the lines below it are what a terminal shows, stdout and stderr together. All commands of a page run
in order in one temporary folder, with an empty home and an empty cache, and each must end with exit code 0.

`…` on a line of its own stands for any lines, and within a line for any text. `--update` writes it for
seconds, dates, hashes and the temporary folder, and keeps the gaps that a page has.

A comment above a block may say what it needs:

    <!-- files: labelled.jsonl=profiles/demo-questions.jsonl, profiles/demo.yaml -->
    <!-- not run: needs a key -->

`files` copies files of this repository into the folder. What can never run here is fenced as `sh`.

A page that goes on where another one ends says so, and begins with a copy of the folder, home and cache that
the other one left:

    <!-- after: calibrating.md -->

A block whose commands ran on that page, or on one before it, says so. They are not run again: here stands
what they printed there, with other gaps.

    <!-- as before -->
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from shell import PATIENCE, ROOT, read_terminal, warm_command

GAP = "…"
COLUMNS = 120  # of the terminal: all columns of all tables
_VOLATILE = (
    (re.compile(r"\b\d+(\.\d+)? s\b"), f"{GAP} s"),
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), GAP),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,64}\b"), GAP),
)


class PageError(Exception):
    """A block that cannot be read or run."""


# ---------------------------------------------------------------- what a page holds


class Command(NamedTuple):
    """A command with the lines of the page that it takes and those that show its output."""

    line: int
    source: tuple[str, ...]
    output: tuple[str, ...]

    @property
    def text(self) -> str:
        """The command without its prompt."""
        return "\n".join(self.source).removeprefix("$ ")


@dataclass(frozen=True, slots=True)
class Block:
    """One console block: `line` is that of its fence, `files` are copied first as (name, source).

    Commands of one that is `as_before` ran on an earlier page.
    """

    line: int
    commands: tuple[Command, ...]
    files: tuple[tuple[str, str], ...] = ()
    not_run: str = ""
    as_before: bool = False


_BLOCK = re.compile(r"(?P<comments>(?:^<!--.*-->\n\n?)*)^```console\n(?P<body>(?s:.*?))^```$", re.M)
_COMMENT = re.compile(r"<!-- (files|not run): (.*?) -->")
_AFTER = re.compile(r"^<!-- after: (\S+) -->$", re.M)


def blocks_of(page: str) -> list[Block]:
    """Read the console blocks of a page.

    Raises:
        PageError: a block holds no command, or begins with output.
    """
    return [_block(match, page[: match.start("body")].count("\n")) for match in _BLOCK.finditer(page)]


def _block(match: re.Match[str], line: int) -> Block:
    notes: dict[str, str] = dict(_COMMENT.findall(match["comments"]))
    names = [name.strip() for name in notes.get("files", "").split(",") if name.strip()]
    files = tuple((name.partition("=")[0], name.rpartition("=")[2]) for name in names)
    commands = tuple(_commands(match["body"].splitlines(), line + 1))
    return Block(line, commands, files, notes.get("not run", ""), "<!-- as before -->" in match["comments"])


def _commands(lines: Sequence[str], start: int) -> Iterator[Command]:
    """Split the lines of a block, the first of which has the number `start`."""
    at = [i for i, line in enumerate(lines) if line.startswith("$ ")]
    if not at or at[0] > 0:
        raise PageError(f"line {start}: a console block begins with '$ command'; other text is fenced as sh")
    for first, after in zip(at, [*at[1:], len(lines)], strict=True):
        last = next(i for i in range(first, after) if not lines[i].endswith("\\") or i == after - 1)
        yield Command(start + first, tuple(lines[first : last + 1]), tuple(lines[last + 1 : after]))


# ---------------------------------------------------------------- comparison


def matches(expected: Sequence[str], actual: Sequence[str]) -> bool:
    """Tell whether output is what a page shows, gaps and blanks at the end of lines aside.

    Example:
        >>> matches(["a", "…", "… s"], ["a", "b", "c", "0.1 s"]), matches(["a"], ["a", "b"])
        (True, False)
    """
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == GAP else _line_pattern(line.rstrip()) for line in expected
    )
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in actual)) is not None


def _line_pattern(line: str) -> str:
    return r"[^\n]*?".join(map(re.escape, line.split(GAP))) + r"\n"


def shown(expected: Sequence[str], actual: Sequence[str]) -> list[str]:
    """Return the lines that a page should show: those it has while they match, else the new ones.

    Gaps of the page stay: as many lines as before stand above the first and below the last gap, and between
    two gaps the lines that are most like the old ones.
    """
    if matches(expected, actual):
        return list(expected)
    lines = [_without_volatile(line.rstrip()) for line in actual]
    head, *others = _parts_between_gaps(expected)
    if not others:
        return lines
    result, place = lines[: len(head)], len(head)
    last = others.pop()
    end = max(place, len(lines) - len(last))
    for part in others:
        place = _most_alike(part, lines, place, end)
        result += [GAP, *lines[place : place + len(part)]]
        place += len(part)
    return [*result, *([GAP] if place < end else []), *lines[max(place, end) :]]


def _without_volatile(line: str) -> str:
    for pattern, substitute in _VOLATILE:
        line = pattern.sub(substitute, line)
    return line


def _parts_between_gaps(lines: Sequence[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for line in lines:
        if line.strip() == GAP:
            parts.append([])
        else:
            parts[-1].append(line)
    return parts


def _most_alike(part: Sequence[str], lines: Sequence[str], start: int, end: int) -> int:
    """Return where, between start and end, the lines stand that are most like a part."""

    def likeness(place: int) -> float:
        window = "\n".join(lines[place : place + len(part)])
        return difflib.SequenceMatcher(None, "\n".join(part), window, autojunk=False).ratio()

    return max(range(start, max(start, end - len(part)) + 1), key=likeness)


# ---------------------------------------------------------------- running


class Ran(NamedTuple):
    """What a command showed on the terminal, line by line, and its exit code."""

    output: list[str]
    code: int


@dataclass(frozen=True, slots=True)
class Shell:
    """A temporary folder in which the commands of one page run."""

    folder: Path
    environment: dict[str, str]

    @classmethod
    @contextlib.contextmanager
    def open(cls, before: Shell | None = None) -> Iterator[Shell]:
        """Open a folder, empty or a copy of another one; `automix` there is that of this checkout."""
        with tempfile.TemporaryDirectory(prefix="console-") as place:
            home, folder = (Path(place) / name for name in ("home", "work"))
            if before:
                shutil.copytree(before.folder.parent, place, dirs_exist_ok=True)
            else:
                home.mkdir()
                folder.mkdir()
            bin_folder = Path(warm_command()[0]).parent
            yield cls(
                folder,
                {
                    "PATH": f"{bin_folder}:{Path(sys.executable).parent}:{os.defpath}",
                    "HOME": str(home),
                    "TMPDIR": place,
                    "PYTHONPATH": str(ROOT),
                    "LANG": "C.UTF-8",
                    "TERM": "dumb",  # no colours and no bar that moves
                    "COLUMNS": str(COLUMNS),
                    "LINES": "40",
                },
            )

    def copy(self, files: Iterable[tuple[str, str]]) -> None:
        """Copy files of this repository into the folder."""
        for name, source in files:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / source, self.folder / name)

    def run(self, command: str) -> Ran:
        """Run a command on a terminal of its own, to its end."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            cwd=self.folder,
            env=self.environment,
        ) as child:
            os.close(theirs)
            screen = read_terminal(ours).replace(str(self.folder), GAP)
            return Ran(screen.splitlines(), child.wait(PATIENCE))


def run_block(shell: Shell, block: Block) -> Iterator[tuple[Command, list[str]]]:
    """Run the commands of a block; yields each with its output.

    Raises:
        PageError: a command fails, or prints what would read as a command.
    """
    if block.not_run:
        return
    shell.copy(block.files)
    for command in block.commands:
        output, code = shell.run(command.text)
        if code:
            screen = "\n".join(output)
            raise PageError(f"line {command.line}: {command.text}: exit code {code}\n{screen}")
        if any(line.startswith("$ ") for line in output):
            raise PageError(f"line {command.line}: the output holds a line that begins with '$ '")
        yield command, output


def difference(command: Command, output: Sequence[str]) -> str:
    """Return the difference between what a page shows and what a command printed; "" for none."""
    if matches(command.output, output):
        return ""
    lines = difflib.unified_diff(
        command.output, [line.rstrip() for line in output], "the page", "the command", lineterm="", n=1
    )
    return "\n".join([f"line {command.line}: {command.source[0]}", *lines])


# ---------------------------------------------------------------- pages


def pages() -> list[Path]:
    """Return the pages of this repository that hold console blocks."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in paths if "```console\n" in path.read_text(encoding="utf-8")]


def page_before(path: Path) -> Path | None:
    """Return the page that another one goes on from, where it names one.

    Raises:
        PageError: there is no such page.
    """
    match = _AFTER.search(path.read_text(encoding="utf-8"))
    if not match:
        return None
    if not (before := (path.parent / match[1]).resolve()).is_file():
        raise PageError(f"{path.name}: after: {match[1]}: no such page")
    return before


class Session:
    """One page whose blocks run in order, each once, however few of them are asked for."""

    def __init__(self, shell: Shell, blocks: list[Block], before: Session | None = None) -> None:
        """Begin before the first block, after the page that this one goes on from."""
        self.shell, self.blocks = shell, blocks
        self.results: list[list[tuple[Command, list[str]]]] = []
        self._before = before

    def block(self, number: int) -> list[tuple[Command, list[str]]]:
        """Return the commands of a block and their output."""
        while len(self.results) <= number:
            block = self.blocks[len(self.results)]
            run = self._outputs_before if block.as_before else partial(run_block, self.shell)
            self.results.append(list(run(block)))
        return self.results[number]

    def finish(self) -> list[tuple[Command, list[str]]]:
        """Return the commands of all blocks and their output."""
        return [pair for number in range(len(self.blocks)) for pair in self.block(number)]

    def _outputs_before(self, block: Block) -> Iterator[tuple[Command, list[str]]]:
        """Yield the commands of a block with what they printed on an earlier page."""
        outputs: dict[str, list[str]] = {}
        page = self._before
        while page:
            outputs = {command.text: output for command, output in page.finish()} | outputs
            page = page._before
        for command in block.commands:
            if command.text not in outputs:
                raise PageError(f"line {command.line}: {command.text}: no earlier page runs this command")
            yield command, outputs[command.text]


class Sessions(contextlib.ExitStack):
    """The sessions of pages, each opened when it is first asked for, after the page that it goes on from."""

    def __init__(self) -> None:
        """Begin without any."""
        super().__init__()
        self._sessions: dict[Path, Session] = {}

    def of(self, path: Path) -> Session:
        """Return the session of a page."""
        if path not in self._sessions:
            page = page_before(path)
            before = self.of(page) if page else None
            if before:
                before.finish()
            shell = self.enter_context(Shell.open(before.shell if before else None))
            blocks = blocks_of(path.read_text(encoding="utf-8"))
            self._sessions[path] = Session(shell, blocks, before)
        return self._sessions[path]


def updated(page: str, results: Sequence[tuple[Command, list[str]]]) -> str:
    """Return the page with what its commands printed."""
    lines = page.splitlines()
    # from the end, so that line numbers above stay true; they count from 1
    for command, output in reversed(results):
        start = command.line - 1 + len(command.source)
        lines[start : start + len(command.output)] = shown(command.output, output)
    return "\n".join(lines) + "\n"


def _check(path: Path, session: Session, update: bool) -> list[str]:
    """Run one page; returns what differs, and says what was run."""
    results = session.finish()
    if update:
        path.write_text(updated(path.read_text(encoding="utf-8"), results), encoding="utf-8")
        differences = []
    else:
        differences = [text for pair in results if (text := difference(*pair))]
    running = [block for block in session.blocks if not block.not_run]
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    print(f"{name}: {len(running)} blocks ran, {len(results)} commands")
    for block in session.blocks:
        if block.not_run:
            print(f"{name}: line {block.line}: not run: {block.not_run}")
    return [f"{name}: {text}" for text in differences]


def main() -> int:
    """Run or update pages."""
    parser = argparse.ArgumentParser(description="Run the console blocks of pages.")
    parser.add_argument("pages", nargs="*", type=Path, help="README.md and docs/*.md by default")
    parser.add_argument("--update", action="store_true", help="write into the pages what the commands print")
    options = parser.parse_args()
    try:
        paths = [path.resolve() for path in options.pages or pages()]
        with Sessions() as sessions:
            different = [text for path in paths for text in _check(path, sessions.of(path), options.update)]
    except PageError as exc:
        print(exc, file=sys.stderr)
        return 2
    for text in different:
        print(text, file=sys.stderr)
    if different:
        print("python tests/console_blocks.py --update writes what the commands print", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
