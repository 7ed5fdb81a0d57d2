"""Strict YAML: a small text becomes a tree of values that know their line, or a list of problems.

Nothing is constructed by PyYAML: the tree is built from parse events, one by one, so that bombs
(anchors, merge keys, nesting, size) are met before they cost anything. A plain scalar that YAML
1.1 and YAML 1.2 read differently (`no`, `0755`, `1e3`, `12:30`, a date) is refused, because the
person who wrote it and the program that reads it would disagree.

    parse      bytes → tree, problems
    lines_of   values → block-style lines that `parse` reads back to the same values
    put_block  text, key, lines → the same text with that one top-level block replaced
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

from automix_cli.texts import lazy_pattern

MAX_BYTES = 64 * 1024
MAX_DEPTH = 20
MAX_DIGITS = 25

# Not printable in YAML, or (NEL, LS, PS) a line break to one YAML version and none to the other.
_FORBIDDEN = lazy_pattern(
    r"[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_FORBIDDEN_ASCII = re.compile(r"[^\t\n\r\x20-\x7e]")
_HALF = lazy_pattern("[\ud800-\udfff]")
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Where PyYAML's C parser reads what its own refuses: a tab between words, `?` in a text between brackets,
# a comment right after | or >. Its own decides, so that a profile means the same on every machine.
_DOUBTFUL = re.compile(r"[\t?]|[|>][-+0-9]*#")
_PLAIN = re.compile(r"[A-Za-z0-9_./+-]([A-Za-z0-9_./+ -]*[A-Za-z0-9_./+-])?")


class Problem(NamedTuple):
    """Something wrong with the text, at a 1-based line and a key path such as `tiers[1].model`."""

    line: int
    path: str
    message: str


UNREAD = object()
"""The value of a node whose problem is already reported."""


class Node(NamedTuple):
    """A value with its 1-based line, its file, and its key path such as `tiers[1].model`.

    `value` is None, a bool, an int, a finite float, a text, a list of nodes, a
    dictionary of nodes by key, or `UNREAD`.
    """

    value: Any
    line: int
    source: str = ""
    path: str = ""

    def plain(self) -> Any:
        """The value without lines.

        Example:
            >>> parse(b"a: [1, {b: x}]")[0].plain()
            {'a': [1, {'b': 'x'}]}
        """
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def leaves(self) -> list[Node]:
        """Every scalar in the tree below, and every empty list or mapping.

        Example:
            >>> [leaf.path for leaf in parse(b"a: [1, {b: x}]")[0].leaves()]
            ['a[0]', 'a[1].b']
        """
        value = self.value
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return [leaf for child in children for leaf in child.leaves()] if children else [self]


class _Fatal(Exception):
    """A problem after which reading on is pointless or dangerous."""

    def __init__(self, line: int, path: str, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(line, path, message)


def at(path: str, key: str | int) -> str:
    """The path of a child.

    Example:
        >>> at(at(at("", "tiers"), 1), "model")
        'tiers[1].model'
    """
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def parse(data: bytes, source: str = "") -> tuple[Node, list[Problem]]:
    r"""Read one YAML document.

    Args:
        data: the file's bytes.
        source: the file's name, kept on every node.

    Returns:
        the tree, and all problems found; with problems the tree is incomplete.

    Example:
        >>> parse(b"votes: 8\nlast: no")[1][0].line
        2
    """
    problems: list[Problem] = []
    try:
        text = _decode(data)
        reader = _Reader(_events(text), source, problems)
        return reader.document(), problems
    except _Fatal as stop:
        return Node(UNREAD, 1, source), [*problems, stop.problem]


def _decode(data: bytes) -> str:
    """The text of a file that is small, UTF-8 and printable."""
    if len(data) > MAX_BYTES:
        raise _Fatal(1, "", f"a profile holds at most {MAX_BYTES // 1024} KiB")
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise _Fatal(1, "", "starts with a byte order mark: save the file as UTF-8 without one")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise _Fatal(data.count(b"\n", 0, e.start) + 1, "", "is not UTF-8 text") from e
    if bad := (_FORBIDDEN_ASCII if text.isascii() else _FORBIDDEN).search(text):
        line = text.count("\n", 0, bad.start()) + 1
        raise _Fatal(line, "", f"holds the character U+{ord(bad[0]):04X}: write it as an escape in quotes")
    return text


def _events(text: str, pure: bool = False) -> Iterator[Any]:
    """Parse events of PyYAML, from its C parser where there is one (`pure`: character-exact marks).

    Raises:
        _Fatal: a text that one of the parsers refuses.
    """
    import yaml

    from automix_cli.profile.yaml_refusals import refusal

    count = 0
    if not pure and hasattr(yaml, "CSafeLoader") and not _DOUBTFUL.search(text):
        try:
            for event in yaml.parse(text, Loader=yaml.CSafeLoader):
                yield event
                count += 1
            return
        except yaml.YAMLError:
            pass  # the other parser has exact marks, and no limit of depth that comes before ours
    try:
        yield from islice(yaml.parse(text, Loader=yaml.SafeLoader), count, None)
    except yaml.YAMLError as e:
        line, message = refusal(text, e)
        raise _Fatal(line, "", f"is not valid YAML: {message}") from e


class _Reader:
    """Builds nodes from events; problems that do not stop the reading are collected."""

    def __init__(self, events: Iterator[Any], source: str, problems: list[Problem]) -> None:
        self.events = events
        self.source = source
        self.problems = problems

    def document(self) -> Node:
        """The only document of the stream."""
        root: Node | None = None
        for event in self.events:
            if type(event).__name__ != "DocumentStartEvent":
                continue
            line = event.start_mark.line + 1
            if root is not None:
                raise _Fatal(line, "", "starts a second document: a profile is one")
            if event.version or event.tags:
                raise _Fatal(line, "", "has a % directive, which a profile may not")
            root = self.node(next(self.events), "", 0)
        return root or Node(None, 1, self.source)

    def node(self, event: Any, path: str, depth: int) -> Node:
        """The node that starts with `event`."""
        line, kind = event.start_mark.line + 1, type(event).__name__
        if kind == "AliasEvent" or event.anchor:
            raise _Fatal(line, path, "anchors and aliases (& and *) are not allowed: write the value out")
        if event.tag is not None:
            raise _Fatal(line, path, "tags (!) are not allowed")
        if kind == "ScalarEvent":
            return Node(self.scalar(event, path), line, self.source, path)
        if depth == MAX_DEPTH:
            raise _Fatal(line, path, f"is nested more than {MAX_DEPTH} deep")
        read = self.mapping if kind == "MappingStartEvent" else self.sequence
        return Node(read(path, depth + 1), line, self.source, path)

    def sequence(self, path: str, depth: int) -> list[Node]:
        """The items up to the end of the sequence."""
        items: list[Node] = []
        for event in self.events:
            if type(event).__name__ == "SequenceEndEvent":
                break
            items.append(self.node(event, at(path, len(items)), depth))
        return items

    def mapping(self, path: str, depth: int) -> dict[str, Node]:
        """The entries up to the end of the mapping; of equal keys the first stays."""
        entries: dict[str, Node] = {}
        for event in self.events:
            if type(event).__name__ == "MappingEndEvent":
                break
            line = event.start_mark.line + 1
            key = self.key(event, path)
            value = self.node(next(self.events), at(path, key), depth)
            if key in entries:
                first = entries[key].line
                self.problems.append(
                    Problem(line, at(path, key), f"stands here twice, first on line {first}")
                )
            else:
                entries[key] = value._replace(line=line)
        return entries

    def key(self, event: Any, path: str) -> str:
        """The text of a mapping's key."""
        line = event.start_mark.line + 1
        if type(event).__name__ != "ScalarEvent" or event.anchor or event.tag is not None:
            raise _Fatal(line, path, "a key is plain text, without anchor, alias or tag")
        if event.value == "<<" and not event.style:
            raise _Fatal(line, path, "merge keys (<<) are not allowed: use `extends`")
        if not event.style and not isinstance(plain_value(event.value), str):
            self.problems.append(Problem(line, path, f"the key {event.value} needs quotes"))
        return str(event.value)

    def scalar(self, event: Any, path: str) -> Any:
        """The value of a scalar: quoted ones are text, plain ones by the rules both YAMLs share."""
        value = event.value if event.style else plain_value(event.value)
        if isinstance(value, str) and not value.isascii() and _HALF.search(value):
            value = Ambiguous("holds half a surrogate pair, which is no character")
        if isinstance(value, Ambiguous):
            self.problems.append(Problem(event.start_mark.line + 1, path, value.advice))
            return UNREAD
        return value


