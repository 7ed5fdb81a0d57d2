"""Gates of `bench --fail-under`: figures that must be met, or the exit code is 5.

"savings_at_95>=0.3,quality>=0.8,threshold.cost<0.01" is about this run; "quality_delta>=-0.01@95,
cost_ratio<=1.1" compares it with an earlier one, and goes by an interval.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from automix_cli.errors import UsageError, did_you_mean
from automix_cli.evaluation.bench import Bench
from automix_cli.evaluation.bootstrap import Interval
from automix_cli.evaluation.measures import LINE_MEASURES, MEASURE_BY_KEY

_GATE_FIGURE = re.compile(r"[^\s<>=,]+", re.ASCII)
_GATE_SIGN = re.compile(r">=|<=|>(?!=)|<(?!=)")
_GATE_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])", re.ASCII)
_GATE_LEVEL = re.compile(r"@\s*(\d+(?:\.\d*)?)(?![\w.])", re.ASCII)
_GATE_BLANKS = re.compile(r"\s*")
_GATE_FORMS: tuple[Literal["delta", "ratio"], ...] = ("delta", "ratio")
_GATE_EXAMPLE = "--fail-under 'savings_at_95>=0.3,quality>=0.8'"
_GATE_EXAMPLE_OF_TWO = "--against main/runs.jsonl --fail-under 'quality_delta>=-0.01@95,cost_ratio<=1.1'"

GateVerdict = Literal["met", "missed", "cannot tell"]
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class Gate(NamedTuple):
    """A figure and what it must come to.

    Attributes:
        policy: whose figure; "" is `pomdp`, or the headline where that does not take part.
        figure: key of a measure.
        sign: ">=", "<=", ">" or "<"; "" where the figure is only reported.
        value: the bar.
        form: "delta" and "ratio" compare with an earlier run.
        level: of the interval that must lie on the right side of the bar, per cent.
    """

    policy: str
    figure: str
    sign: str
    value: float
    form: Literal["", "delta", "ratio"] = ""
    level: float = 95.0

    @property
    def is_paired(self) -> bool:
        """Whether it compares two runs."""
        return bool(self.form)

    @property
    def share(self) -> float:
        """The level as a share."""
        return self.level / 100

    @property
    def name(self) -> str:
        """The figure as it is written in a gate."""
        return f"{self.figure}_{self.form}" if self.form else self.figure

    def verdict(self, interval: Interval) -> Literal["met", "missed", ""]:
        """What an interval says of a comparison with an earlier run; "" where the bar lies inside.

        Example:
            >>> gate = read_gates("quality_delta>=-0.01")[0]
            >>> gate.verdict(Interval(-0.005, 0.02)), gate.verdict(Interval(-0.02, 0.02))
            ('met', '')
        """
        low, high = (_SIGNS[self.sign](bound, self.value) for bound in interval)
        return "" if low != high else "met" if low else "missed"

    def shortfall(self, comparison: Bench) -> str:
        """Why the gate is not met, in words; "" where it is. An undefined figure meets none."""
        outcome = comparison.outcome(self.policy or default_policy(comparison))
        measure = outcome.measures[self.figure]
        if measure.value is None:
            return f"{outcome.name}.{self.figure} is undefined: {measure.reason}"
        if _SIGNS[self.sign](measure.value, self.value):
            return ""
        return f"{outcome.name}.{self.figure} is {measure.value:.6g}, not {self.sign} {self.value:g}"


def default_policy(comparison: Bench) -> str:
    """The policy of gates that name none."""
    return "pomdp" if any(o.name == "pomdp" for o in comparison.outcomes) else comparison.headline


# ------------------------------------------------------------------ reading


def read_gates(text: str) -> tuple[Gate, ...]:
    """Read an expression: comparisons joined by commas, all of which must hold.

    Raises:
        UsageError: for anything else, naming the position.

    Example:
        >>> read_gates("savings_at_95>=0.3, pomdp+query.cost < 1e-3")[1]
        Gate(policy='pomdp+query', figure='cost', sign='<', value=0.001, form='', level=95.0)
        >>> read_gates("quality_delta>=-0.01@99")[0][1:]
        ('quality', '>=', -0.01, 'delta', 99.0)
    """
    gates, place = list[Gate](), 0
    while not gates or place < len(text):
        reader = _GateReader(text, place + bool(gates))
        gates.append(reader.gate())
        place = reader.place
    return tuple(gates)


class _GateReader:
    """Reads one comparison of an expression; `place` is where it has come to."""

    def __init__(self, text: str, place: int) -> None:
        self.text, self.place = text, place

    def gate(self) -> Gate:
        name = self._take(_GATE_FIGURE, "a figure, like quality")[0]
        sign = self._take(_GATE_SIGN, ">=, <=, > or <; in a shell, put quotes around the whole")[0]
        value = float(self._take(_GATE_NUMBER, "a number")[0])
        policy, _, figure = name.rpartition(".")
        form, figure = _form_of(figure)
        if not self._next().startswith("@"):
            self._check_end("@" if form else "")
            return Gate(policy, figure, sign, value, form)
        if not form:
            raise self._error("no @, which goes with figures of two runs, like quality_delta")
        start, level = self.place, float(self._take(_GATE_LEVEL, "@ and per cent, like @95")[1])
        if not 50 <= level < 100:
            self.place = start
            raise self._error("a level from 50 to below 100 per cent")
        self._check_end()
        return Gate(policy, figure, sign, value, form, level)

    def _next(self) -> str:
        """The character that comes next, after blanks; "" at the end."""
        blanks = _GATE_BLANKS.match(self.text, self.place)
        self.place = blanks.end() if blanks else self.place
        return self.text[self.place : self.place + 1]

    def _take(self, pattern: re.Pattern[str], expectation: str) -> re.Match[str]:
        self._next()
        match = pattern.match(self.text, self.place)
        if match is None:
            raise self._error(expectation)
        self.place = match.end()
        return match

    def _check_end(self, also: str = "") -> None:
        if self._next() not in ("", ","):
            raise self._error(f"a comma or the end{', or @95' if also else ''}")

    def _error(self, expectation: str) -> UsageError:
        rest = self.text[self.place :]
        there = f"{rest[:20]!r}" if rest else "the end"
        return UsageError(
            f"--fail-under: cannot read {self.text!r}: expected {expectation}, got {there} at position "
            f"{self.place + 1}",
            hint=f"{_GATE_EXAMPLE}\n{_GATE_EXAMPLE_OF_TWO}",
        )


def _form_of(figure: str) -> tuple[Literal["", "delta", "ratio"], str]:
    """How a figure is compared, and the measure that it is of.

    Raises:
        UsageError: there is no such figure.
    """
    if figure in MEASURE_BY_KEY:
        return "", figure
    of_two = {spec.key for spec in LINE_MEASURES}
    for form in _GATE_FORMS:
        key = figure.removesuffix(f"_{form}")
        if key in of_two and key != figure:
            return form, key
        if key in MEASURE_BY_KEY and key != figure:
            raise UsageError(
                f"--fail-under: {key} is no mean over rows, and cannot be compared row by row",
                hint=f"there are {', '.join(f'{own.key}_{form}' for own in LINE_MEASURES)}",
            )
    names = [*MEASURE_BY_KEY, *(f"{spec.key}_{form}" for spec in LINE_MEASURES for form in _GATE_FORMS)]
    raise UsageError(
        f"--fail-under: no figure {figure!r}{did_you_mean(figure, names)}",
        hint=f"there are {', '.join(MEASURE_BY_KEY)}; with --against also "
        f"{', '.join(f'{spec.key}_delta' for spec in LINE_MEASURES)}, and the same with _ratio",
    )


# ------------------------------------------------------------------ checks


def check_policies(gates: Sequence[Gate], names: Sequence[str]) -> None:
    """Refuse gates of policies that do not take part.

    Raises:
        UsageError: naming the policy.
    """
    for gate in gates:
        if gate.policy and gate.policy not in names:
            raise UsageError(
                f"--fail-under: {gate.policy!r} does not take part{did_you_mean(gate.policy, names)}",
                hint=f"there are {', '.join(names)}",
            )


def check_against(gates: Sequence[Gate], *, has_earlier: bool, needs_proof: bool) -> None:
    """Refuse gates of two runs without an earlier one, and a proof of nothing.

    Raises:
        UsageError: naming the option that is missing.
    """
    of_two = [gate for gate in gates if gate.is_paired]
    if of_two and not has_earlier:
        raise UsageError(
            f"--fail-under: {of_two[0].name} compares two runs", hint="add --against main/runs.jsonl"
        )
    if needs_proof and not of_two:
        raise UsageError("--require-proof goes with a gate that compares two runs", hint=_GATE_EXAMPLE_OF_TWO)


def missed_gates(gates: Sequence[Gate], comparison: Bench) -> list[str]:
    """What is not met of the gates of this run alone, a sentence each.

    Raises:
        UsageError: for a policy that did not take part.
    """
    own = (gate for gate in gates if not gate.is_paired)
    return [why for gate in own if (why := gate.shortfall(comparison))]
