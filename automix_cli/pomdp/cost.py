"""Planned costs: what a call is expected to cost, as a function of the prompt."""

from __future__ import annotations

from typing import NamedTuple


class Cost(NamedTuple):
    """Planned dollars of a call: `fixed + per_token · prompt tokens`; completion tokens at their mean.

    Example:
        >>> Cost(0.001, 1e-6).at(2000)
        0.003
    """

    fixed: float = 0.0
    per_token: float = 0.0

    def at(self, tokens: float) -> float:
        """Dollars at a number of prompt tokens."""
        return self.fixed + self.per_token * tokens

    def __mul__(self, times: object) -> Cost:
        """The cost of this many calls."""
        if not isinstance(times, int | float):
            return NotImplemented
        return Cost(self.fixed * times, self.per_token * times)

    def __add__(self, other: object) -> Cost:
        """The cost of both; a plain number is dollars whatever the prompt."""
        if isinstance(other, Cost):
            return Cost(self.fixed + other.fixed, self.per_token + other.per_token)
        return Cost(self.fixed + other, self.per_token) if isinstance(other, int | float) else NotImplemented


FREE = Cost()
