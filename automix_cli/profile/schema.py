"""What a value must be, and the sentence that says so when it is not.

A reader takes a located node and returns its value, or reports a problem and returns `BAD`.
Readers are built from smaller ones, so that a whole file's shape is one expression, and every
problem in it is found in one pass:

    record(Price, {"input": number(0, 100), "output": number(0, 100)}, ("input", "output"))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from automix_cli.errors import did_you_mean, quoted
from automix_cli.profile.yamltree import UNREAD, Node, at

LONGEST, MOST = 500, 50
"""Characters of a line and lines of a report: a hostile file must not flood the terminal."""


class Report:
    """Problems found, each as `file:line: key.path: message`.

    `foreign` is set when a file that nobody named said something it may not.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.foreign = False

    def add(self, node: Node, path: str, message: str) -> None:
        """Note a problem at a node."""
        where = f"{node.source}:{node.line}"
        line = visible(f"{where}: {path}: {message}" if path else f"{where}: {message}")
        self.lines.append(line if len(line) <= LONGEST else f"{line[:LONGEST]}…")

    def refuse(self, node: Node, path: str, message: str) -> None:
        """Note something that a discovered file may not say."""
        self.foreign = True
        self.add(node, path, f"{message}, in a profile that was found rather than named")

    def told(self) -> str:
        """All problems, one a line."""
        rest = len(self.lines) - MOST
        return "\n".join(self.lines[:MOST] + [f"… and {rest} more"] * (rest > 0))


BAD = object()
Read = Callable[[Node, str, Report], Any]


def visible(line: str) -> str:
    r"""A line that cannot steer a terminal: what is not printable is spelled out.

    Example:
        >>> visible("a\x1bb")
        'a\\x1bb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def expect(expected: str, fits: Callable[[Any], bool], make: Callable[[Any], Any] = lambda v: v) -> Read:
    """A reader of plain values that satisfy `fits`."""

    def read(node: Node, path: str, report: Report) -> Any:
        if node.value is UNREAD:
            return BAD
        if not fits(node.value):
            report.add(node, path, f"expected {expected}, got {quoted(node.value)}")
            return BAD
        return make(node.value)

    return read


def text(most: int = 20_000) -> Read:
    """Text that is not blank."""
    return expect("text", lambda v: isinstance(v, str) and len(v.strip()) > 0 and len(v) <= most)


def matching(pattern: str, expected: str) -> Read:
    """Text of which a pattern matches the whole."""
    known = re.compile(pattern)
    return expect(expected, lambda v: isinstance(v, str) and known.fullmatch(v) is not None)


def whole(low: int, high: int) -> Read:
    """An integer from `low` to `high`."""

    def fits(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return expect(f"a whole number from {low} to {high}", fits)


def number(low: float, high: float, *, above: bool = False) -> Read:
    """A number from `low` to `high`; `above` leaves `low` itself out."""
    expected = f"a number above {low:g}, at most {high:g}" if above else f"a number from {low:g} to {high:g}"
    return expect(expected, lambda v: is_number(v) and low <= v <= high and not (above and v == low), float)


flag = expect("true or false", lambda v: isinstance(v, bool))


def one_of(*known: str) -> Read:
    """One of a few words."""

    def read(node: Node, path: str, report: Report) -> Any:
        if node.value is UNREAD or node.value in known:
            return BAD if node.value is UNREAD else node.value
        near = did_you_mean(node.value, known) if isinstance(node.value, str) else ""
        report.add(node, path, f"expected one of {', '.join(known)}, got {quoted(node.value)}{near}")
        return BAD

    return read


def or_null(read: Read) -> Read:
    """What `read` reads, or null."""
    return lambda node, path, report: None if node.value is None else read(node, path, report)


def list_of(read: Read, most: int) -> Read:
    """A list of what `read` reads, as a tuple."""

    def read_list(node: Node, path: str, report: Report) -> Any:
        if node.value is UNREAD:
            return BAD
        if not isinstance(node.value, list) or len(node.value) > most:
            got = f"{len(node.value)}" if isinstance(node.value, list) else quoted(node.value)
            report.add(node, path, f"expected a list of at most {most}, got {got}")
            return BAD
        items = tuple(read(item, at(path, i), report) for i, item in enumerate(node.value))
        return BAD if any(item is BAD for item in items) else items

    return read_list


def record(
    make: Callable[..., Any], known: Mapping[str, Read], required: Sequence[str] = (), **advice: str
) -> Read:
    """A mapping with known keys, given to `make` by keyword.

    `advice` holds what to say of unknown keys that a person may well try.
    """

    def read(node: Node, path: str, report: Report) -> Any:
        if not isinstance(node.value, dict):
            return _mapping_expected(node, path, report)
        values = {}
        for key, child in node.value.items():
            if key in known:
                values[key] = known[key](child, at(path, key), report)
            else:
                near = did_you_mean(key, known) or f"; known are {', '.join(known)}"
                report.add(child, at(path, key), advice.get(key, f"unknown key{near}"))
        missing = [key for key in required if key not in node.value]
        for key in missing:
            report.add(node, path, f"needs `{key}`")
        return BAD if missing or any(value is BAD for value in values.values()) else make(**values)

    return read


def anything(node: Node, path: str, report: Report) -> Any:
    """A mapping of whatever it holds, as plain values."""
    return node.plain() if isinstance(node.value, dict) else _mapping_expected(node, path, report)


_mapping_expected = expect("a mapping", lambda v: isinstance(v, dict))
