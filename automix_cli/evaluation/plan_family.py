"""The computed plans as a family: one policy per cost_weight, all planned and replayed at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.charges import (
    Outcomes,
    RowOutcomes,
    expected_cost,
    expected_score,
    outcomes_by_row,
)
from automix_cli.evaluation.families import COST_GRID, CostGrid, SettingRows, cost_weights
from automix_cli.evaluation.path_replay import OrderChances, SignatureEvidence, order_chances, play_path
from automix_cli.evaluation.replay import replay
from automix_cli.evaluation.settings import CostWeight, Setting, narrow
from automix_cli.evaluation.signatures import Signatures, signatures_of
from automix_cli.fitting.fit import fit
from automix_cli.fitting.fitted import Fitted
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Bools, Floats, Ints
from automix_cli.pomdp.histories import PlanStep, Root, TierPath
from automix_cli.pomdp.induction import PlanPath, solve_path
from automix_cli.pomdp.model import Model, count_histories, simplify
from automix_cli.pomdp.observations import ConfidenceObservations, NoObservations
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Facts, Policy

_ALIKE = 4.0  # most ratio of the 95 % to the 5 % quantile of prompt lengths
_SAME_COST = 1e-9  # of the highest planned cost: plans that differ by less cost the same
_MOST_CELLS = 20_000_000  # histories times cost_weights that are solved at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFamily:
    """The fitted model's plans, one per cost_weight.

    Attributes:
        settings: what the profile decides.
        weights: the cost_weights; () for the grid that suits the rows.
        at_once: all votes of a tier in one round.
        grid: how finely cost_weights are searched.
    """

    settings: Settings
    weights: tuple[float, ...] = ()
    at_once: bool = False
    grid: CostGrid = COST_GRID

    def fit(self, table: TraceTable) -> FittedPlans:
        """Fit the model, and plan along the cost_weights."""
        parameters = fit(table, self.settings)
        histories = count_histories(simplify(parameters.model(0.0, self._plan_settings()))[0])
        classes = np.zeros(1, dtype=np.intp) if table.question_classes is None else table.question_classes
        return FittedPlans(
            parameters=parameters,
            plan_settings=self._plan_settings(),
            weights=self.weights or _thin(cost_weights(table, self.grid), _MOST_CELLS // histories),
            steps=None if self.weights else self.grid.steps_for(table.n_groups),
            one_length=table.n_classes > 1 or _alike_in_length(table),
            shares=np.bincount(classes, minlength=table.n_classes) / len(classes),
        )

    def policy(self, table: TraceTable, setting: Setting) -> Policy[Any]:
        """Fit, and plan for one cost_weight."""
        return fit(table, self.settings).policy(narrow(setting, CostWeight).value, self._plan_settings())

    def _plan_settings(self) -> Settings:
        return replace(self.settings, batch=()) if self.at_once else self.settings


class _SolvedPath(NamedTuple):
    """A path of plans, and in how many orders each of their histories is met."""

    path: PlanPath
    orders: dict[TierPath, Floats]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedPlans:
    """The plans of one fit.

    Attributes:
        parameters: of the model.
        plan_settings: what the profile decides.
        weights: the cost_weights.
        steps: even steps of planned cost, of which settings are made; None for the weights as they are.
        one_length: whether one plan does for all prompt lengths, to choose a setting by. The policy of
            the setting that is chosen plans for each question's own length all the same.
        shares: of the question classes.
    """

    parameters: Fitted
    plan_settings: Settings
    weights: tuple[float, ...]
    steps: int | None
    one_length: bool
    shares: Floats
    _solutions: dict[tuple[float, int], _SolvedPath] = field(default_factory=dict, repr=False)
    _spending: list[Floats] = field(default_factory=list, repr=False)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """One per cost_weight."""
        return tuple(CostWeight(weight) for weight in self.weights)

    @property
    def spending(self) -> Floats:
        """Planned cost per cost_weight, of a prompt of mean length; classes count as often as they occur."""
        if not self._spending:
            costs = [self._path(self._mean_length, c).path.spending() for c in range(len(self.shares))]
            # A plan at a higher cost_weight never costs more; what rounding says else is levelled.
            self._spending.append(np.minimum.accumulate(self.shares @ np.array(costs)))
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
        return self.spending[np.unique(places)]

    def places(self, levels: Floats) -> Ints:
        """The plans that spend nearest to the levels; of a run of equals the one in the middle."""
        if self.steps is None:
            return levels.astype(np.intp)
        return np.array([self._nearest(level) for level in levels], dtype=np.intp)

    def _nearest(self, cost: float) -> int:
        gap = np.abs(self.spending - cost)
        equals = np.flatnonzero(gap <= gap.min() + _SAME_COST * self.spending.max())
        return int(equals[len(equals) // 2])

    def policy(self, place: int) -> PomdpPolicy:
        """The policy of one cost_weight."""
        return self.parameters.policy(self.weights[place], self.plan_settings)

    # -------------------------------------------------------------- planning

    @property
    def _mean_length(self) -> float:
        return 0.0 if self.one_length else max(self.parameters.mean_tokens, 1.0)

    def _model(self) -> Model:
        model = simplify(self.parameters.model(0.0, self.plan_settings))[0]
        return model.at_mean() if self.one_length else model

    def _path(self, tokens: float, question_class: int) -> _SolvedPath:
        """The plans for a prompt length and a class, solved on first use."""
        key = tokens, question_class
        if key not in self._solutions:
            path = solve_path(self._model(), self.weights, tokens, Root(question_class))
            self._solutions[key] = _SolvedPath(path, path.orders())
        return self._solutions[key]

    # -------------------------------------------------------------- replay

    def play(self, table: TraceTable, rows: Ints, places: Ints) -> SettingRows:
        """Replay the plans at some places on some rows, in exact expectation over vote orders."""
        signatures = self._signatures(table, rows)
        outcomes, foreseen = self._outcomes(signatures, places)
        abstain_value = self.plan_settings.abstain_value or 0.0
        setting_rows = SettingRows(
            expected_score(table, rows, signatures.of_row, outcomes, abstain_value),
            expected_cost(table, rows, signatures.of_row, outcomes),
        )
        others = np.flatnonzero(~foreseen[signatures.of_row])
        if len(others):  # evidence of a kind that no row of the fit had: the policies plan anew for it
            for k, place in enumerate(places):
                run = replay(self.policy(int(place)), table, rows[others], abstain_value=abstain_value)
                setting_rows.score[k, others], setting_rows.cost[k, others] = run.score, run.cost
        return setting_rows

    def runs(self, table: TraceTable, rows: Ints, places: Ints) -> Iterator[RowOutcomes]:
        """What the policy of each setting does on each row, planning for each question's own length."""
        each: Iterable[RowOutcomes | None]
        if self._knows_length(table.prompt_tokens[rows]):
            signatures = self._signatures(table, rows)
            outcomes, is_foreseen = self._outcomes(signatures, places)
            others = np.flatnonzero(~is_foreseen[signatures.of_row])
            each = outcomes_by_row(table, rows, signatures.of_row, outcomes, self._abstain_value)
        else:
            others, each = np.arange(len(rows)), repeat(None)
        for place, run in zip(places, each, strict=False):
            yield self._with_replay(run, table, rows, others, int(place))

    def _with_replay(
        self, run: RowOutcomes | None, table: TraceTable, rows: Ints, others: Ints, place: int
    ) -> RowOutcomes:
        """Replay some of the rows one policy at a time; without a run, all of them."""
        if run is not None and not len(others):
            return run
        anew = replay(self.policy(place), table, rows[others], abstain_value=self._abstain_value)
        if run is None:
            return RowOutcomes(*(getattr(anew, name) for name in RowOutcomes._fields))
        for name in RowOutcomes._fields:
            getattr(run, name)[others] = getattr(anew, name)
        return run

    def _knows_length(self, tokens: Floats) -> bool:
        """Whether all prompts have the one length that a path of plans is made for."""
        present = tokens[~np.isnan(tokens)]
        return bool(np.isclose(present, self.parameters.mean_tokens).all())

    @property
    def _abstain_value(self) -> float:
        return self.plan_settings.abstain_value or 0.0

    def _signatures(self, table: TraceTable, rows: Ints) -> Signatures:
        classes = np.zeros(len(rows), dtype=np.intp)
        if table.question_classes is not None and len(self.shares) > 1:
            classes = table.question_classes[rows]
        lengths = self._rounded_lengths(table.prompt_tokens[rows])
        sizes, size_of = np.unique(lengths, return_inverse=True)
        code = size_of * len(self.shares) + classes
        kinds, facts_code = np.unique(code, return_inverse=True)
        facts = tuple(Facts(float(sizes[k // len(self.shares)]), int(k % len(self.shares))) for k in kinds)
        model = self._model()
        looked_at = {
            j
            for j in range(len(table.tiers))
            if not isinstance(model.observation(j), NoObservations) or table.failed[rows, j].any()
        }
        cuts = {j: o.cuts for j in looked_at if isinstance(o := model.observation(j), ConfidenceObservations)}
        compares = model.agreement is not None
        return signatures_of(
            table, rows, (facts, facts_code.astype(np.intp)), looked_at, cuts, compares=compares
        )

    def _rounded_lengths(self, tokens: Floats) -> Floats:
        """Prompt lengths to half an octave: enough to choose a setting by."""
        if self.one_length:
            return np.zeros(len(tokens))
        present = np.where(np.isnan(tokens), self.parameters.mean_tokens, tokens)
        lengths: Floats = 2 ** (np.rint(2 * np.log2(np.maximum(present, 1.0))) / 2)
        return lengths

    def _outcomes(self, signatures: Signatures, places: Ints) -> tuple[Outcomes, Bools]:
        """Play every signature; also which of them the plans foresee."""
        tiers, size = len(self.parameters.tiers), len(signatures)
        reports, asks, votes, rounds = np.zeros((4, len(places), size, tiers))
        whole = Outcomes(reports, asks, votes, rounds, np.zeros((len(places), size)))
        foreseen = np.ones(size, dtype=bool)
        for k, facts in enumerate(signatures.facts):
            own = np.flatnonzero(signatures.facts_code == k)
            solution = self._path(facts.prompt_tokens or 0.0, facts.question_class)
            chances = {
                tier: ordered.take(signatures.evidence_code[tier][own])
                for tier, ordered in self._order_chances(solution, signatures)
            }
            first_equal = None if signatures.first_equal is None else signatures.first_equal[own]
            row_evidence = SignatureEvidence(len(own), chances, first_equal)
            foreseen[own] = row_evidence.foreseen
            part = play_path(solution.path, solution.orders, places, row_evidence)
            for total, one in zip(whole, part, strict=True):
                total[:, own] = one
        return whole, foreseen

    def _order_chances(
        self, solution: _SolvedPath, signatures: Signatures
    ) -> Iterator[tuple[int, OrderChances]]:
        histories = solution.path.histories
        for tier, evidence in signatures.evidence.items():
            observation, table = histories.model.observation(tier), histories.table(PlanStep(tier, tier))
            may_fail = histories.model.tiers[tier].failure > 0
            yield tier, order_chances(observation, table, evidence, may_fail=may_fail)


def _thin(weights: tuple[float, ...], most: int) -> tuple[float, ...]:
    """Return at most so many of the cost_weights (two at least), evenly spaced, both ends among them."""
    places = np.linspace(0, len(weights) - 1, min(len(weights), max(most, 2)))
    return tuple(weights[k] for k in np.unique(np.rint(places).astype(int)))


def _alike_in_length(table: TraceTable) -> bool:
    """Tell whether prompts are so alike in length that one plan does for all to choose a setting."""
    tokens = table.prompt_tokens[~np.isnan(table.prompt_tokens)]
    if not len(tokens):
        return True
    low, high = np.quantile(tokens, (0.05, 0.95))
    return bool(high <= _ALIKE * low)
