"""Counts how often the way of one question changes module: python tests/benchmarks/way.py [QUESTION]

Every call and every return between functions of the package is seen by `sys.setprofile`; the count
goes up when the module that runs is another one than before. The simulated tiers answer, with an
empty cache, so that all runs count the same calls.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import automix_cli
from automix_cli import cli

PACKAGE = str(Path(automix_cli.__file__).parent)


def is_ours(frame: FrameType) -> bool:
    """Whether a frame runs code of the package."""
    return frame.f_code.co_filename.startswith(PACKAGE)


class Way:
    """The modules in the order in which they run; give `watch` to `sys.setprofile`."""

    def __init__(self) -> None:
        self.module = ""
        self.changes: Counter[tuple[str, str]] = Counter()
        self.calls = 0

    def watch(self, frame: FrameType, event: str, argument: Any) -> None:
        """Note the module that runs after a call or a return."""
        if not is_ours(frame) or frame.f_code.co_name == "<module>":
            return
        if event == "call":
            self._go_to(frame, event)
        elif event == "return":
            caller = frame.f_back
            while caller is not None and not is_ours(caller):
                caller = caller.f_back
            if caller is not None:
                self._go_to(caller, event)

    def _go_to(self, frame: FrameType, event: str) -> None:
        module = os.path.relpath(frame.f_code.co_filename, PACKAGE)
        if module != self.module:
            self.changes[self.module, module] += 1
            self.calls += event == "call"
            self.module = module


def main() -> None:
    """Answer one question and print the counts."""
    question = " ".join(sys.argv[1:]) or "What is 17 * 23?"
    sys.argv = ["automix", "ask", "--profile", "demo", "--no-cache", question]
    way = Way()
    sys.setprofile(way.watch)
    try:
        cli.main()
    except SystemExit:
        pass
    finally:
        sys.setprofile(None)
    print(f"{way.changes.total()} changes of module, {way.calls} of them by a call")
    for (before, after), count in way.changes.most_common(20):
        print(f"{count:4}  {before} -> {after}")


if __name__ == "__main__":
    main()
