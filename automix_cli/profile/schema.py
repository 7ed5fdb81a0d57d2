"""What a value of the profile may be, as data, and the reader that checks a located tree against it.

A kind such as `Number(0, 2)` describes the values that a field takes; `kind.read(node, report)`
returns the value of a node, or reports a problem and returns `BAD`. Kinds nest, so the shape of a
whole file is one declaration, and all problems in it are found in one pass:

    Record(Price, {"input": Number(0, 100), "output": Number(0, 100)}, required=("input", "output"))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from msgspec import Struct, field

from automix_cli.errors import describe_value, did_you_mean
from automix_cli.profile.yamltree import UNREAD, Node

LONGEST, MOST = 500, 50
"""Characters of a line and lines of a report: a hostile file must not flood the terminal."""

BAD = object()
"""What `read` returns for a node whose problem has been reported."""


class Report:
    """The problems of a file, each as `file:line: key.path: message`.

    `foreign` is set when a discovered file holds something that only a named one may.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.foreign = False

    def add(self, node: Node, message: str, path: str | None = None) -> None:
        """Add a problem at a node; `path` is for a key that is missing there."""
        where, key_path = f"{node.source}:{node.line}", node.path if path is None else path
        line = visible(f"{where}: {key_path}: {message}" if key_path else f"{where}: {message}")
        self.lines.append(line if len(line) <= LONGEST else f"{line[:LONGEST]}…")

    def refuse(self, node: Node, message: str) -> None:
        """Add something that a discovered file may not say."""
        self.foreign = True
        self.add(node, f"{message}, in a profile that was found rather than named")

    def text(self) -> str:
        """All problems, one a line."""
        rest = len(self.lines) - MOST
        return "\n".join(self.lines[:MOST] + [f"… and {rest} more"] * (rest > 0))


def visible(line: str) -> str:
    r"""A line that cannot steer a terminal: what is not printable is spelled out.

    Example:
        >>> visible("a\x1bb")
        'a\\x1bb'
    """
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _expect(node: Node, report: Report, expected: str, fits: bool) -> Any:
    """The node's value where it fits; a problem that was reported before is not repeated."""
    if fits:
        return node.value
    if node.value is not UNREAD:
        report.add(node, f"expected {expected}, got {describe_value(node.value)}")
    return BAD


class Kind(Protocol):
    """What a field may hold."""

    def read(self, node: Node, report: Report) -> Any:
        """The value of a node, or `BAD` after a report."""
        ...


class Text(Struct, frozen=True, eq=False):
    """Text that is not blank, of at most `longest` characters."""

    longest: int = 20_000

    def read(self, node: Node, report: Report) -> Any:
        """The text."""
        value = node.value
        fits = isinstance(value, str) and len(value.strip()) > 0 and len(value) <= self.longest
        return _expect(node, report, "text", fits)


class Pattern(Struct, frozen=True, eq=False):
    """Text of which a pattern matches the whole; `expected` says so in words."""

    pattern: re.Pattern[str]
    expected: str = "text"

    def read(self, node: Node, report: Report) -> Any:
        """The text."""
        fits = isinstance(node.value, str) and self.pattern.fullmatch(node.value) is not None
        return _expect(node, report, self.expected, fits)


class Whole(Struct, frozen=True, eq=False):
    """An integer from `low` to `high`."""

    low: int
    high: int

    def read(self, node: Node, report: Report) -> Any:
        """The integer."""
        value = node.value
        fits = isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high
        return _expect(node, report, f"a whole number from {self.low} to {self.high}", fits)


class Number(Struct, frozen=True, eq=False):
    """A number from `low` to `high`; `above` leaves `low` itself out."""

    low: float
    high: float
    above: bool = False

    def read(self, node: Node, report: Report) -> Any:
        """The number as a float."""
        low, high, value = self.low, self.high, node.value
        expected = f"a number from {low:g} to {high:g}"
        if self.above:
            expected = f"a number above {low:g}, at most {high:g}"
        fits = is_number(value) and low <= value <= high and not (self.above and value == low)
        value = _expect(node, report, expected, fits)
        return value if value is BAD else float(value)


class Only(Struct, frozen=True, eq=False):
    """One number and no other, for the reason `why`."""

    number: int
    why: str

    def read(self, node: Node, report: Report) -> Any:
        """The number."""
        fits = is_number(node.value) and node.value == self.number
        return _expect(node, report, f"{self.number}, {self.why}", fits)


class Flag(Struct, frozen=True, eq=False):
    """True or false."""

    def read(self, node: Node, report: Report) -> Any:
        """The truth value."""
        return _expect(node, report, "true or false", isinstance(node.value, bool))