class Ambiguous(NamedTuple):
    """A plain scalar that is one thing to YAML 1.1 and another to YAML 1.2, or no finite number."""

    advice: str


def plain_value(text: str) -> Any:
    """The value of an unquoted scalar, or `Ambiguous`.

    Example:
        >>> plain_value("8"), plain_value("0.5"), plain_value("true"), plain_value("gpt-5")
        (8, 0.5, True, 'gpt-5')
        >>> plain_value("no").advice
        'no is false to some YAML readers and text to others: write true or false, or put it in quotes'
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    number = _INT.fullmatch(text) or _FLOAT.fullmatch(text)
    tag = _pyyaml_tag(text)
    if tag == "str" and not number and not re.fullmatch("0o[0-7]+", text):
        return text
    if tag not in ("int", "float") or not number or re.match(r"[-+]?0[0-9]", text):
        return Ambiguous(_advice(text, tag))
    value = (int if tag == "int" else float)(text[:MAX_DIGITS])
    if len(text) > MAX_DIGITS or not math.isfinite(value):
        return Ambiguous(f"{text[:MAX_DIGITS]} is too long or too large a number")
    return value


def _advice(text: str, tag: str) -> str:
    """How to write what `text` may have meant."""
    excerpt = text if len(text) <= MAX_DIGITS else f"{text[:MAX_DIGITS]}…"
    if tag == "bool":
        side = "true" if text.lower() in ("yes", "on") else "false"
        mend = "write true or false, or put it in quotes"
        return f"{excerpt} is {side} to some YAML readers and text to others: {mend}"
    if tag == "float" and not any(c.isdigit() for c in text):
        return f"{excerpt} is not a finite number"
    mend = "write a plain number such as 1000 or 0.5, or put it in quotes"
    return f"{excerpt} reads differently from one YAML reader to the next: {mend}"


@cache
def _resolvers() -> Mapping[str, list[tuple[str, re.Pattern[str]]]]:
    """PyYAML's rules for plain scalars, by first character."""
    import yaml

    return yaml.SafeLoader.yaml_implicit_resolvers


