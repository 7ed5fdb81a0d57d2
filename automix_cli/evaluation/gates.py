"""Gates of `bench --fail-under`: figures that must be met, or the exit code is 5.

savings_at_95>=0.3,quality>=0.8,threshold.cost<0.01
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from automix_cli.errors import UsageError, did_you_mean
from automix_cli.evaluation.bench import Bench
from automix_cli.evaluation.measures import MEASURE_BY_KEY

_GATE = re.compile(
    r"\s*(?:(?P<policy>[^\s<>=,]+)\.)?(?P<figure>[a-z0-9_]+)\s*(?P<sign>>=|<=|>|<)\s*"
    r"(?P<value>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*",
    re.ASCII,
)
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class Gate(NamedTuple):
    """A figure and what it must come to; without a policy it is that of `pomdp`, or of the headline."""

    policy: str
    figure: str
    sign: str
    value: float

    def shortfall(self, comparison: Bench) -> str:
        """Why the gate is not met, in words; "" where it is. An undefined figure meets none."""
        ours = "pomdp" if any(o.name == "pomdp" for o in comparison.outcomes) else comparison.headline
        outcome = comparison.outcome(self.policy or ours)
        measure = outcome.measures[self.figure]
        if measure.value is None:
            return f"{outcome.name}.{self.figure} is undefined: {measure.reason}"
        if _SIGNS[self.sign](measure.value, self.value):
            return ""
        return f"{outcome.name}.{self.figure} is {measure.value:.6g}, not {self.sign} {self.value:g}"


def read_gates(text: str) -> tuple[Gate, ...]:
    """Read an expression: comparisons joined by commas, all of which must hold.

    Raises:
        UsageError: for anything else.

    Example:
        >>> read_gates("savings_at_95>=0.3, pomdp+query.cost < 1e-3")[1]
        Gate(policy='pomdp+query', figure='cost', sign='<', value=0.001)
    """
    return tuple(_gate(part) for part in text.split(","))


def _gate(part: str) -> Gate:
    match = _GATE.fullmatch(part)
    if match is None:
        raise UsageError(
            f"--fail-under: cannot read {part.strip()!r}",
            hint="--fail-under 'savings_at_95>=0.3,quality>=0.8'",
        )
    figure = match["figure"]
    if figure not in MEASURE_BY_KEY:
        raise UsageError(
            f"--fail-under: no figure {figure!r}{did_you_mean(figure, MEASURE_BY_KEY)}",
            hint=f"there are {', '.join(MEASURE_BY_KEY)}",
        )
    return Gate(match["policy"] or "", figure, match["sign"], float(match["value"]))


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


def missed_gates(gates: Sequence[Gate], comparison: Bench) -> list[str]:
    """What is not met, a sentence each.

    Raises:
        UsageError: for a policy that did not take part.
    """
    return [why for gate in gates if (why := gate.shortfall(comparison))]