class OneOf(Struct, frozen=True, eq=False):
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, node: Node, report: Report) -> Any:
        """The word."""
        if node.value is UNREAD or node.value in self.words:
            return BAD if node.value is UNREAD else node.value
        near = did_you_mean(node.value, self.words) if isinstance(node.value, str) else ""
        report.add(node, f"expected one of {', '.join(self.words)}, got {describe_value(node.value)}{near}")
        return BAD


class Nullable(Struct, frozen=True, eq=False):
    """What `kind` takes, or null."""

    kind: Kind

    def read(self, node: Node, report: Report) -> Any:
        """The value, None for null."""
        return None if node.value is None else self.kind.read(node, report)


class ListOf(Struct, frozen=True, eq=False):
    """A list of at most `longest` items.

    With `partial` the tuple holds `BAD` where an item is wrong, so that the others can be
    checked against each other.
    """

    kind: Kind
    longest: int
    partial: bool = False

    def read(self, node: Node, report: Report) -> Any:
        """The items as a tuple."""
        items = node.value
        if items is UNREAD:
            return BAD
        if not isinstance(items, list) or len(items) > self.longest:
            got = f"{len(items)}" if isinstance(items, list) else describe_value(items)
            report.add(node, f"expected a list of at most {self.longest}, got {got}")
            return BAD
        values = tuple(self.kind.read(item, report) for item in items)
        return BAD if not self.partial and BAD in values else values


class OneOrList(Struct, frozen=True, eq=False):
    """One value, or a list of them."""

    kind: Kind
    longest: int

    def read(self, node: Node, report: Report) -> Any:
        """The value, or the values as a tuple."""
        kind = ListOf(self.kind, self.longest) if isinstance(node.value, list) else self.kind
        return kind.read(node, report)


class AnyMapping(Struct, frozen=True, eq=False):
    """A mapping of whatever it holds."""

    def read(self, node: Node, report: Report) -> Any:
        """The mapping as plain values."""
        value = _expect(node, report, "a mapping", isinstance(node.value, dict))
        return value if value is BAD else node.plain()


class Checked(Struct, frozen=True, eq=False):
    """What `kind` takes and `problem` says nothing against; `convert` makes the value of it."""

    kind: Kind
    problem: Callable[[Any], str | None] = lambda value: None
    convert: Callable[[Any], Any] = lambda value: value

    def read(self, node: Node, report: Report) -> Any:
        """The converted value."""
        value = self.kind.read(node, report)
        if value is BAD:
            return BAD
        if message := self.problem(value):
            report.add(node, message)
            return BAD
        return self.convert(value)


class Custom(Struct, frozen=True, eq=False):
    """A value with rules of its own: `check` returns the first problem with it, if there is any.

    The value itself is not repeated in the report.
    """

    check: Callable[[Any], str | None]

    def read(self, node: Node, report: Report) -> Any:
        """The value."""
        if node.value is UNREAD:
            return BAD
        if message := self.check(node.value):
            report.add(node, message)
            return BAD
        return node.value


class Subtree(Struct, frozen=True, eq=False):
    """A node that `function` reads, with all that stands below it."""

    function: Callable[[Node, Report], Any]

    def read(self, node: Node, report: Report) -> Any:
        """What the function returns."""
        return self.function(node, report)


class Record(Struct, frozen=True, eq=False):
    """A mapping with known keys, from which `make` builds the value by keyword.

    `advice` says what is wrong with unknown keys that a person may well try.
    """

    make: Callable[..., Any]
    fields: Mapping[str, Kind]
    required: tuple[str, ...] = ()
    advice: Mapping[str, str] = field(default_factory=dict)

    def read(self, node: Node, report: Report) -> Any:
        """What `make` builds."""
        values = self.values(node, report)
        if values is None or BAD in values.values() or any(key not in values for key in self.required):
            return BAD
        return self.make(**values)

    def values(self, node: Node, report: Report) -> dict[str, Any] | None:
        """The values by key, `BAD` where one is wrong; None for what is no mapping."""
        if _expect(node, report, "a mapping", isinstance(node.value, dict)) is BAD:
            return None
        values = {}
        for key, child in node.value.items():
            if key in self.fields:
                values[key] = self.fields[key].read(child, report)
            else:
                near = did_you_mean(key, self.fields) or f"; known are {', '.join(self.fields)}"
                report.add(child, self.advice.get(key, f"unknown key{near}"))
        for key in self.required:
            if key not in node.value:
                report.add(node, f"needs `{key}`")
        return values
