"""The computed plans as a family: one policy per cost_weight, all planned and replayed at once."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.charges import (
    Outcomes,
    RowOutcomes,
    expected_cost,
    expected_score,
    row_outcomes,
)
from automix_cli.evaluation.families import COST_GRID, CostGrid, SettingRows, cost_weights
from automix_cli.evaluation.joint_plans import JointPlans, join
from automix_cli.evaluation.path_replay import SignatureEvidence, TierEvidence, order_chances, play_path
from automix_cli.evaluation.plan_lengths import Cell, PlannedRows, divide
from automix_cli.evaluation.plan_stock import PlanRequest, PlanStock, solve_requests
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.settings import CostWeight, Setting, narrow
from automix_cli.evaluation.signatures import Signatures, signatures_of
from automix_cli.fitting.fit import fit
from automix_cli.fitting.fitted import Fitted
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Bools, Floats, Ints, different_codes
from automix_cli.pomdp.final_values import VALUE_TIE
from automix_cli.pomdp.histories import Histories, PlanStep, Root
from automix_cli.pomdp.model import Model, count_histories, simplify
from automix_cli.pomdp.observations import ConfidenceObservations, NoObservations
from automix_cli.pomdp.plan_cases import PlanCase
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Facts, Policy
from automix_cli.pomdp.tilt import Corners, grid_corners, shrink_logits, sigmoid, tilt

_SAME_COST = 1e-9  # of the highest planned cost: plans that differ by less cost the same
_LARGEST_PASS = 20_000_000  # histories times cost_weights that are solved at a time


class PlanFamily(Struct, frozen=True, kw_only=True):
    """The fitted model's plans, one per cost_weight.

    Attributes:
        settings: what the profile decides.
        at_once: all votes of a tier in one round.
        grid: how finely cost_weights are searched.
    """

    settings: Settings
    at_once: bool = False
    grid: CostGrid = COST_GRID

    def fit(self, table: TraceTable) -> FittedPlans:
        """Fit the model, and plan along the cost_weights."""
        parameters = fit(table, self.settings)
        plan_model = simplify(parameters.model(0.0, self._plan_settings()))[0]
        histories = count_histories(plan_model)
        weights = self._weights(table, _LARGEST_PASS // histories)
        return FittedPlans(
            parameters=parameters,
            plan_model=plan_model,
            plan_settings=self._plan_settings(),
            weights=weights,
            steps=self.grid.steps_for(table.n_groups),
            shares=_root_shares(plan_model, table),
            stock=PlanStock(plan_model, np.array(weights)),
        )

    def policy(self, table: TraceTable, setting: Setting) -> Policy[Any]:
        """Fit, and plan for one cost_weight."""
        return fit(table, self.settings).policy(narrow(setting, CostWeight).value, self._plan_settings())

    def _weights(self, table: TraceTable, most: int) -> tuple[float, ...]:
        """The cost_weights to plan for, of a grid at most so many."""
        weights = cost_weights(table, self.grid)
        return weights if self.grid.fixed else _thin(weights, most)

    def _plan_settings(self) -> Settings:
        return replace(self.settings, batch=()) if self.at_once else self.settings


class _Played(NamedTuple):
    """What L plans do on S signatures each, and which of these each row meets.

    Attributes:
        outcomes: L·S, plan by plan.
        of_row: K×n, for K settings, whose plans differ from row to row.
        foreseen: L·S, whether the plan holds every history that the evidence may lead to.
    """

    outcomes: Outcomes
    of_row: Ints
    foreseen: Bools

    def others(self, k: int) -> Ints:
        """The rows on which one setting meets evidence that its plan does not foresee."""
        return np.flatnonzero(~self.foreseen[self.of_row[k]])


class FittedPlans(Struct, frozen=True, kw_only=True, eq=False):
    """The plans of one fit.

    Attributes:
        parameters: of the model.
        plan_model: the model that is planned; its cost_weight plays no part.
        plan_settings: what the profile decides.
        weights: the cost_weights.
        steps: even steps of planned cost, of which settings are made; None for the weights as they are.
        shares: of the questions, per root: their class, and the corners of the grid around their marginals.
        stock: the plans that were solved so far.
    """

    parameters: Fitted
    plan_model: Model
    plan_settings: Settings
    weights: tuple[float, ...]
    steps: int | None
    shares: Mapping[Root, float]
    stock: PlanStock
    _spending: list[Floats] = field(default_factory=list)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """One per cost_weight."""
        return tuple(CostWeight(weight) for weight in self.weights)

    @property
    def spending(self) -> Floats:
        """Planned cost per cost_weight, of a prompt of mean length; roots count as often as they occur."""
        if not self._spending:
            requests = self.mean_plans()
            solve_requests(requests)
            costs = [self.stock[own.case].spending for own in requests]
            # A plan at a higher cost_weight never costs more; what rounding says else is levelled.
            self._spending.append(np.minimum.accumulate(np.array(list(self.shares.values())) @ costs))
        return self._spending[0]

    def levels(self) -> Floats:
        """Even steps of planned cost.

        The steps are even, because among many settings that differ by little the luckiest would be
        chosen. A model fitted on other rows buys more or less at the same cost_weight: of its plans
        those are taken that spend the same, so that a setting means the same in every fold.
        """
        if self.steps is None:
            return np.arange(len(self.weights), dtype=float)
        ends = self.spending.max(), self.spending.min()
        places = self.places(np.linspace(*ends, self.steps + 1))
        return self.spending[different_codes(places).values]

    def places(self, levels: Floats) -> Ints:
        """The plans that spend nearest to the levels; of a run of equals the one in the middle."""
        if self.steps is None:
            return levels.astype(np.intp)
        spending = self.spending
        gap = np.abs(spending - levels[:, None])
        is_equal = gap <= gap.min(axis=1, keepdims=True) + _SAME_COST * spending.max()
        middle = is_equal.sum(axis=1, keepdims=True) // 2
        return np.asarray((is_equal.cumsum(axis=1) > middle).argmax(axis=1))

    def policy(self, place: int) -> PomdpPolicy:
        """The policy of one cost_weight."""
        return self.parameters.policy(self.weights[place], self.plan_settings)

    def decisions(self, place: int) -> Hashable:
        """What a plan does at a prompt of mean length, per class; of questions of which no router speaks."""
        request = self._mean_rows(np.array([place]))
        (cells,), (tokens, *_) = divide([request]), request.tokens
        cases = {int(cell.rows[0]): cell.low if tokens <= cell.crossing[0] else cell.high for cell in cells}
        plans = (join(self.stock, [cases[k]], [request.places]) for k in range(len(cases)))
        return tuple(own.decisions() for own in plans)

    def _mean_rows(self, places: Ints) -> PlannedRows:
        """A prompt of mean length of each class."""
        classes = range(len(self.plan_model.priors))
        tokens = np.full(len(classes), max(self.parameters.mean_tokens, 1.0))
        return PlannedRows(self.stock, places, tokens, {Root(k): np.array([k]) for k in classes})

    def mean_plans(self) -> list[PlanRequest]:
        """The plans at a prompt of mean length, by which `spending` goes."""
        length = max(self.parameters.mean_tokens, 1.0) if self.plan_model.counts_tokens else 0.0
        every = np.arange(len(self.weights))
        return [PlanRequest(self.stock, PlanCase(length, root), every) for root in self.shares]

    # -------------------------------------------------------------- replay

    def play(
        self, table: TraceTable, rows: Ints, places: Ints, cells: Sequence[Cell] | None = None
    ) -> SettingRows:
        """Replay the plans at some places on some rows, in exact expectation over vote orders.

        Args:
            table: the rows.
            rows: which of them.
            places: of the plans.
            cells: which plan each row follows, if that is known; see `planned_rows`.
        """
        different, _, which = different_codes(places)  # another fit's levels may mean one plan
        outcome = self._play(table, rows, different, cells)
        score = expected_score(table, rows, outcome.of_row, outcome.outcomes, self._abstain_value)
        cost = expected_cost(table, rows, outcome.of_row, outcome.outcomes)
        for k, place in enumerate(different):
            others = outcome.others(k)
            if len(others):  # evidence of a kind that no row of the fit had: the policies plan anew for it
                run = replay(self.policy(int(place)), table, rows[others], abstain_value=self._abstain_value)
                score[k, others], cost[k, others] = run.score, run.cost
        return SettingRows(score[which], cost[which])

    def runs(self, table: TraceTable, rows: Ints, places: Ints) -> Iterator[RowOutcomes]:
        """What the policy of each setting does on each row."""
        different, _, which = different_codes(places)
        # What `decisions` looks at is solved along.
        cells, _ = divide([self.planned_rows(table, rows, different), self._mean_rows(different)])
        outcome = self._play(table, rows, different, cells)
        for k in which.tolist():
            run = row_outcomes(table, rows, outcome.of_row[k], outcome.outcomes, self._abstain_value)
            others = outcome.others(k)
            if len(others):
                policy = self.policy(int(different[k]))
                anew = replay(policy, table, rows[others], abstain_value=self._abstain_value)
                for name in RowOutcomes._fields:
                    getattr(run, name)[others] = getattr(anew, name)
            yield run

    def planned_rows(self, table: TraceTable, rows: Ints, places: Ints) -> PlannedRows:
        """Rows on which the plans at some places are to be played."""
        facts, tokens = _QuestionFacts.of(self.plan_model, table, rows), self._tokens(table, rows)
        different = different_codes(places).values
        return PlannedRows(self.stock, different, tokens, facts.rows_of, facts.priors)

    @property
    def _abstain_value(self) -> float:
        return self.plan_settings.abstain_value or 0.0

    def _play(
        self, table: TraceTable, rows: Ints, places: Ints, cells: Sequence[Cell] | None = None
    ) -> _Played:
        """Play the plans on the rows of every cell of lengths, and gather what came of it."""
        request = self.planned_rows(table, rows, places)
        of_row, size = np.zeros((len(places), len(rows)), dtype=np.intp), 0
        parts: list[tuple[Outcomes, Bools]] = []
        for part in self._parts(request, cells or divide([request])[0]):
            which = different_codes(np.concatenate([end.rows for end in part])).values
            signatures = self._signatures(table, rows[which], self.plan_model)
            plans = _active(part)
            in_one = join(self.stock, [*plans], [request.places[own] for own in plans.values()])
            outcomes, foreseen = _play_plans(self.plan_model, in_one, signatures)
            first = dict(zip(plans, np.cumsum([0, *map(len, plans.values())]).tolist(), strict=False))
            for end in part:
                setting, row = np.nonzero(end.is_followed)
                setting, row = end.settings[setting], end.rows[row]
                plan = first[end.case] + np.searchsorted(plans[end.case], setting)
                of_row[setting, row] = (
                    size + plan * len(signatures) + signatures.of_row[np.searchsorted(which, row)]
                )
            parts.append((outcomes.flat(), np.tile(foreseen, in_one.size)))
            size += len(parts[-1][1])
        if len(parts) == 1:
            return _Played(parts[0][0], of_row, parts[0][1])
        each = Outcomes(*map(np.concatenate, zip(*(own for own, _ in parts), strict=True)))
        return _Played(each, of_row, np.concatenate([own for _, own in parts]))

    def _parts(self, request: PlannedRows, cells: Sequence[Cell]) -> Iterator[list[_End]]:
        """The ends of cells whose plans are played in one pass."""
        is_best = _best_cells(request, cells)
        return _in_parts(cells, is_best, request.tokens, self._part_size(len(request.places)))

    def _part_size(self, settings: int) -> int:
        """How many cases are played in one pass."""
        return max(1, _LARGEST_PASS // (2 * settings * count_histories(self.plan_model)))

    def _tokens(self, table: TraceTable, rows: Ints) -> Floats:
        tokens = table.prompt_tokens[rows]
        return np.maximum(np.where(np.isnan(tokens), self.parameters.mean_tokens, tokens), 1.0)

    def _signatures(self, table: TraceTable, rows: Ints, model: Model) -> Signatures:
        looked_at = {
            j
            for j in range(len(table.tiers))
            if not isinstance(model.observation(j), NoObservations) or table.failed[rows, j].any()
        }
        cuts = {j: o.cuts for j in looked_at if isinstance(o := model.observation(j), ConfidenceObservations)}
        facts = (Facts(),), np.zeros(len(rows), dtype=np.intp)
        return signatures_of(table, rows, facts, looked_at, cuts, compares=model.agreement is not None)


class _QuestionFacts(NamedTuple):
    """What decides on which plan each of n questions follows.

    Attributes:
        rows_of: the rows of each root that is planned for; a row between grid points is one of several.
        shares: per root, how much of each of its rows belongs to it.
        priors: n×2^N, each question's own; None where every row has one root.
    """

    rows_of: dict[Root, Ints]
    shares: dict[Root, Floats]
    priors: Floats | None

    @classmethod
    def of(cls, model: Model, table: TraceTable, rows: Ints) -> _QuestionFacts:
        """Find the roots of some rows of a table."""
        classes = np.zeros(len(rows), dtype=np.intp)
        if table.question_classes is not None and len(model.priors) > 1:
            classes = table.question_classes[rows]
        if table.question_logits is None or not model.trust:
            rows_of = {Root(int(c)): np.flatnonzero(classes == c) for c in different_codes(classes).values}
            return cls(rows_of, {root: np.ones(len(own)) for root, own in rows_of.items()}, None)
        own_priors = np.array(model.priors)[classes]
        targets = shrink_logits(own_priors, table.question_logits[rows], model.trust)
        return cls(*_roots(classes, grid_corners(targets)), tilt(own_priors, sigmoid(targets)))


def _roots(classes: Ints, corners: Corners) -> tuple[dict[Root, Ints], dict[Root, Floats]]:
    """The rows of each corner, and their shares in it."""
    _, count, tiers = corners.logits.shape
    lines = np.column_stack([np.repeat(classes, count), corners.logits.reshape(-1, tiers)])
    shares = corners.shares.ravel()
    corner_places = np.flatnonzero(shares > 0)
    different, root_of = np.unique(lines[corner_places], axis=0, return_inverse=True)
    rows_of, shares_of = {}, {}
    order = np.argsort(root_of.ravel(), kind="stable")
    bounds = np.cumsum(np.bincount(root_of.ravel(), minlength=len(different)))[:-1]
    for line, own in zip(different.tolist(), np.split(corner_places[order], bounds), strict=True):
        root = Root(int(line[0]), (), tuple(line[1:]))
        rows_of[root], shares_of[root] = own // count, shares[own]
    return rows_of, shares_of


def _root_shares(model: Model, table: TraceTable) -> dict[Root, float]:
    """Each root's share of the questions."""
    facts = _QuestionFacts.of(model, table, np.arange(len(table)))
    return {root: float(own.sum()) / max(len(table), 1) for root, own in facts.shares.items()}


