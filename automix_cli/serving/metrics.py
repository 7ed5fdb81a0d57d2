"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from automix_cli.records import Answer

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper ends in seconds of the histogram of durations."""

LabelValues = tuple[tuple[str, str], ...]


class Gauge(NamedTuple):
    """A value that is read when it is asked for; None leaves it out."""

    name: str
    help: str
    read: Callable[[], float | None]
    kind: str = "gauge"


class Metrics:
    """Counts requests, answers and money since the start of the server."""

    def __init__(self) -> None:
        self._requests: Counter[LabelValues] = Counter()
        self._answers: Counter[LabelValues] = Counter()
        self._steps: Counter[LabelValues] = Counter()
        self._cost_usd = 0.0
        self._durations = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0
        self.gauges: list[Gauge] = []

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Count a request that has ended; `path` is one of a few, never what a client made up."""
        self._requests[(("path", path), ("status", str(status)))] += 1
        self._durations[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds

    def count_answer(self, model: str, answer: Answer) -> None:
        """Count a question by what became of it, and each tier that it visited."""
        labels = (("model", model), ("tier", answer.tier or ""), ("status", answer.status))
        self._answers[labels] += 1
        for step in answer.route:
            self._steps[(("tier", step.tier), ("action", step.action or "none"))] += 1
        self._cost_usd += answer.cost_usd or 0.0

    def text(self) -> str:
        """The exposition format, version 0.0.4."""
        return "\n".join([*self._lines(), ""])

    def _lines(self) -> Iterator[str]:
        yield from _counter("automix_requests_total", "Requests by path and status.", self._requests)
        yield from _counter("automix_answers_total", "Questions by model, tier and status.", self._answers)
        yield from _counter("automix_steps_total", "Tiers visited, by what was decided there.", self._steps)
        cost = Gauge(
            "automix_cost_usd_total", "List price of all answers.", lambda: self._cost_usd, "counter"
        )
        for gauge in (cost, *self.gauges):
            value = gauge.read()
            if value is not None:
                yield from _head(gauge.name, gauge.help, gauge.kind)
                yield f"{gauge.name} {value:.12g}"
        yield from self._histogram("automix_request_seconds")

    def _histogram(self, name: str) -> Iterator[str]:
        yield from _head(name, "Seconds that requests took.", "histogram")
        total = 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self._durations, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._seconds:.6f}"
        yield f"{name}_count {total}"


def _head(name: str, help: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"


def _counter(name: str, help: str, counts: Counter[LabelValues]) -> Iterator[str]:
    yield from _head(name, help, "counter")
    for labels, count in sorted(counts.items()):
        yield f"{name}{{{','.join(f'{key}={_label_value(value)}' for key, value in labels)}}} {count}"


def _label_value(value: str) -> str:
    r"""A label's value.

    Example:
        >>> print(_label_value('a"b'))
        "a\"b"
    """
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}
    return '"' + "".join(escapes.get(char, char) for char in value) + '"'
