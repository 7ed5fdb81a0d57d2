"""Which plan each question follows, for all cost_weights of a path at once.

A policy plans for lengths on a grid of its own, and takes the better of two plans in between (see
`PomdpPolicy.plan`). Settings are compared by the very plans that their policies follow: else what is
chosen and what is written would differ in cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from automix_cli.pomdp.arrays import Bools, Floats, Ints
from automix_cli.pomdp.histories import Root
from automix_cli.pomdp.induction import SolvedPath, solve_lengths
from automix_cli.pomdp.length_grid import LengthSpan, ValueLine, compare_plans, span_of
from automix_cli.pomdp.model import Model


class Cell(NamedTuple):
    """Rows of nearly one length, the plans at both of its ends, and W settings that these suffice for.

    Attributes:
        rows: places of the rows.
        settings: W, which of the settings that are played.
        low, high: the plans.
        crossing: W, the most tokens for which the plan for `low` is followed.
    """

    rows: Ints
    settings: Ints
    low: SolvedPath
    high: SolvedPath
    crossing: Floats


@dataclass(slots=True, eq=False)
class PlansByLength:
    """The plans of W cost_weights, for each length and class solved on first use.

    Attributes:
        model: the decision problem, small enough; its own cost_weight plays no part.
        weights: W.
        places: W, rising, their places among all weights of a fit.
    """

    model: Model
    weights: Floats
    places: Ints
    _paths: dict[tuple[float, int], SolvedPath] = field(default_factory=dict, repr=False)
    _lines: dict[tuple[float, int], ValueLine] = field(default_factory=dict, repr=False)

    def path(self, tokens: float, question_class: int) -> SolvedPath:
        """The plans for a length and a class."""
        self._solve([tokens], question_class)
        return self._paths[tokens, question_class]

    def _solve(self, lengths: Iterable[float], question_class: int) -> None:
        """Solve the plans of those lengths that were not met before, all at once."""
        own = [t for t in dict.fromkeys(lengths) if (t, question_class) not in self._paths]
        if own:
            paths = solve_lengths(self.model, self.weights.tolist(), own, Root(question_class))
            self._paths.update({(t, question_class): path for t, path in zip(own, paths, strict=True)})

    def cells(self, tokens: Floats, question_class: int, plans: Ints) -> Iterator[Cell]:
        """Divide rows of one class so that the plans of each cell are those that the policies follow.

        Args:
            tokens: n, prompt tokens of the rows, at least 1.
            question_class: their class.
            plans: of each setting that is played, its place in the paths.
        """
        every, settings = np.arange(len(tokens)), np.arange(len(plans))
        if not self.model.counts_tokens:
            only = self.path(0.0, question_class)
            yield Cell(every, settings, only, only, np.full(len(plans), np.inf))
            return
        sizes, size_of = np.unique(tokens, return_inverse=True)
        spans = [span_of(size) for size in sizes.tolist()]
        is_in = {span: np.array([other == span for other in spans]) for span in dict.fromkeys(spans)}
        level = [_Stretch(span, every[own[size_of]], settings) for span, own in is_in.items()]
        while level:  # spans of one width are paths at once
            self._solve([length for part in level for length in part.span], question_class)
            following: list[_Stretch] = []
            for part in level:
                lines = [
                    self._line(length, question_class).take(plans[part.settings]) for length in part.span
                ]
                crossing, suffices = compare_plans(part.span, *lines)
                if suffices.any():
                    low, high = (self.path(length, question_class) for length in part.span)
                    yield Cell(part.rows, part.settings[suffices], low, high, crossing[suffices])
                following += part.halves(tokens, ~suffices)
            level = following

    def _line(self, tokens: float, question_class: int) -> ValueLine:
        key = tokens, question_class
        if key not in self._lines:
            self._lines[key] = _value_line(self.path(*key))
        return self._lines[key]


class _Stretch(NamedTuple):
    """Rows in a span of lengths, and the settings for whose plans it is looked at."""

    span: LengthSpan
    rows: Ints
    settings: Ints

    def halves(self, tokens: Floats, which: Bools) -> Iterator[_Stretch]:
        """Halve the span for some of the settings; a half without rows is left out."""
        is_low = tokens[self.rows] < self.span.middle
        for span, own in ((self.span.lower, self.rows[is_low]), (self.span.upper, self.rows[~is_low])):
            if len(own) and which.any():
                yield _Stretch(span, own, self.settings[which])


def _value_line(solution: SolvedPath) -> ValueLine:
    """The value of each plan, and how it falls with each token."""
    path, orders = solution
    falls = np.array([path.histories.model.charge(action).per_token for action in path.actions])
    per_token = path.action_chances(orders) @ falls
    return ValueLine(path.root_values(), path.weights * per_token)
