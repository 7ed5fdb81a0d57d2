"""From a table of traces to one setting of the router, and held-out proof of what it is worth.

    fit ─▶ candidates (one per setting) ─▶ cross-fitted points ─▶ objective ─▶ setting
     └───── all of it again inside each outer fold; what is reported was never looked at ─────┘

A setting is chosen among the corners of the upper hull of the candidates' cross-fitted
training points and the always-one-tier points, so no policy is ever set below a random mix
of single tiers. The choice itself costs rows too: therefore the nesting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from automix_cli.data.oracle import oracle
from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError, GateError
from automix_cli.evaluation.metrics import (
    Ends,
    Interval,
    Measure,
    Point,
    Resamples,
    RoutingVerdict,
    edge,
    hull,
    ibc_lift,
    interval,
    mix_quality,
    verdict,
)
from automix_cli.evaluation.replay import Replayed, replay
from automix_cli.evaluation.settings import Always, CostWeight, DoubleThreshold, Setting, Threshold, narrow
from automix_cli.fitting.classes import NO_CLASSES, Classed, Classes, ClassSource
from automix_cli.fitting.fit import fit
from automix_cli.fitting.fitted import Fitted
from automix_cli.fitting.router_block import Settings, policy_from_router
from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.problem import Facts, Policy
from automix_cli.pomdp.rules import AlwaysPolicy, Rule, ThresholdPolicy

if TYPE_CHECKING:
    from automix_cli.fitting.query_router import QueryRouter

LEAST_ROWS = 20  # to cross-fit at all
MANY_ROWS = 20_000  # enough to choose a setting on
STEPS = 80
SPENDS = 20  # steps of planned cost to choose from; with more rows twice as many
FEW_ROWS = 2_000  # below this a curve is averaged over several divisions into folds
REPEATS = 3
_LOWEST, _HIGHEST = 0.002, 4.0
_ALIKE = 4.0  # most ratio of the 95 % to the 5 % quantile of prompt lengths


# ------------------------------------------------------------------ candidates


class Candidate(NamedTuple):
    """A policy and its setting. Candidates with equal keys decide alike; a key None is like no other."""

    setting: Setting
    policy: Policy[Any]
    key: Hashable = None


def cost_weights(table: TraceTable) -> tuple[float, ...]:
    """Weights to plan for: 0, then 80 geometric steps from 0.002 to 4 in units of 1/(c_dearest - c_cheapest).

    Steps of a tenth: at steps of a fifth, half of the useful cuts of a continuous confidence
    fall between two settings.

    One tier, or tiers that cost the same, leave nothing to weigh but votes; the unit is then
    the dearest tier's cost itself, and with no cost at all only 0 is left.
    """
    costs = table.mean_cost
    span = float(costs.max() - costs.min()) or float(costs.max())
    return (0.0, *(float(w) / span for w in np.geomspace(_LOWEST, _HIGHEST, STEPS))) if span > 0 else (0.0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class PomdpFamily:
    """The fitted model's plans, one per cost_weight.

    Attributes:
        settings: what the profile decides.
        weights: of the path; () for one that is yet to be laid along some rows.
        at_once: all votes of a tier in one round.
        spend: the planned cost of each weight on the rows that the path was laid along. A model
            fitted on other rows buys more or less at the same cost_weight: of its plans it takes
            those that spend the same, so that a setting means the same in every fold. () for
            plans at the weights as they are.
    """

    settings: Settings
    weights: tuple[float, ...] = ()
    at_once: bool = False
    spend: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """As `bench` calls it."""
        return "pomdp:all-at-once" if self.at_once else "pomdp"

    def _settings(self) -> Settings:
        return replace(self.settings, batch=()) if self.at_once else self.settings

    def laid(self, table: TraceTable) -> PomdpFamily:
        """The family with its path laid along these rows: settings in even steps of planned cost.

        Even steps, because among many settings that differ by little the luckiest is chosen.
        Weights that were given stay as they are.
        """
        if self.weights or not len(table):
            return replace(self, weights=self.weights or (0.0,))
        path = _Path(self._planner(table), cost_weights(table), table)
        steps = SPENDS if len(table) < FEW_ROWS else 2 * SPENDS
        even = np.linspace(path.spend.min(), path.spend.max(), steps + 1)[::-1]
        kept = sorted({path.nearest(float(cost)) for cost in even})
        spend = tuple(float(path.spend[k]) for k in kept)
        return replace(self, weights=tuple(path.weights[k] for k in kept), spend=spend)

    def candidates(self, table: TraceTable) -> list[Candidate]:
        """Fit, and plan for each setting; equal plans share their key."""
        plan = self._planner(table)
        if self.spend:
            path = _Path(plan, cost_weights(table), table)
            policies = [path.policy(path.nearest(cost)) for cost in self.spend]
        else:
            policies = [plan(weight) for weight in self.weights]
        return [
            Candidate(
                CostWeight(weight),
                policy,
                None if policy.counts_tokens else _decisions(policy, table.n_classes),
            )
            for weight, policy in zip(self.weights, policies, strict=True)
        ]

    def _planner(self, table: TraceTable) -> Callable[[float], PomdpPolicy]:
        """Coarse plans of what is fitted to the rows: enough to choose a setting by."""
        fitted, alike = fit(table, self.settings), table.n_classes > 1 or _alike(table)

        def plan(weight: float) -> PomdpPolicy:
            policy = fitted.policy(weight, self._settings(), coarse=True)
            return _at_mean(policy) if alike else policy

        return plan

    def policy(self, table: TraceTable, setting: Setting) -> Policy[Any]:
        """Fit, and plan for one cost_weight."""
        return fit(table, self.settings).policy(narrow(setting, CostWeight).value, self._settings())


class _Path:
    """Plans along some cost_weights, made when needed, and what each is expected to spend on a question.

    What a plan spends falls as its cost_weight rises: between two that spend the same, all do.
    """

    def __init__(
        self, plan: Callable[[float], PomdpPolicy], weights: tuple[float, ...], table: TraceTable
    ) -> None:
        known = np.zeros(1, dtype=np.intp) if table.question_classes is None else table.question_classes
        self._shares = np.bincount(known, minlength=table.n_classes) / len(known)
        self._plan, self._policies = plan, dict[int, PomdpPolicy]()
        self.weights = weights
        self.spend = self._spending(len(weights))

    def policy(self, place: int) -> PomdpPolicy:
        """The plan for one weight."""
        if place not in self._policies:
            self._policies[place] = self._plan(self.weights[place])
        return self._policies[place]

    def nearest(self, cost: float) -> int:
        """The place whose spending is nearest to a cost; of a run of equals the one in the middle."""
        gap = np.abs(self.spend - cost)
        alike = np.flatnonzero(gap <= gap.min() + 1e-9 * self.spend.max())
        return int(alike[len(alike) // 2])

    def _cost(self, place: int) -> float:
        """Of a prompt of mean length; classes count as often as they stand in the rows."""
        policy = self.policy(place)
        mean = _at_mean(policy) if policy.counts_tokens else policy
        costs = [mean.forecast(Facts(question_class=c)).cost for c in range(len(self._shares))]
        return float(self._shares @ costs)

    def _spending(self, places: int) -> Floats:
        found: Floats = np.empty(places)
        found[0], found[-1] = self._cost(0), self._cost(places - 1)
        between = [(0, places - 1)]
        while between:
            low, high = between.pop()
            if found[low] - found[high] <= 1e-9 * found[0]:
                found[low + 1 : high] = found[low]
            elif high - low > 1:
                middle = (low + high) // 2
                found[middle] = self._cost(middle)
                between += [(low, middle), (middle, high)]
        return found


def _at_mean(policy: PomdpPolicy) -> PomdpPolicy:
    """One plan for a prompt of mean length, whatever the question."""
    return PomdpPolicy(policy.model.at_mean(), coarse=True)


def _decisions(policy: PomdpPolicy, n_classes: int) -> Hashable:
    """What the plans for all classes of questions do."""
    return tuple(policy.plan(Facts(question_class=cell)).decisions() for cell in range(n_classes))


def _alike(table: TraceTable) -> bool:
    """Whether prompts are so alike in length that to choose a setting one plan does for all.

    The policy of the setting that is chosen plans for each question's own length all the same.
    """
    tokens = table.prompt_tokens[~np.isnan(table.prompt_tokens)]
    if not len(tokens):
        return True
    low, high = np.quantile(tokens, (0.05, 0.95))
    return bool(high <= _ALIKE * low)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdFamily:
    """Every number of votes and every cut; for a continuous confidence, cuts at the training rows' quantiles.

    `double`: escalate between two cuts instead of below one.
    """

    settings: Settings
    max_votes: int
    double: bool = False

    @property
    def name(self) -> str:
        """As `bench` calls it."""
        return "double-threshold" if self.double else "threshold"

    def candidates(self, table: TraceTable) -> list[Candidate]:
        """One policy per setting; settings are named alike on every table."""
        return [Candidate(setting, self.policy(table, setting)) for setting in self._grid()]

    def _grid(self) -> list[Setting]:
        if self.max_votes:
            pairs = [(n, c / n) for n in range(1, self.max_votes + 1) for c in range(n + 2)]
        else:
            pairs = [(0, k / 20) for k in range(22)]
        if not self.double:
            return [Threshold(n, cut) for n, cut in pairs]
        return [
            DoubleThreshold(n, low, high) for n, low in pairs for m, high in pairs if m == n and low < high
        ]

    def policy(self, table: TraceTable, setting: Setting) -> Policy[Any]:
        """The rule at each tier but the last."""
        if isinstance(setting, DoubleThreshold):
            votes, edges = setting.votes, [setting.low, setting.high]
        else:
            votes, edges = narrow(setting, Threshold).votes, [narrow(setting, Threshold).cut]
        rules = [self._rule(table, j, votes, edges) for j in range(len(table.tiers) - 1)]
        return ThresholdPolicy(tuple(rules))

    def _rule(self, table: TraceTable, j: int, votes: int, edges: Sequence[float]) -> Rule:
        if table.signals[j] in ("logprob", "verdict"):
            edges = [_quantile(table.confidence[:, j], edge) for edge in edges]
        bought = {"votes": min(votes, table.max_votes[j]), "verdict": 1}.get(table.signals[j], 0)
        return Rule(bought, tuple(edges), (False, True, False) if self.double else (True, False))


def _quantile(values: Floats, share: float) -> float:
    """The value with this share of values below it; beyond the last for a share above 1."""
    known = values[~np.isnan(values)]
    if not len(known) or share > 1:
        return math.inf
    return float(np.quantile(known, share, method="higher"))


Family: TypeAlias = PomdpFamily | ThresholdFamily


# ------------------------------------------------------------------ curves


class Curve(NamedTuple):
    """Mean cost and score of each setting on rows that its policy was not fitted on."""

    settings: tuple[Setting, ...]
    points: tuple[Point, ...]


NO_CURVE = Curve((), ())


def folds_of(rows: int, folds: int, seed: int) -> Ints:
    """The fold of each row, of equal sizes, in an order drawn by the seed."""
    return np.random.default_rng(seed).permutation(rows) % folds


def crossfit(
    table: TraceTable, family: Family, *, folds: int, seed: int, abstain_value: float = 0.0
) -> Curve:
    """Fit on all folds but one, measure every setting on that one, in turn.

    With many rows one turn measures as many as it takes to choose; with few, the whole is
    repeated with other folds and other orders of the votes, whose luck would choose otherwise.
    """
    sums, family = _Sums(), _along(family, table)
    for r in range(REPEATS if len(table) < FEW_ROWS else 1):
        drawn, fold = (
            table.reseed(table.seed + r) if r else table,
            folds_of(len(table), folds, seed + 1000 * r),
        )
        for k in range(folds if len(table) <= MANY_ROWS else 1):
            sums.add(family.candidates(drawn.subset(fold != k)), drawn, _some(fold == k), abstain_value)
    return sums.curve()


def _along(family: Family, table: TraceTable) -> Family:
    """The family with its path laid along these rows, where it has one."""
    return family.laid(table) if isinstance(family, PomdpFamily) else family


def _some(chosen: NDArray[np.bool_]) -> Ints:
    """The places chosen, at most a fifth of `MANY_ROWS`; rows are in an order that says nothing."""
    return np.flatnonzero(chosen)[: MANY_ROWS // 5]


def _snapped(table: TraceTable) -> TraceTable:
    """Prompt lengths rounded to half an octave: coarse plans need no more, and replays run faster."""
    rounded = 2 ** (np.rint(2 * np.log2(np.maximum(table.input_tokens, 1.0))) / 2)
    return replace(table, input_tokens=rounded)


class _Sums:
    """Sums of cost and score per setting, over folds."""

    def __init__(self) -> None:
        self.settings: tuple[Setting, ...] = ()
        self.sums: Floats = np.zeros((0, 2))
        self.rows = 0

    def add(
        self, candidates: Sequence[Candidate], table: TraceTable, rows: Ints, abstain_value: float
    ) -> None:
        """Replay all candidates on some rows; those that decide alike once."""
        table = _snapped(table)
        self.settings = tuple(c.setting for c in candidates)
        known: dict[Hashable, tuple[float, float]] = {}
        found = []
        for place, (_, policy, key) in enumerate(candidates):
            key = place if key is None else key
            if key not in known:
                seen = replay(policy, table, rows, abstain_value=abstain_value)
                known[key] = (float(seen.cost.sum()), float(seen.score.sum()))
            found.append(known[key])
        self.sums = np.array(found) + (self.sums if self.rows else 0.0)
        self.rows += len(rows)

    def curve(self) -> Curve:
        """The means."""
        return Curve(
            self.settings, tuple(Point(float(c), float(q)) for c, q in self.sums / max(self.rows, 1))
        )


class Singles(NamedTuple):
    """What each single tier scores and costs on each row, n×N."""

    score: Floats
    cost: Floats

    def points(self) -> tuple[Point, ...]:
        """Their means."""
        return tuple(
            Point(float(c), float(q))
            for c, q in zip(self.cost.mean(axis=0), self.score.mean(axis=0), strict=True)
        )


def singles(table: TraceTable) -> Singles:
    """Replay every single tier."""
    runs = [replay(AlwaysPolicy(len(table.tiers), j), table) for j in range(len(table.tiers))]
    return Singles(np.stack([r.score for r in runs], axis=1), np.stack([r.cost for r in runs], axis=1))


# ------------------------------------------------------------------ objectives


class Objective(NamedTuple):
    """What the user wants of a setting.

    `keep`: the cheapest setting with at least `value` times the quality of the best single tier.
    `budget`: the best quality for at most `value` USD per question.
    `cost_weight`: this cost_weight, whatever comes of it.
    `ibc`: the best incremental benefit per cost (AutoMix).
    """

    kind: Literal["keep", "budget", "cost_weight", "ibc"] = "keep"
    value: float = 0.98


class Chosen(NamedTuple):
    """A setting and its point in training; `met`: whether the objective was, there."""

    setting: Setting
    point: Point
    met: bool = True


def choose(curve: Curve, tiers: Sequence[str], tier_points: Sequence[Point], objective: Objective) -> Chosen:
    """The setting that the objective asks for, among the corners of the hull.

    Raises:
        GateError: ΔIBC is undefined for every setting.
    """
    if objective.kind == "cost_weight":
        return _at_weight(curve, objective.value)
    if objective.kind == "ibc":
        return _best_ibc(curve, tier_points)
    found = corners(curve, tiers, tier_points)
    if objective.kind == "budget":
        within = [c for c in found if c.point.cost <= objective.value]
        return within[-1] if within else found[0]._replace(met=False)
    target = objective.value * max(point.quality for point in tier_points)
    return next((c for c in found if c.point.quality >= target), found[-1]._replace(met=False))


def corners(curve: Curve, tiers: Sequence[str], tier_points: Sequence[Point]) -> list[Chosen]:
    """The settings worth having, cheapest first: corners of the hull of a curve and the single tiers."""
    single: list[Setting] = [Always(name) for name in tiers]
    named = [*zip(single, tier_points, strict=True), *zip(curve.settings, curve.points, strict=True)]
    first: dict[Point, Setting] = {}
    for setting, point in named:  # a single tier before a policy that comes to the same
        first.setdefault(point, setting)
    return [Chosen(first[point], point) for point in hull([point for _, point in named])]


def _at_weight(curve: Curve, weight: float) -> Chosen:
    at = curve.settings.index(CostWeight(weight))
    return Chosen(curve.settings[at], curve.points[at])


def _best_ibc(curve: Curve, tier_points: Sequence[Point]) -> Chosen:
    """Among settings above the mix that cost at least 5 % of the range more than the small tier."""
    ends = ends_of(tier_points)
    least = ends.small.cost + 0.05 * (ends.large.cost - ends.small.cost)
    lifts = [
        (lift, setting, point)
        for setting, point in zip(curve.settings, curve.points, strict=True)
        if point.cost >= least and edge(point, tier_points) > 0
        if (lift := ibc_lift(point, ends).value) is not None
    ]
    if not lifts:
        reason = ibc_lift(ends.large, ends).reason or "no setting is above a random mix of single tiers"
        raise GateError(f"ΔIBC cannot choose a setting: {reason}", hint="--keep 0.98 or --budget USD")
    _, setting, point = max(lifts, key=lambda found: found[0])
    return Chosen(setting, point)


def choose_each(
    curves: Mapping[ClassSource, Curve],
    tiers: Sequence[str],
    tier_points: Sequence[Point],
    objective: Objective,
) -> dict[ClassSource, Chosen]:
    """The setting that the objective asks for, per source of classes; without those it is undefined for.

    Raises:
        GateError: ΔIBC is undefined for every setting of every source.
    """
    found: dict[ClassSource, Chosen] = {}
    refused: list[GateError] = []
    for source, curve in curves.items():
        try:
            found[source] = choose(curve, tiers, tier_points, objective)
        except GateError as exc:
            refused.append(exc)
    if not found:
        raise refused[0]
    return found


def best_source(
    found: Mapping[ClassSource, Chosen], tier_points: Sequence[Point], objective: Objective
) -> ClassSource:
    """The source of classes whose setting serves the objective best; of equals the first."""
    return max(found, key=lambda source: _worth(found[source], tier_points, objective))


def _worth(chosen: Chosen, tier_points: Sequence[Point], objective: Objective) -> tuple[float, ...]:
    """What an objective thinks of a setting, more being better."""
    cost, quality = chosen.point
    if objective.kind == "cost_weight":
        return (quality - objective.value * cost,)
    if objective.kind == "ibc":
        return (ibc_lift(chosen.point, ends_of(tier_points)).value or 0.0,)
    if objective.kind == "keep":
        return (1.0, -cost, quality) if chosen.met else (0.0, quality, -cost)
    return (1.0, quality, -cost) if chosen.met else (0.0, -cost, quality)


def ends_of(tier_points: Sequence[Point]) -> Ends:
    """The cheapest and the dearest tier."""
    return Ends(min(tier_points, key=lambda p: p.cost), max(tier_points, key=lambda p: p.cost))


# ------------------------------------------------------------------ held out


class HeldOut(NamedTuple):
    """What the whole procedure did on rows it had not seen; rows in the table's order.

    `best` is the score of the single tier that was the best one where the setting was chosen;
    `paths` the points of every setting, fitted on the outer folds, per source of classes.
    """

    score: Floats
    cost: Floats
    abstained: NDArray[np.bool_]
    escalated: NDArray[np.bool_]
    votes: Ints
    best: Floats
    paths: dict[ClassSource, Curve]


def held_out(
    table: TraceTable,
    family: Family,
    objective: Objective,
    *,
    folds: int,
    seed: int,
    abstain_value: float,
    classes: Classes = NO_CLASSES,
    learned: Mapping[ClassSource, Classed] | None = None,
) -> HeldOut:
    """Choose source of classes and setting inside each outer fold's training rows, and run it on the fold.

    `learned` are the classes of each source, learned from all rows: `paths` are laid along them, and
    empty without.
    """
    alone, fold, n = singles(table), folds_of(len(table), folds, seed), len(table)
    whole = {source: _along(family, known.table) for source, known in (learned or {}).items()}
    paths = {source: _Sums() for source in whole}
    best, parts = np.zeros(n), list[Replayed]()
    for k in range(folds):
        learn, rows = fold != k, np.flatnonzero(fold == k)
        points = Singles(alone.score[learn], alone.cost[learn]).points()
        tables, curves = dict[ClassSource, TraceTable](), dict[ClassSource, Curve]()
        for source, seen, _ in classes.of(table, learn):
            train, tables[source] = seen.subset(learn), seen
            curves[source] = crossfit(
                train, family, folds=folds, seed=seed + 1 + k, abstain_value=abstain_value
            )
            if source in whole:
                paths[source].add(whole[source].candidates(train), seen, _some(fold == k), abstain_value)
        found = choose_each(curves, table.tiers, points, objective)
        source = best_source(found, points, objective)
        policy = policy_of(family, tables[source].subset(learn), found[source].setting)
        parts.append(replay(policy, tables[source], rows, abstain_value=abstain_value))
        best[rows] = alone.score[rows, int(np.argmax([p.quality for p in points]))]
    order = np.argsort(np.concatenate([part.rows for part in parts]), kind="stable")

    def joined(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])[order]

    asked, votes = joined("asked"), joined("votes")
    return HeldOut(
        score=joined("score"),
        cost=joined("cost"),
        abstained=joined("tier") < 0,
        escalated=asked.sum(axis=1) > 1,
        votes=votes.sum(axis=1),
        best=best,
        paths={source: sums.curve() for source, sums in paths.items()},
    )


def policy_of(family: Family, table: TraceTable, setting: Setting) -> Policy[Any]:
    """The policy of a setting, fitted on a table."""
    if isinstance(setting, Always):
        return AlwaysPolicy(len(table.tiers), table.tiers.index(setting.tier))
    return family.policy(table, setting)


# ------------------------------------------------------------------ all of it


class Figures(NamedTuple):
    """One policy on held-out rows: mean cost and score with intervals, and shares."""

    name: str
    cost: Measure
    quality: Measure
    escalated: float = 0.0
    abstained: float = 0.0
    votes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What `automix calibrate` found.

    Attributes:
        tiers: their names.
        settings: what the profile decided.
        fitted: learned from all rows.
        objective: what was asked for.
        chosen: the setting, chosen on cross-fitted points of all rows.
        verdict: whether routing pays; None with too few rows to say anything.
        met: bootstrap chance that the objective is met on new rows; None where it cannot be missed.
        single: the tier to use where routing does not pay.
        figures: held-out, by name: the router, each tier (`always:NAME`), `threshold`, `oracle`,
            and `random-mix`, the best mix of single tiers at the router's cost.
        path: held-out points of every setting.
        query: the query-side router whose classes the prior knows; None for no classes.
        compared: the setting and point that each source of classes came to, cross-fitted.
        rates: shares to compare later batches with, as (hits, cases): `escalated`, and the
            first votes that say CORRECT per tier.
    """

    tiers: tuple[str, ...]
    settings: Settings
    fitted: Fitted
    objective: Objective
    chosen: Chosen
    single: str
    verdict: RoutingVerdict | None = None
    met: float | None = None
    figures: tuple[Figures, ...] = ()
    path: Curve = NO_CURVE
    rates: tuple[tuple[str, int, int], ...] = ()
    query: QueryRouter | None = None
    compared: tuple[tuple[ClassSource, Chosen], ...] = ()

    @property
    def unproven(self) -> bool:
        """Whether the router is written without proof that it pays."""
        return self.verdict is None or self.verdict.kind == "not enough rows"

    def policy(self) -> Policy[Any]:
        """The policy that the written router stands for."""
        return policy_from_router(self.router(), self.settings, self.tiers)

    def router(self) -> dict[str, Any]:
        """The profile's `router:` block, without what only the command knows (hashes, models, date)."""
        setting = self.chosen.setting
        single = setting.tier if isinstance(setting, Always) else None
        if self.verdict is not None and self.verdict.kind == "do not route":
            single = self.single
        if single is not None:
            return {"kind": "always", "tier": single, "fitted": self._proof()}
        weight = narrow(setting, CostWeight).value
        query = {} if self.query is None else {"query": self.query.to_dict()}
        learned = {**self.fitted.to_dict(), **query}
        return {"kind": "pomdp", "cost_weight": weight, **learned, "fitted": self._proof()}

    def _proof(self) -> dict[str, Any]:
        proof: dict[str, Any] = {"rows": self.fitted.rows, "objective": list(self.objective)}
        if self.unproven:
            proof["unproven"] = True
        if self.verdict is not None:
            proof["verdict"] = {
                "kind": self.verdict.kind,
                "edge": [self.verdict.edge, self.verdict.low, self.verdict.high],
            }
        held = {f.name: [f.cost.value, f.quality.value] for f in self.figures}
        return {**proof, "held_out": held, "rates": {name: [hits, cases] for name, hits, cases in self.rates}}