def _best_cells(request: PlannedRows, cells: Sequence[Cell]) -> list[Bools]:
    """Where each cell's plans are the rows' own, W×m per cell: those worth most, of equals the first."""
    stock, places, tokens, _, priors = request
    if priors is None:
        return [np.ones((len(cell.settings), len(cell.rows)), dtype=bool) for cell in cells]
    best, winner = np.full((len(places), len(tokens)), -np.inf), np.zeros((len(places), len(tokens)), int)
    for k, cell in enumerate(cells):
        cases = (cell.low,) if cell.low == cell.high else (cell.low, cell.high)
        values = [stock[case].values for case in cases]
        ends = [own.take(places[cell.settings]) for own in values if own is not None]
        low, *others = (end.of(priors[cell.rows], tokens[cell.rows]) for end in ends)
        worth = np.where(tokens[cell.rows] <= cell.crossing[:, None], low, others[0]) if others else low
        which = np.ix_(cell.settings, cell.rows)
        is_better = worth > best[which] + VALUE_TIE
        best[which] = np.where(is_better, worth, best[which])
        winner[which] = np.where(is_better, k, winner[which])
    return [winner[np.ix_(cell.settings, cell.rows)] == k for k, cell in enumerate(cells)]


class _End(NamedTuple):
    """The plans of one case, the rows that may follow them, and where they do: W×m, per setting."""

    case: PlanCase
    settings: Ints
    rows: Ints
    is_followed: Bools


