"""The plans of one fit, each solved when it is first wanted; those of several fits in common passes."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from msgspec import Struct, field

from automix_cli.pomdp.action_table import ActionTable
from automix_cli.pomdp.arrays import Bools, Floats, Ints
from automix_cli.pomdp.histories import Histories, Root
from automix_cli.pomdp.induction import PlanTask
from automix_cli.pomdp.model import Model, count_histories
from automix_cli.pomdp.outlook import StateValues
from automix_cli.pomdp.plan_cases import PlanCase, SolvedPlans, solve_cases

_LARGEST_SOLUTION = 1_000_000  # histories times plans that are solved in one pass


class SolvedCase:
    """The plans of W cost_weights for one case, as far as they were solved; the others hold zeros.

    Attributes:
        is_solved: W.
        passes: those in which they were solved.
        number: W, which of `passes`.
        place: W, the place of each plan in its pass.
        spending: W, dollars that each plan is expected to cost on a question.
        line: 2×W, what each plan is worth, and how that falls with each token of the prompt.
        values: W, what they bring per state; None where questions of one length have one plan.
    """

    def __init__(self, count: int, like: SolvedPlans) -> None:
        self.is_solved, self.passes = np.zeros(count, dtype=bool), list[SolvedPlans]()
        self.number, self.place = np.zeros((2, count), dtype=np.intp)
        self.spending, self.line = np.zeros(count), np.zeros((2, count))
        self.values: StateValues | None = None
        if like.values is not None:
            states = like.values.value.shape[1]
            self.values = StateValues(np.zeros(count), *np.zeros((2, count, states)))

    def add(self, which: Ints, plans: SolvedPlans, places: slice) -> None:
        """Keep some plans of a pass."""
        self.is_solved[which] = True
        self.number[which], self.place[which] = len(self.passes), np.arange(places.start, places.stop)
        self.passes.append(plans)
        self.spending[which] = plans.spending[places]
        self.line[:, which] = np.array(plans.line)[:, places]
        if self.values is not None and plans.values is not None:
            for own, values in zip(self.values, plans.values, strict=True):
                own[which] = values[places]


class PlanStock(Struct, eq=False):
    """The plans of a model for W cost_weights, by case.

    Attributes:
        model: the decision problem, small enough; its own cost_weight plays no part.
        weights: W.
    """

    model: Model
    weights: Floats
    _cases: dict[PlanCase, SolvedCase] = field(default_factory=dict)
    _histories: dict[Root, Histories] = field(default_factory=dict)
    _actions: ActionTable | None = field(default=None)

    def __getitem__(self, case: PlanCase) -> SolvedCase:
        """The plans for a case, some of which were solved."""
        return self._cases[case]

    def lacks(self, case: PlanCase, which: Bools) -> Ints:
        """Those of some plans that were not solved yet."""
        own = self._cases.get(case)
        return np.flatnonzero(which if own is None else which & ~own.is_solved)

    def task(self, case: PlanCase, which: Ints) -> PlanTask:
        """What is to be solved for some plans of a case."""
        if self._actions is None:
            self._actions = ActionTable.of(Histories(self.model, Root()))
        histories = self._histories.setdefault(case.root, Histories(self.model, case.root))
        return PlanTask(histories, self._actions, case.tokens, self.weights[which])

    def add(self, case: PlanCase, which: Ints, plans: SolvedPlans, places: slice) -> None:
        """Keep what was solved."""
        if case not in self._cases:
            self._cases[case] = SolvedCase(len(self.weights), plans)
        self._cases[case].add(which, plans, places)


class PlanRequest(NamedTuple):
    """Some plans of a stock for one case."""

    stock: PlanStock
    case: PlanCase
    which: Ints


class _Lacking(NamedTuple):
    """Plans that are to be solved: those of a stock, and what they are solved for."""

    stock: PlanStock
    case: PlanCase
    which: Ints
    task: PlanTask


def solve_requests(requests: Iterable[PlanRequest]) -> None:
    """Solve what was not solved before, as many plans at once as the cache of the processor holds."""
    for part in _parts(_lacking(requests)):
        plans, end = solve_cases([own.task for own in part]), 0
        for stock, case, which, _ in part:
            start, end = end, end + len(which)
            stock.add(case, which, plans, slice(start, end))


def _lacking(requests: Iterable[PlanRequest]) -> Iterator[_Lacking]:
    """The plans that were not solved, stock by stock."""
    stocks: dict[int, tuple[PlanStock, dict[PlanCase, Bools]]] = {}
    for stock, case, which in requests:
        _, masks = stocks.setdefault(id(stock), (stock, {}))
        masks.setdefault(case, np.zeros(len(stock.weights), dtype=bool))[which] = True
    for stock, masks in stocks.values():
        for case, mask in masks.items():
            if len(which := stock.lacks(case, mask)):
                yield _Lacking(stock, case, which, stock.task(case, which))


def _parts(lacking: Iterable[_Lacking]) -> Iterator[list[_Lacking]]:
    """What is solved in one pass each: plans over the same histories, so many at a time."""
    kinds: dict[Hashable, list[_Lacking]] = {}
    for own in lacking:
        kinds.setdefault(own.task.kind, []).append(own)
    for each in kinds.values():
        most = _LARGEST_SOLUTION // count_histories(each[0].stock.model)
        part, count = list[_Lacking](), 0
        for own in each:
            if part and count + len(own.which) > most:
                yield part
                part, count = [], 0
            part.append(own)
            count += len(own.which)
        yield part