def calibrate(
    table: TraceTable,
    settings: Settings,
    objective: Objective = Objective(),  # noqa: B008
    *,
    folds: int = 5,
    seed: int = 0,
    classes: Classes = NO_CLASSES,
) -> Calibration:
    """Fit on all rows, choose a setting, and prove it on rows held out.

    Args:
        table: rows that score every tier.
        settings: what the profile decides.
        objective: how to choose the cost_weight.
        folds: outer and inner.
        seed: of folds and resamples.
        classes: which query-side routers may tell the prior the class of a question. With few
            rows there is none.

    Raises:
        DataError: no rows, or a cost that is not recorded.
        GateError: the objective is ΔIBC, and it is undefined.
    """
    if not len(table):
        raise DataError("there are no rows to calibrate on")
    table.require_costs()
    weights = (objective.value,) if objective.kind == "cost_weight" else ()
    family = PomdpFamily(settings=settings, weights=weights)
    found = _unproved(table, settings, objective)
    learned = _learned(table, classes if len(table) >= LEAST_ROWS else NO_CLASSES)
    curves: dict[ClassSource, Curve] = {"none": NO_CURVE}
    if len(table) >= LEAST_ROWS:
        held = held_out(
            table,
            family,
            objective,
            folds=folds,
            seed=seed,
            abstain_value=settings.abstain_value or 0.0,
            classes=classes,
            learned=learned,
        )
        found, curves = _proved(found, table, held, folds, seed), held.paths
    elif objective.kind == "cost_weight":
        curves = {"none": Curve((CostWeight(objective.value),), (Point(math.nan, math.nan),))}
    return _settled(found, table, learned, curves)


