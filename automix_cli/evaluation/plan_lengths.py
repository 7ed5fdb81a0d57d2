"""Which plan each question follows, for all cost_weights of a path at once.

A policy plans for lengths and priors on grids of its own, and takes the best of the plans nearby (see
`PomdpPolicy.plan`). Settings are compared by the very plans that their policies follow: else what is
chosen and what is written would differ in cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from automix_cli.pomdp.arrays import Bools, Floats, Ints
from automix_cli.pomdp.histories import Histories, Root, TierPath
from automix_cli.pomdp.induction import (
    ActionCodes,
    Block,
    PlanCase,
    PlanPath,
    PlanTask,
    SolvedPlans,
    StateValues,
    solve_cases,
)
from automix_cli.pomdp.length_grid import LengthSpan, SpanEnds, ValueLine, compare_plans, span_of, steps_of
from automix_cli.pomdp.model import Model, count_histories

_NONE = np.empty(0)
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


class _KeptPlans:
    """The plans of W cost_weights for one case, as far as they were solved; the others hold zeros.

    Attributes:
        is_solved: W.
        plans: W of each.
    """

    def __init__(self, count: int, like: SolvedPlans) -> None:
        self.is_solved = np.zeros(count, dtype=bool)
        if len(like.spending) == count:  # all are solved: there is no need of copies
            self.is_solved[:], self.plans = True, like
            return

        def room(array: Any) -> Any:
            return np.zeros((count, *array.shape[1:]), array.dtype)

        values = like.values
        self.plans = SolvedPlans(
            {path: room(choice) for path, choice in like.choices.items()},
            {path: room(ways) for path, ways in like.orders.items()},
            room(like.spending),
            ValueLine(*map(room, like.line)),
            None if values is None else StateValues(values.tokens, room(values.value), room(values.fall)),
        )

    def add(self, which: Ints, plans: SolvedPlans) -> None:
        """Keep plans that were solved."""
        self.is_solved[which] = True
        for array, own in zip(_arrays(self.plans), _arrays(plans), strict=True):
            array[which] = own


def _arrays(plans: SolvedPlans) -> list[Any]:
    """All arrays that have a line per plan."""
    values = () if plans.values is None else (plans.values.value, plans.values.fall)
    return [*plans.choices.values(), *plans.orders.values(), plans.spending, *plans.line, *values]


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
    _codes: ActionCodes = field(default_factory=lambda: ActionCodes([], {}, {}), repr=False)
    _stock: dict[PlanCase, _KeptPlans] = field(default_factory=dict, repr=False)

    def plans(self, case: PlanCase) -> SolvedPlans:
        """The plans for a length and a root, W; zeros where they were not solved."""
        return self._stock[case].plans

    def solve(self, pairs: Iterable[tuple[PlanCase, Ints]]) -> None:
        """Solve those plans of cases that were not met before, as many at once as memory allows."""
        masks: dict[PlanCase, Bools] = {}
        for case, which in pairs:
            masks.setdefault(case, np.zeros(len(self.weights), dtype=bool))[which] = True
        for case, mask in masks.items():
            if case in self._stock:
                mask &= ~self._stock[case].is_solved
        new = {case: np.flatnonzero(mask) for case, mask in masks.items() if mask.any()}
        for part in self._parts(new):
            tasks = [PlanTask(case, self.weights[new[case]]) for case in part]
            for case, plans in zip(part, solve_cases(self.model, tasks, self._codes), strict=True):
                if case not in self._stock:
                    self._stock[case] = _KeptPlans(len(self.weights), plans)
                if not self._stock[case].is_solved.all():
                    self._stock[case].add(new[case], plans)

    def _parts(self, new: Mapping[PlanCase, Ints]) -> Iterator[list[PlanCase]]:
        """The cases, so many at a time as are solved in one pass."""
        most, part, count = _LARGEST_SOLUTION // count_histories(self.model), list[PlanCase](), 0
        for case, which in new.items():
            if part and count + len(which) > most:
                yield part
                part, count = [], 0
            part.append(case)
            count += len(which)
        if part:
            yield part

    def join(self, cases: Sequence[PlanCase], plans: Sequence[Ints]) -> JointPlans:
        """Some plans of each of several cases side by side, to be played in one pass; case by case."""
        own = [(self.plans(case), which) for case, which in zip(cases, plans, strict=True)]
        orders = {
            steps: np.concatenate([one.orders[steps].take(which, axis=0) for one, which in own])
            for steps in own[0][0].orders
        }
        blocks = {
            steps: Block(
                _NONE, _NONE, np.concatenate([one.choices[steps].take(which, axis=0) for one, which in own])
            )
            for steps in orders
        }
        weights = np.concatenate([self.weights[which] for which in plans])
        histories = Histories(self.model, cases[0].root)
        path = PlanPath(histories, cases[0].tokens, weights, blocks, self._codes.actions, self._codes.codes)
        return JointPlans(path, orders)

    def cells(self, tokens: Floats, rows_of: Mapping[Root, Ints], plans: Ints) -> Iterator[Cell]:
        """Divide the rows of each root so that the plans of each cell are those that the policies follow.

        Args:
            tokens: n, prompt tokens of the rows, at least 1.
            rows_of: the rows of each root; a row may be one of several.
            plans: of each setting that is played, its place in the paths.
        """
        settings = np.arange(len(plans))
        if not self.model.counts_tokens:
            self.solve([(PlanCase(0.0, root), plans) for root in rows_of])
            for root, own in rows_of.items():
                only = PlanCase(0.0, root)
                yield Cell(own, settings, only, only, np.full(len(plans), np.inf))
            return
        level = [part for root, own in rows_of.items() for part in _stretches(root, tokens, own, settings)]
        while level:  # the cases of one level are solved at once
            self.solve([(case, plans[part.settings]) for part in level for case in part.cases])
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
            ValueLine(*np.array([self.plans(case).line for case in cases])[:, :, plans].swapaxes(0, 1))
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
    """Plans of several cases as one path of choices, and in how many orders each history is met."""

    path: PlanPath
    orders: dict[TierPath, Floats]