def _active(ends: Sequence[_End]) -> dict[PlanCase, Ints]:
    """Per case, the settings whose plan for it some row follows: no other need be played."""
    active: dict[PlanCase, set[int]] = {}
    for end in ends:
        own = end.settings[end.is_followed.any(axis=1)]
        active.setdefault(end.case, set()).update(own.tolist())
    return {case: np.array(sorted(own), dtype=np.intp) for case, own in active.items()}


def _in_parts(
    cells: Sequence[Cell], is_best: Sequence[Bools], tokens: Floats, size: int
) -> Iterator[list[_End]]:
    """Gather the ends that some row follows, so many at a time."""
    part: list[_End] = []
    for cell, best in zip(cells, is_best, strict=True):
        is_low = tokens[cell.rows] <= cell.crossing[:, None]
        for case, own in ((cell.low, best & is_low), (cell.high, best & ~is_low)):
            if own.any():
                part.append(_End(case, cell.settings, cell.rows, own))
            if len(part) == size:
                yield part
                part = []
    if part:
        yield part


def _play_plans(model: Model, plans: JointPlans, signatures: Signatures) -> tuple[Outcomes, Bools]:
    """Play plans; also which signatures they foresee."""
    histories, tiers = Histories(model, Root()), {}
    for tier, evidence in signatures.evidence.items():
        observation, table = model.observation(tier), histories.table(PlanStep(tier, tier))
        may_fail = model.tiers[tier].failure > 0
        kinds = order_chances(observation, table, evidence, may_fail=may_fail)
        tiers[tier] = TierEvidence(kinds, signatures.evidence_code[tier])
    row_evidence = SignatureEvidence(len(signatures), tiers, signatures.first_equal)
    return play_path(plans, row_evidence, len(model.tiers)), row_evidence.foreseen


def _thin(weights: tuple[float, ...], most: int) -> tuple[float, ...]:
    """Return at most so many of the cost_weights (two at least), evenly spaced, both ends among them."""
    places = np.linspace(0, len(weights) - 1, min(len(weights), max(most, 2)))
    return tuple(weights[k] for k in different_codes(np.rint(places).astype(np.intp)).values)
