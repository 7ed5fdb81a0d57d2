"""Warnings of libraries, which concern their developers, are kept from runs and from the terminal.

`-W error` and `PYTHONWARNINGS=error` are meant for the code under test. A library that warns while it
is imported or called would then fail the call, though nothing is wrong with it.

The command line ignores all warnings but ours (`ignore_foreign_warnings`). In somebody else's program the
filters stay as they are, unless it has turned warnings into errors: then those are ignored that LiteLLM
gives, or causes (`ignore_warnings_in_calls`), because every call through it would fail.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, cast

from automix_cli import process


class Foreign:
    """A pattern that matches where the call of `warnings.warn` stands in somebody else's module.

    It takes the place of a filter's pattern for module names. Python offers a filter only the name that
    the `stacklevel` of a warning blames, which is often that of the caller: ours. The frame below
    tells who speaks. A warning of C code, numpy's for example, is that of the module that called it.
    """

    def __init__(self, own: str) -> None:
        self._own = re.compile(rf"({own})(\.|$)")

    def match(self, module: str) -> bool:
        """Whether the code that warns at this moment is not ours; `module` is what a filter goes by."""
        speaker = sys._getframe(1).f_globals.get("__name__") or module
        if speaker == "warnings":  # Python itself warns, of a coroutine that nobody awaited for example
            speaker = module
        return self._own.match(speaker) is None


class Beneath:
    """A pattern that matches while a library works, whoever warns: itself, or something that it calls."""

    def __init__(self, library: str) -> None:
        self._library = library

    def match(self, module: str) -> bool:
        """Whether the library is among the callers of the code that warns at this moment."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if str(frame.f_globals.get("__name__")).partition(".")[0] == self._library:
                return True
            frame = frame.f_back
        return False


def ignore_foreign_warnings(own: str = "automix_cli") -> None:
    """Ignore all warnings but those of `own` (a pattern of module names), which are treated as before.

    One filter for the whole process: `warnings.catch_warnings` around single calls would be undone by
    whichever concurrent call ends first. It must stand first; called again, it is put there again.
    """
    if not isinstance(_first(), Foreign):
        _put_first(Foreign(own))


def ignore_warnings_in_calls(library: str = "litellm") -> None:
    """Ignore what a library warns of while it works, unless all foreign warnings are ignored already.

    As above, a filter that must stand first: a library may have put filters of its own before it. In
    somebody else's program nothing is changed where no warning is an error.
    """
    if isinstance(_first(), Foreign | Beneath) or not (process.is_ours() or _have_errors()):
        return
    foreign = next((p for p in map(_pattern, warnings.filters) if isinstance(p, Foreign)), None)
    _put_first(foreign or Beneath(library))


@contextmanager
def ignored_in_import() -> Iterator[None]:
    """Ignore all warnings while a library is imported; see `ignore_warnings_in_calls` for other programs."""
    if not (process.is_ours() or _have_errors()):
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _have_errors() -> bool:
    """Whether some warnings are errors."""
    return any(row[0] == "error" for row in warnings.filters)


def _first() -> Any:
    """The pattern of the filter that is asked first."""
    return _pattern(warnings.filters[0]) if warnings.filters else None


def _pattern(row: Any) -> Any:
    """The pattern of module names in a filter."""
    return row[3]


def _put_first(pattern: Foreign | Beneath) -> None:
    """Put a filter that ignores what a pattern matches before all others, once."""
    warnings.filterwarnings("ignore", module="replaced below")  # also has Python forget what it cached
    filters = cast("list[Any]", warnings.filters)
    filters[1:] = [row for row in filters[1:] if not isinstance(_pattern(row), Foreign | Beneath)]
    filters[0] = (*filters[0][:3], pattern, 0)