def _unproved(table: TraceTable, settings: Settings, objective: Objective) -> Calibration:
    """What is known before anything was chosen or measured."""
    return Calibration(
        tiers=table.tiers,
        settings=settings,
        fitted=fit(table, settings),
        objective=objective,
        chosen=Chosen(Always(table.tiers[0]), Point(0.0, 0.0)),
        single=table.tiers[0],
    )


def _settled(
    found: Calibration,
    table: TraceTable,
    learned: Mapping[ClassSource, Classed],
    curves: Mapping[ClassSource, Curve],
) -> Calibration:
    """Choose the setting, and what there is without a router; fit to all rows what will be written."""
    points, single = singles(table).points(), _without_weight(found.objective)
    wanted = found.objective if any(c.settings for c in curves.values()) else single
    each = choose_each(curves, table.tiers, points, wanted)
    source, held = best_source(each, points, wanted), len(table) >= LEAST_ROWS
    seen = learned[source]
    found = replace(
        found,
        fitted=fit(seen.table, found.settings),
        chosen=each[source],
        single=best_single(table.tiers, points, found.objective),
        path=curves[source] if held else NO_CURVE,
        query=seen.router,
        compared=tuple(each.items()) if held else (),
    )
    if found.router()["kind"] != "pomdp":
        found = replace(found, query=None)
    # Of the router as it is written: held-out runs mix the settings of several folds.
    return replace(found, rates=_rates(table, replay(found.policy(), seen.table)))


