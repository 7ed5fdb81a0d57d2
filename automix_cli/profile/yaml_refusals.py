"""What is wrong with a text that PyYAML refuses, told from the text itself.

PyYAML words its messages differently from release to release, and its two parsers differ as well. Only
the places are read here that it marks: where it stopped, and where that began which it was reading.
"""

from __future__ import annotations

from typing import Any

_ANCHORS = "anchors and aliases (& and *) are not allowed: write the value out"
_DIRECTIVE = "has a % directive, which a profile may not"
_QUOTES = "a text cannot start with @, ` or %: put it in quotes"
_BY_OPENER = {
    **dict.fromkeys("&*", _ANCHORS),
    **dict.fromkeys("|>", "after | or > stands nothing else: the text begins on the next line, indented"),
    "!": "tags (!) are not allowed",
    "%": _DIRECTIVE,
}
_BY_CHARACTER = {
    "\t": "a tab cannot indent: use spaces",
    **dict.fromkeys("@`%", _QUOTES),
    **dict.fromkeys("&*", _ANCHORS),
    "!": "tags (!) are not allowed",
    ":": "no value can start here: mend the indentation, or put a text that holds a colon in quotes",
    "-": "no list item can start here: each has a line of its own, all with the same indentation",
    ",": "a comma has nothing before it",
}
_ENDS = "the text ends too early: a bracket is not closed, or a value is missing"
_NO_COLON = "expected `key: value`"
_INDENTATION = "the indentation fits none of the lines above"
_TRAILING = "something stands behind a complete value: put all of it in quotes"
_AFTER_END = "something stands behind the end of the document"


def refusal(text: str, error: Exception) -> tuple[int, str]:
    r"""The 1-based line of what is refused, and what is wrong there.

    Args:
        text: all of it.
        error: what PyYAML's own parser raised, whose marks count characters.

    Example:
        >>> import yaml
        >>> try:
        ...     yaml.safe_load("a: [1, 2\nb: 3")
        ... except yaml.YAMLError as error:
        ...     refusal("a: [1, 2\nb: 3", error)
        (2, 'the [ of line 1 is not closed, or a comma is missing')
    """
    start: Any = getattr(error, "context_mark", None)
    stop: Any = getattr(error, "problem_mark", None) or start
    if stop is None:
        return 1, f"it cannot be read (PyYAML: {' '.join(str(error).split())[:200]})"
    opener = text[start.index : start.index + 1] if start else ""
    if start and start.index < stop.index and opener in ("[", "{"):
        return stop.line + 1, f"the {opener} of line {start.line + 1} is not closed, or a comma is missing"
    if opener in _BY_OPENER:
        return stop.line + 1, _BY_OPENER[opener]
    # Only a scanner reads characters; a parser puts together what the scanner read.
    if type(error).__name__ == "ScannerError":
        return _unread(text, start, stop, opener)
    return stop.line + 1, _position_problem(text, start, stop)


def _unread(text: str, start: Any, stop: Any, opener: str) -> tuple[int, str]:
    """Line and words for characters that make no sense where they stand."""
    if opener in ('"', "'") and start.index < stop.index:
        if opener == '"' and "\\" in text[stop.index - 2 : stop.index]:
            return stop.line + 1, r"no such escape in YAML: write \\ for a backslash"
        return stop.line + 1, f"the quote {opener} of line {start.line + 1} is not closed"
    character = text[stop.index : stop.index + 1]
    if character in _BY_CHARACTER and (not start or start.index == stop.index):
        return stop.line + 1, _BY_CHARACTER[character]
    return (start or stop).line + 1, _NO_COLON


def _position_problem(text: str, start: Any, stop: Any) -> str:
    """Words for something readable that cannot stand where it does."""
    if start is None:
        return _DIRECTIVE if text.startswith("%") or "\n%" in text else _AFTER_END
    if not text[stop.index :].strip():
        return _ENDS
    if start.index == stop.index:
        return _BY_CHARACTER.get(text[stop.index], _ENDS)
    before = text[: stop.index].rpartition("\n")[2]
    return _TRAILING if before.strip() else _INDENTATION
