"""What is wrong with a text that PyYAML refuses, told from the text itself.

PyYAML words its messages differently from release to release, and its two parsers differ as well. Only
the places are read here that it marks: where it stopped, and where that began which it was reading; and
the tokens that it read before.
"""

from __future__ import annotations

from contextlib import suppress
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
    "\t": "a tab cannot stand here: use a space",
    **dict.fromkeys("@`%", _QUOTES),
    **dict.fromkeys("&*", _ANCHORS),
    "!": "tags (!) are not allowed",
    "-": "no list item can start here: each has a line of its own, all with the same indentation",
    ",": "a comma has nothing before it",
}
_OPENERS = {"]": "[", "}": "{"}
_QUESTION = "put a text that holds a ? in quotes"
_TAB_INDENTS = "a tab cannot indent: use spaces"
_ENDS = "the text ends too early: a bracket is not closed, or a value is missing"
_AFTER_END = "something stands behind the end of the document"
_TRAILING = "something stands behind a complete value: put all of it in quotes"
_BLOCK_TEXT = "the text after | or > is indented deeper than its key"

_NO_COLON = "expected `key: value`"
_NO_KEY = "no key stands before the colon"
_TWO_COLONS = "a text that holds a colon and a blank needs quotes"
_LONG_KEY = "a key has at most 1,024 characters"
_LINES_OF_KEY = "a key stands on one line"

_CONTINUES = "this line continues the value above it: mend the indentation, or put that value in quotes"
_DEEPER = "this line is indented deeper than the one above it, which has a value already"
_FITS_NONE = "the indentation fits none of the lines above"
_FURTHER_LEFT = "this line stands further left than the first one"
_KEY_AMONG_ITEMS = "a key stands where a list goes on: indent it, or begin it with a dash"
_ITEM_AMONG_KEYS = "a list item stands where a mapping goes on: indent it, below a key without a value"


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
    if text[stop.index : stop.index + 1] == "?":
        return stop.line + 1, _QUESTION
    if start and start.index < stop.index and opener in ("[", "{"):
        return stop.line + 1, f"the {opener} of line {start.line + 1} is not closed, or a comma is missing"
    if opener in _BY_OPENER:
        return stop.line + 1, _BY_OPENER[opener]
    # Only a scanner reads characters; a parser puts together what the scanner read.
    if type(error).__name__ == "ScannerError":
        return _unread(text, start, stop, opener)
    return stop.line + 1, _stray_bracket(text, stop) or _position_problem(text, start, stop)


# ---------------------------------------------------------------- what the scanner cannot read


def _unread(text: str, start: Any, stop: Any, opener: str) -> tuple[int, str]:
    """Line and words for characters that make no sense where they stand."""
    if opener in ('"', "'") and start.index < stop.index:
        if opener == '"' and "\\" in text[stop.index - 2 : stop.index]:
            return stop.line + 1, r"no such escape in YAML: write \\ for a backslash"
        return stop.line + 1, f"the quote {opener} of line {start.line + 1} is not closed"
    if not start or start.index == stop.index:
        if text[stop.index : stop.index + 1] == ":":
            return _colon_problem(_tokens(text, stop.index), stop)
        if words := _character_problem(text, stop):
            return stop.line + 1, words
    mark = start or stop
    before = _tokens(text, mark.index)
    is_block_text = bool(before) and getattr(before[-1], "style", None) in ("|", ">")
    return mark.line + 1, _BLOCK_TEXT if is_block_text and not before[-1].value.strip() else _NO_COLON


def _character_problem(text: str, stop: Any) -> str:
    """Words for the character at a place; "" where it is none of those that need some."""
    character = text[stop.index : stop.index + 1]
    if character == "\t" and not _indentation(text, stop).strip():
        return _TAB_INDENTS
    return _BY_CHARACTER.get(character, "")


def _colon_problem(tokens: list[Any], stop: Any) -> tuple[int, str]:
    """Line and words for a colon with nothing before it that could be a key."""
    key: Any = tokens[-1] if tokens else None
    if type(key).__name__ != "ScalarToken" or key.end_mark.line != stop.line:
        return stop.line + 1, _NO_KEY
    before = type(tokens[-2]).__name__ if len(tokens) > 1 else ""
    is_value = before in ("ValueToken", "BlockEntryToken")
    if key.start_mark.line < stop.line:
        if is_value:
            return stop.line + 1, _CONTINUES
        return key.start_mark.line + 1, _NO_COLON if key.plain else _LINES_OF_KEY
    return stop.line + 1, _TWO_COLONS if is_value else _LONG_KEY


def _tokens(text: str, end: int) -> list[Any]:
    """The tokens that begin before a place, as far as they can be read."""
    import yaml

    tokens: list[Any] = []
    with suppress(yaml.YAMLError):
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if token.start_mark.index >= end:
                break
            tokens.append(token)
    return tokens


# ---------------------------------------------------------------- what cannot stand where it does


def _stray_bracket(text: str, stop: Any) -> str:
    """Words for a closing bracket that closes nothing; "" for anything else."""
    bracket = text[stop.index : stop.index + 1]
    if bracket not in _OPENERS:
        return ""
    open_tokens: list[Any] = []
    for token in _tokens(text, stop.index):
        if type(token).__name__ in ("FlowSequenceStartToken", "FlowMappingStartToken"):
            open_tokens.append(token)
        elif type(token).__name__ in ("FlowSequenceEndToken", "FlowMappingEndToken"):
            del open_tokens[-1:]
    if not open_tokens:
        return f"the {bracket} closes nothing: its {_OPENERS[bracket]} is missing"
    mark = open_tokens[-1].start_mark
    return f"the {text[mark.index]} of line {mark.line + 1} is not closed by this {bracket}"


def _position_problem(text: str, start: Any, stop: Any) -> str:
    """Words for something readable that cannot stand where it does."""
    if start is None:
        return _root_problem(text, stop)
    if not text[stop.index :].strip():
        return _ENDS
    if start.index == stop.index:
        return _NO_KEY if text[stop.index] == ":" else _character_problem(text, stop) or _ENDS
    if _indentation(text, stop).strip():
        return _TRAILING
    if start.column == stop.column:
        if text[start.index] == "-":
            return _KEY_AMONG_ITEMS
        if text[stop.index] == "-":
            return _ITEM_AMONG_KEYS
    above = next(line for line in reversed(text[: stop.index].split("\n")[:-1]) if line.strip())
    return _DEEPER if len(above) - len(above.lstrip(" ")) < stop.column else _FITS_NONE


def _root_problem(text: str, stop: Any) -> str:
    """Words for something that stands behind all that one document can hold."""
    lines = text[: stop.index].split("\n")
    if text.startswith("%") or "\n%" in text:
        return _DIRECTIVE
    tokens = _tokens(text, stop.index)
    columns = [t.start_mark.column for t in tokens if type(t).__name__ == "BlockMappingStartToken"]
    is_left = bool(columns) and stop.column < columns[0]
    return _FURTHER_LEFT if is_left and not any(line.startswith("...") for line in lines) else _AFTER_END


def _indentation(text: str, mark: Any) -> str:
    """What stands before a place on its line."""
    return text[: mark.index].rpartition("\n")[2]