def _learned(table: TraceTable, classes: Classes) -> dict[ClassSource, Classed]:
    """The classes of each source, learned from all rows; a router that tells none apart is left out."""
    known = classes.of(table, np.ones(len(table), dtype=bool))
    return {c.source: c if c.table.n_classes > 1 else Classed(c.source, table) for c in known}


def best_single(tiers: Sequence[str], tier_points: Sequence[Point], objective: Objective) -> str:
    """Return the single tier that an objective takes."""
    chosen = choose(NO_CURVE, tiers, tier_points, _without_weight(objective))
    return narrow(chosen.setting, Always).tier


def _without_weight(objective: Objective) -> Objective:
    """Return the objective for single tiers, which have no cost_weight: their default where it needs one."""
    return objective if objective.kind in ("keep", "budget") else Objective()


def _proved(found: Calibration, table: TraceTable, held: HeldOut, folds: int, seed: int) -> Calibration:
    """Add the figures of the held-out rows, their intervals and the verdict."""
    alone, resamples = singles(table), Resamples.of(len(table), seed)
    worth = found.settings.abstain_value or 0.0
    rival = ThresholdFamily(
        settings=found.settings, max_votes=min(found.settings.max_votes, max(table.max_votes))
    )
    other = held_out(
        table, rival, _without_weight(found.objective), folds=folds, seed=seed, abstain_value=worth
    )
    ideal = oracle(alone.score, alone.cost)
    columns = np.column_stack(
        [
            held.score,
            held.cost,
            held.best,
            other.score,
            other.cost,
            ideal.score,
            ideal.cost,
            alone.score,
            alone.cost,
        ]
    )
    draws, means, n = resamples.means(columns), columns.mean(axis=0), len(table.tiers)
    mixes = mix_quality(draws[:, 7 + n :], draws[:, 7 : 7 + n], draws[:, 1])
    mix = float(mix_quality(means[7 + n :], means[7 : 7 + n], means[1]))
    gap = Interval(*interval(draws[:, 0] - mixes))
    names = [("pomdp", 1, 0), ("threshold", 4, 3), ("oracle", 6, 5)]
    names += [(f"always:{name}", 7 + n + j, 7 + j) for j, name in enumerate(table.tiers)]
    shares = {"pomdp": _shares(held), "threshold": _shares(other)}
    figures = [
        Figures(
            name,
            _with_interval(means[c], draws[:, c]),
            _with_interval(means[q], draws[:, q]),
            *shares.get(name, ()),
        )
        for name, c, q in names
    ]
    figures.append(Figures("random-mix", figures[0].cost, _with_interval(mix, mixes)))
    return replace(
        found,
        verdict=verdict(float(means[0] - mix), gap, len(table)),
        met=_chance_met(found.objective, draws),
        figures=tuple(figures),
    )


def _shares(held: HeldOut) -> tuple[float, float, float]:
    return float(held.escalated.mean()), float(held.abstained.mean()), float(held.votes.mean())


def _with_interval(value: float, draws: Floats) -> Measure:
    low, high = interval(draws)
    return Measure(float(value), "", low, high)


def _chance_met(objective: Objective, draws: Floats) -> float | None:
    """Share of resamples in which the objective is met; columns as in `_proved`."""
    if objective.kind == "keep":
        return float((draws[:, 0] >= objective.value * draws[:, 2]).mean())
    if objective.kind == "budget":
        return float((draws[:, 1] <= objective.value).mean())
    return None


def _rates(table: TraceTable, run: Replayed) -> tuple[tuple[str, int, int], ...]:
    """Shares that later batches are compared with, as (hits, cases)."""
    rates = [("escalated", int(run.escalated.sum()), len(table))]
    for j, name in enumerate(table.tiers):
        bought = run.votes[:, j] > 0
        if table.signals[j] == "votes" and bought.any():
            first = table.recorded_votes[j].drawn[bought, 0]
            rates.append((name, int((first == 1).sum()), int((first >= 0).sum())))
    return tuple(rates)