def _pyyaml_tag(text: str) -> str:
    """What PyYAML (YAML 1.1) takes a plain scalar for: str, int, float, bool, null, timestamp."""
    for tag, pattern in _resolvers().get(text[:1], []):
        if pattern.match(text):
            return tag.rpartition(":")[2]
    return "str"


Note = Callable[[str], str]


def lines_of(value: Mapping[str, Any], *, path: str = "", note: Note = lambda path: "") -> list[str]:
    """Write a mapping as block-style YAML lines that `parse` reads back to equal values.

    Args:
        value: mappings, sequences, texts, finite numbers, bools and None.
        path: the key path of `value`, for `note`.
        note: the comment on the line that holds the value of a key path; empty for none.

    Raises:
        TypeError: a value of another type.
        ValueError: a number that is not finite.

    Example:
        >>> lines_of({"kind": "pomdp", "prior": {"01": 3.5}, "cuts": [1, 2]})
        ['kind: pomdp', 'prior:', '  "01": 3.5', 'cuts: [1, 2]']
    """
    lines: list[str] = []
    for key, child in value.items():
        where = at(path, key)
        head = f"{scalar_text(str(key))}:"
        if isinstance(child, Mapping) and child:
            lines += [head, *_indent(lines_of(child, path=where, note=note))]
        elif isinstance(child, (list, tuple)) and any(isinstance(c, (Mapping, list, tuple)) for c in child):
            lines += [head, *_indent(_items(child, where, note))]
        else:
            comment = note(where)
            lines.append(f"{head} {_flow(child)}" + (f"  # {comment}" if comment else ""))
    return lines


