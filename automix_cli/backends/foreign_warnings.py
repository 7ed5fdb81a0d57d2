"""Warnings of libraries, which concern their developers, are kept from runs and from the terminal.

`-W error` and `PYTHONWARNINGS=error` are meant for the code under test. A library that warns while it
is imported or called would then fail the call, though nothing is wrong with it.
"""

from __future__ import annotations

import re
import sys
import warnings
from typing import Any, cast


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


def ignore_foreign_warnings(own: str = "automix_cli") -> None:
    """Ignore all warnings but those of `own` (a pattern of module names), which are treated as before.

    One filter for the whole process: `warnings.catch_warnings` around single calls would be undone by
    whichever concurrent call ends first. It must stand first; called again, it is put there again.
    """
    filters = cast("list[Any]", warnings.filters)
    if filters and isinstance(filters[0][3], Foreign):
        return
    warnings.filterwarnings("ignore", module="replaced below")  # also has Python forget what it cached
    filters[1:] = [row for row in filters[1:] if not isinstance(row[3], Foreign)]
    filters[0] = (*filters[0][:3], Foreign(own), 0)
