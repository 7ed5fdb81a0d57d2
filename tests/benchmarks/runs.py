"""Many independent runs of one measurement: in processes of one thread each, counted with intervals.

The benchmarks that measure bars share this. It imports no NumPy: the processes must set the number
of threads before they do.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from automix_cli import process

T = TypeVar("T")
R = TypeVar("R")

ONE_THREAD = dict.fromkeys(process.ONE_THREAD, "1")


class Runs(NamedTuple, Generic[R]):
    """What came of each task, in order, and the processor seconds of all."""

    results: list[R]
    seconds: float


@contextmanager
def processes(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Start `jobs` processes whose linear algebra runs in one thread."""
    os.environ.update(ONE_THREAD)
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def run_all(
    pool: ProcessPoolExecutor, function: Callable[[T], R], tasks: Sequence[T], chunk: int = 1
) -> Runs[R]:
    """Run a function of a module on every task."""
    pairs = list(pool.map(partial(_timed, function), tasks, chunksize=chunk))
    return Runs([result for result, _ in pairs], sum(seconds for _, seconds in pairs))


def _timed(function: Callable[[T], R], task: T) -> tuple[R, float]:
    start = time.process_time()
    result = function(task)
    return result, time.process_time() - start


class BinomialInterval(NamedTuple):
    """Bounds of a rate."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.1%}–{self.high:.1%}"


def binomial_interval(hits: int, runs: int, level: float = 0.95) -> BinomialInterval:
    """Bound a rate by the exact (Clopper-Pearson) interval.

    Example:
        >>> str(binomial_interval(0, 20)), str(binomial_interval(3, 60, level=0.99))
        ('0.0%–16.8%', '0.6%–17.1%')
    """
    if not runs:
        return BinomialInterval(0.0, 1.0)
    tail = (1 - level) / 2
    # Either bound is the rate at which so extreme a count has the chance of one tail.
    low = _rate_where(lambda p: 1 - _chance_up_to(hits - 1, runs, p) < tail) if hits else 0.0
    high = _rate_where(lambda p: _chance_up_to(hits, runs, p) > tail) if hits < runs else 1.0
    return BinomialInterval(low, high)


def _rate_where(is_below: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return low


def _chance_up_to(hits: int, runs: int, rate: float) -> float:
    """P(X ≤ hits) of X ~ Binomial(runs, rate)."""
    if not 0 < rate < 1:
        return float(rate <= 0 or hits >= runs)
    logs = (
        math.lgamma(runs + 1)
        - math.lgamma(k + 1)
        - math.lgamma(runs - k + 1)
        + k * math.log(rate)
        + (runs - k) * math.log1p(-rate)
        for k in range(hits + 1)
    )
    return math.fsum(math.exp(log) for log in logs)


def rate_text(hits: int, runs: int, level: float = 0.95) -> str:
    """Write a rate with its count and interval.

    Example:
        >>> rate_text(3, 60)
        '3/60 = 5.0% (1.0%–13.9%)'
    """
    return f"{hits}/{runs} = {hits / runs:.1%} ({binomial_interval(hits, runs, level)})" if runs else "-"


def table_line(*cells: Any) -> str:
    """Write one line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def table_head(*names: str) -> str:
    """Write the first two lines of a Markdown table; all columns but the first are numbers."""
    return f"{table_line(*names)}\n|---|{'--:|' * (len(names) - 1)}"


def option_parser(description: str | None, runs: int) -> argparse.ArgumentParser:
    """Make the parser of the options that all bars share."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=runs, metavar="N", help=f"runs of a cell [{runs}]")
    parser.add_argument("--cells", nargs="*", default=[], metavar="WORDS", help="only cells with these words")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes [1]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first run [0]")
    return parser


def is_picked(name: str, words: Sequence[str]) -> bool:
    """Whether a cell is asked for: its name holds one of the words; all are, where there are none."""
    return not words or any(word in name for word in words)