def _items(items: list[Any] | tuple[Any, ...], path: str, note: Note) -> list[str]:
    """A sequence in block style: one dash an item."""
    lines: list[str] = []
    for i, item in enumerate(items):
        if isinstance(item, Mapping) and item:
            first, *rest = lines_of(item, path=at(path, i), note=note)
            lines += [f"- {first}", *_indent(rest)]
        else:
            lines.append(f"- {_flow(item)}")
    return lines


def _indent(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar_text(str(k))}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_flow(v) for v in value) + "]"
    return scalar_text(value)


def scalar_text(value: Any) -> str:
    """A scalar as both YAML versions read it.

    Example:
        >>> [scalar_text(v) for v in (None, True, 7, 1e-05, "gpt-5", "no", "1e3", "a: b")]
        ['null', 'true', '7', '1.0e-05', 'gpt-5', '"no"', '"1e3"', '"a: b"']
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be written: it is not finite")
        digits, e, power = float.__repr__(value).partition("e")
        return f"{digits}{'.0' if e and '.' not in digits else ''}{e}{power}"
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} cannot be written as YAML")
    if _PLAIN.fullmatch(value) and value[0] != "-" and plain_value(value) == value:
        return value
    return _quote(value)


def _quote(text: str) -> str:
    import yaml

    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10**9)).rstrip("\n")


def put_block(text: str, key: str, lines: list[str]) -> str:
    r"""Replace the top-level block `key`, or add it at the end; every other character survives.

    The block takes the text's line ending and the indentation of its neighbours. Comments
    around it, and a missing last newline, stay as they were.

    Raises:
        ValueError: the document is not a block-style mapping, or no YAML.

    Example:
        >>> put_block("a: 1  # one\nrouter: {}\n# end", "router", ["router:", "  kind: always"])
        'a: 1  # one\nrouter:\n  kind: always\n# end'
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    try:
        start, stop, column = _span(text, key)
    except _Fatal as fatal:
        raise ValueError(f"line {fatal.problem.line} {fatal.problem.message}") from fatal
    block = newline.join(" " * column + line for line in lines)
    before, after = text[:start], text[stop:]
    if start < stop:
        return before + block + after
    if before and not before.endswith("\n"):
        return before + newline + newline + block + after
    return before + (newline if before else "") + block + newline + after


def _span(text: str, key: str) -> tuple[int, int, int]:
    """First and last+1 character of a top-level block, and its column.

    A block that is not there yet has no characters, at the place where it can be added:
    the end of the text, or of the document where `...` ends it.
    """
    events = _events(text, pure=True)
    root = next(e for e in events if type(e).__name__ not in ("StreamStartEvent", "DocumentStartEvent"))
    if type(root).__name__ != "MappingStartEvent" or root.flow_style:
        raise ValueError("the document is not a block-style mapping")
    column = root.start_mark.column
    for entry in _entries(events):
        if entry[0].value == key:
            last = max(_content_end(text, event) for event in entry)
            line_end = re.compile(r"\r?\n|\r|\Z").search(text, last)
            return entry[0].start_mark.index - column, line_end.start() if line_end else len(text), column
    end = next(events)
    place = end.start_mark.index if end.explicit else len(text)
    return place, place, column


def _entries(events: Iterator[Any]) -> Iterator[list[Any]]:
    """The events of each entry of the mapping just begun: its key first, then its value."""
    for key in events:
        if type(key).__name__ == "MappingEndEvent":
            return
        entry, depth = [key], 0
        for event in events:
            entry.append(event)
            kind = type(event).__name__
            depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
            if depth == 0:
                break
        yield entry


def _content_end(text: str, event: Any) -> int:
    """Where the visible text of an event ends.

    A block's end has no text: its mark stands at whatever comes next. A block scalar's
    mark stands behind the blank lines that follow it.
    """
    start, stop = int(event.start_mark.index), int(event.end_mark.index)
    if start == stop and type(event).__name__.endswith("EndEvent"):
        return 0
    return start + len(text[start:stop].rstrip())
