"""Trace rows to read: numbered like the lines of a file, on few tiers, with or without samples."""

import random
from collections.abc import Iterable
from typing import Any

from automix_cli.data.read_traces import read_table
from automix_cli.data.traces import TraceTable


def numbered(rows: Iterable[Any]) -> Iterable[tuple[int, Any]]:
    return enumerate(rows, start=1)


def trace_row(i: int = 0, **tiers: Any) -> dict[str, Any]:
    return {"id": f"q{i}", "question": f"What is {i}?", "tiers": tiers}


def sample_row(ident: object, samples: list[Any] | None, expected: Any = "7", **small: Any) -> dict[str, Any]:
    """A question on which `samples` of `small` are recorded."""
    cell = {"score": 0, "cost": 1, **({} if samples is None else {"samples": samples}), **small}
    tiers = {"small": cell, "large": {"score": 1, "cost": 20}}
    return {"id": ident, "question": f"q {ident}", "expected": expected, "tiers": tiers}


def read_samples(rows: Iterable[dict[str, Any]], scorer: str | None = "numeric") -> TraceTable:
    return read_table(numbered(rows), scorer=scorer)


def draw_sample_rows(rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """Each of five samples is right with chance 0.6, and wrong ones scatter."""
    rng = random.Random(seed)
    answers = [[rng.choice(("7", "7", "7", "8", "9")) for _ in range(5)] for _ in range(rows)]
    return [sample_row(i, texts, score=int(texts[0] == "7")) for i, texts in enumerate(answers)]
