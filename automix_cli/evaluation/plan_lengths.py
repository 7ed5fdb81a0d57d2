"""Which plan each question follows, for all cost_weights of a path at once.

A policy plans for lengths and priors on grids of its own, and takes the best of the plans nearby (see
`PomdpPolicy.plan`). Settings are compared by the very plans that their policies follow: else what is
chosen and what is written would differ in cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from automix_cli.pomdp.arrays import Bools, Floats, Ints
from automix_cli.pomdp.histories import Root, TierPath
from automix_cli.pomdp.induction import ActionCodes, PlanCase, PlanPath, SolvedPath, solve_cases
from automix_cli.pomdp.length_grid import LengthSpan, SpanEnds, ValueLine, compare_plans, span_of, steps_of
from automix_cli.pomdp.model import Model, count_histories

_LARGEST_SOLUTION = 200_000  # histories times plans that are solved in one pass: they stay in the cache


class Cell(NamedTuple):
    """Rows of nearly one length, the plans at both of its ends, and W settings that these suffice for.

    Attributes:
        rows: places of the rows.
        settings: W, which of the settings that are played.
        low, high: the plans, for one root.
        crossing: W, the most tokens for which the plan for `low` is followed.
    """

    rows: Ints
    settings: Ints
    low: PlanCase
    high: PlanCase
    crossing: Floats


@dataclass(slots=True, eq=False)
class PlansByLength:
    """The plans of W cost_weights, for each length and root solved on first use.

    Attributes:
        model: the decision problem, small enough; its own cost_weight plays no part.
        weights: W.
        places: W, rising, their places among all weights of a fit.
    """

    model: Model
    weights: Floats
    places: Ints
    _codes: ActionCodes = field(default_factory=lambda: ActionCodes([], {}), repr=False)
    _paths: dict[PlanCase, SolvedPath] = field(default_factory=dict, repr=False)

    def path(self, case: PlanCase) -> SolvedPath:
        """The plans for a length and a root."""
        if case not in self._paths:
            self.solve([case])
        return self._paths[case]

    def solve(self, cases: Iterable[PlanCase]) -> None:
        """Solve the plans of those cases that were not met before, as many at once as memory allows."""
        own = [case for case in dict.fromkeys(cases) if case not in self._paths]
        if not own:
            return
        some = max(1, _LARGEST_SOLUTION // (count_histories(self.model) * len(self.weights)))
        for start in range(0, len(own), some):
            part = own[start : start + some]
            paths = solve_cases(self.model, self.weights.tolist(), part, self._codes)
            self._paths.update(zip(part, paths, strict=True))

    def cells(self, tokens: Floats, rows_of: Mapping[Root, Ints], plans: Ints) -> Iterator[Cell]:
        """Divide the rows of each root so that the plans of each cell are those that the policies follow.

        Args:
            tokens: n, prompt tokens of the rows, at least 1.
            rows_of: the rows of each root; a row may be one of several.
            plans: of each setting that is played, its place in the paths.
        """
        settings = np.arange(len(plans))
        if not self.model.counts_tokens:
            self.solve([PlanCase(0.0, root) for root in rows_of])
            for root, own in rows_of.items():
                only = PlanCase(0.0, root)
                yield Cell(own, settings, only, only, np.full(len(plans), np.inf))
            return
        level = [part for root, own in rows_of.items() for part in _stretches(root, tokens, own, settings)]
        while level:  # the cases of one level are solved at once
            self.solve([case for part in level for case in part.cases])
            crossings, suffice = self._compare(level, plans)
            following: list[_Stretch] = []
            for part, crossing, is_enough in zip(level, crossings, suffice, strict=True):
                own = part.settings[is_enough[part.settings]]
                if len(own):
                    yield Cell(part.rows, own, *part.cases, crossing[own])
                following += part.halves(tokens, part.settings[~is_enough[part.settings]])
            level = following

    def _compare(self, level: Sequence[_Stretch], plans: Ints) -> tuple[Floats, Bools]:
        """Where the plans for both ends of each stretch cross, and where they suffice; stretches×W."""
        ends = SpanEnds(*np.array([part.span for part in level]).T[:, :, None])
        lines = (
            ValueLine(*np.array([self._paths[case].line for case in cases])[:, :, plans].swapaxes(0, 1))
            for cases in zip(*(part.cases for part in level), strict=True)
        )
        return compare_plans(ends, *lines)


class _Stretch(NamedTuple):
    """Rows of one root in a span of lengths, and the settings for whose plans it is looked at."""

    root: Root
    span: LengthSpan
    rows: Ints
    settings: Ints

    @property
    def cases(self) -> tuple[PlanCase, PlanCase]:
        """Both ends of the span."""
        return PlanCase(self.span.low, self.root), PlanCase(self.span.high, self.root)

    def halves(self, tokens: Floats, settings: Ints) -> Iterator[_Stretch]:
        """Halve the span for some of the settings; a half without rows is left out."""
        if not len(settings):
            return
        is_low = tokens[self.rows] < self.span.middle
        for span, own in ((self.span.lower, self.rows[is_low]), (self.span.upper, self.rows[~is_low])):
            if len(own):
                yield _Stretch(self.root, span, own, settings)


def _stretches(root: Root, tokens: Floats, rows: Ints, settings: Ints) -> Iterator[_Stretch]:
    """The widest spans that rows of one root lie in."""
    own_tokens = tokens[rows]
    steps = steps_of(own_tokens)
    for step in np.unique(steps):
        own = steps == step
        yield _Stretch(root, span_of(float(own_tokens[own][0])), rows[own], settings)


class JointPlans(NamedTuple):
    """Plans of several cases as one path, and in how many orders each history is met."""

    path: PlanPath
    orders: dict[TierPath, Floats]


def join_paths(solutions: Sequence[SolvedPath], plans: Ints) -> JointPlans:
    """Some plans of each of several cases side by side, to be played in one pass; case by case."""
    first = solutions[0].path
    blocks = {
        steps: block._replace(
            value=block.value[:0],
            choice=np.concatenate([own.path.blocks[steps].choice[plans] for own in solutions]),
        )
        for steps, block in first.blocks.items()
    }
    orders = {
        steps: np.concatenate([own.orders[steps][plans] for own in solutions]) for steps in first.blocks
    }
    path = type(first)(
        first.histories, first.tokens, np.tile(first.weights[plans], len(solutions)), blocks,
        first.actions, first.codes,
    )  # fmt: skip
    return JointPlans(path, orders)
