"""Who sits at the table of `bench`: each policy, what it learns, and what it then does.

    PolicyEntry.train(Split) ─▶ Trained(curve, play) ─▶ play(setting) ─▶ Replayed

A contender sees the training rows when it is trained and nothing else. Its `curve` holds
every setting it has with a training point that is cross-fitted wherever something was
fitted; `play` runs one setting on the held-out rows, in the same `replay` for all.
Query-side routers, mixes and oracles choose a tier before any call: that tier is the
`cell` of a question, and `AssignedPolicy` asks it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from automix_cli.data.oracle import oracle
from automix_cli.data.samples import FEWEST
from automix_cli.data.traces import TraceTable
from automix_cli.errors import UsageError, did_you_mean
from automix_cli.evaluation.calibration import (
    LEAST_ROWS,
    NO_CURVE,
    Curve,
    Objective,
    PomdpFamily,
    Singles,
    ThresholdFamily,
    best_source,
    choose_each,
    cost_weights,
    crossfit,
    singles,
)
from automix_cli.evaluation.metrics import Point, hull
from automix_cli.evaluation.paper import PaperFamily
from automix_cli.evaluation.replay import Replayed, replay
from automix_cli.evaluation.settings import (
    Always,
    CostWeight,
    MixShare,
    SampleCount,
    Setting,
    Threshold,
    narrow,
)
from automix_cli.fitting.classes import ClassSource, Wanted, sources_of
from automix_cli.fitting.fit import fit
from automix_cli.fitting.fit_query_router import FittedRouter, fit_router
from automix_cli.fitting.fitted import Fitted
from automix_cli.fitting.query_router import QUERY_ROUTER_KINDS, SELECTIONS, QueryRouterKind, Selection
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.pomdp.problem import Policy
from automix_cli.pomdp.rules import ASSIGNED, AlwaysPolicy, Rule, ThresholdPolicy

Group = Literal["single tier", "majority", "mix", "rule", "query", "pomdp", "bound"]

MIX_STEPS = 20  # shares between two neighbouring tiers of a random mix


# ------------------------------------------------------------------ what is given


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Rows to learn from and rows held out, with what they have in common.

    Attributes:
        train, test: the rows, votes drawn in the order of `seed`.
        rows: where the held-out rows stand in the whole table.
        seed: of folds, draws and fitting.
        folds: of cross-fitting.
        settings: what the profile decides.
        alone: what each single tier scores and costs on the training rows.
    """

    train: TraceTable
    test: TraceTable
    rows: Ints
    seed: int
    folds: int
    settings: Settings
    alone: Singles
    _routers: dict[QueryRouterKind, Asked] = field(default_factory=dict)

    @classmethod
    def of(
        cls, table: TraceTable, train: Ints, test: Ints, *, seed: int, folds: int, settings: Settings
    ) -> Split:
        """Split a table; no more votes are planned than any row of it holds."""
        table = table if table.seed == seed else table.reseed(seed)
        learned, held = table.subset(train), table.subset(test)
        short = [h for t, h in zip(learned.max_votes, held.max_votes, strict=True) if 0 < h < t]
        most = min([settings.max_votes, *short]) if len(learned) else settings.max_votes
        return cls(
            train=learned,
            test=held,
            rows=test,
            seed=seed,
            folds=min(folds, max(len(learned), 2)),
            settings=replace(settings, max_votes=most),
            alone=singles(learned),
        )

    @property
    def abstain_value(self) -> float:
        """The score of an abstention."""
        return self.settings.abstain_value or 0.0

    @property
    def max_votes(self) -> int:
        """The most votes a rule may buy on any tier that is verified."""
        return min(self.settings.max_votes, max(self.train.max_votes[:-1], default=0))

    @property
    def weights(self) -> tuple[float, ...]:
        """The cost_weights of routers that look at questions only, and of the oracle."""
        return cost_weights(self.train) if len(self.train) else (0.0,)

    def router(self, kind: QueryRouterKind) -> Asked:
        """The query-side router of a kind, fitted once for all who use it."""
        if kind not in self._routers:
            fitted = fit_router(
                kind,
                [str(text) for text in self.train.texts],
                self.train.score,
                self.train.mean_cost,
                seed=self.seed,
                embeddings=self.train.embeddings and self.train.embeddings.vectors,
                embed_model=self.train.embeddings.model if self.train.embeddings else "",
                pass_score=self.settings.pass_score,
            )
            self._routers[kind] = Asked(fitted, self.train.looked_at(), self.test.looked_at())
        return self._routers[kind]


class Asked:
    """A fitted router and what it reads in the held-out questions, read once.

    `train` and `test` are the rows as those pay for them who let the router look at them.
    """

    def __init__(self, fitted: FittedRouter, train: TraceTable, test: TraceTable) -> None:
        self.fitted, self.router, self.train, self.test = fitted, fitted.router, train, test
        self._read: tuple[Floats, Ints] | None = None

    def read(self, rows: Ints | None) -> tuple[Floats, Ints]:
        """P(right) and the class of the held-out rows; some rows are read anew, as they would be live."""
        if rows is not None:
            return self._looked(rows)
        if self._read is None:
            self._read = self._looked(np.arange(len(self.test)))
        return self._read

    def _looked(self, rows: Ints) -> tuple[Floats, Ints]:
        vectors = self.test.embeddings and self.test.embeddings.vectors[rows]
        return self.router.read([str(text) for text in self.test.texts[rows]], embeddings=vectors)

    def points(self, choices: Sequence[Ints], alone: Singles) -> tuple[Point, ...]:
        """Mean cost and score of tiers chosen per training row, the look at the question included."""
        fee = 0.0 if self.train.fee is None else float(self.train.fee[:, 0].mean())
        return tuple(Point(cost + fee, quality) for cost, quality in _points(choices, alone))


Play = Callable[[Setting, "Ints | None"], Replayed]


class Trained(NamedTuple):
    """A policy that has learned.

    Attributes:
        curve: every setting, with its point in training.
        play: runs a setting on held-out rows, all by default.
        fixed: the setting is the first of the curve, whatever the objective.
        path: the settings are the plans' cost_weights, all of which are kept with the runs.
        policy: the policy of a setting, where it is a plan that can be shown.
        paid: the held-out rows as this policy pays for them, where that is not as all others do.
    """

    curve: Curve
    play: Play
    fixed: bool = False
    path: bool = False
    policy: Callable[[Setting], Policy[Any]] | None = None
    paid: TraceTable | None = None


class PolicyEntry(Protocol):
    """Somebody at the table."""

    @property
    def name(self) -> str:
        """As the results call it."""
        ...

    @property
    def group(self) -> Group:
        """What kind of policy it is."""
        ...

    def train(self, split: Split) -> Trained:
        """Learn from the training rows."""
        ...


# ------------------------------------------------------------------ a tier chosen beforehand


def _points(choices: Sequence[Ints], alone: Singles) -> tuple[Point, ...]:
    """Mean cost and score of tiers chosen per row."""
    rows = np.arange(len(alone.score))
    return tuple(
        Point(float(alone.cost[rows, tier].mean()), float(alone.score[rows, tier].mean())) for tier in choices
    )


def _weighted(weights: Sequence[float]) -> tuple[Setting, ...]:
    return tuple(CostWeight(weight) for weight in weights)


def _weight(setting: Setting) -> float:
    return narrow(setting, CostWeight).value


def _at(table: TraceTable, rows: Ints | None) -> Ints:
    return np.arange(len(table)) if rows is None else rows


def _assigned(table: TraceTable, rows: Ints | None, tiers: Ints) -> Replayed:
    """Replay rows with a tier chosen for each of them."""
    chosen = _at(table, rows)
    classes = np.zeros(len(table), dtype=np.intp)
    classes[chosen] = tiers
    return replay(ASSIGNED, table, chosen, question_classes=classes)


# ------------------------------------------------------------------ baselines


@dataclass(frozen=True, slots=True)
class SingleTier:
    """One tier for every question."""

    tier: str
    group: Group = "single tier"

    @property
    def name(self) -> str:
        """As the results call it."""
        return f"always:{self.tier}"

    def train(self, split: Split) -> Trained:
        """Nothing is learned."""
        at = split.train.tiers.index(self.tier)
        policy = AlwaysPolicy(len(split.train.tiers), at)
        point = split.alone.points()[at] if len(split.train) else Point(0.0, 0.0)
        curve = Curve((Always(self.tier),), (point,))
        return Trained(curve, lambda _, rows: replay(policy, split.test, rows), fixed=True)


@dataclass(frozen=True, slots=True)
class Majority:
    """MAJ@k: one tier, asked k times; its commonest answer is reported, of equals the one drawn first.

    ClassSource: "Lessons Learned from LLM Routing" (arXiv 2405.00467). It costs k answers, see
    `Samples.costs`.
    """

    k: int
    tier: str
    group: Group = "majority"

    @property
    def name(self) -> str:
        """As the results call it."""
        return f"maj@{self.k}:{self.tier}"

    def train(self, split: Split) -> Trained:
        """Nothing is learned."""
        at = split.train.tiers.index(self.tier)
        policy, setting = AlwaysPolicy(len(split.train.tiers), at), SampleCount(self.k)
        held, point = split.test.by_majority(self.tier, self.k), Point(0.0, 0.0)
        if len(split.train):
            seen = replay(policy, split.train.by_majority(self.tier, self.k))
            point = Point(float(seen.cost.mean()), float(seen.score.mean()))
        return Trained(
            Curve((setting,), (point,)), lambda _, rows: replay(policy, held, rows), fixed=True, paid=held
        )


@dataclass(frozen=True, slots=True)
class RandomMix:
    """Neighbours on the hull of the single tiers, mixed at random: drawn by SHA-256(seed, id).

    Its settings are shares in steps of 1/20. What any other policy must beat is the best of
    them at its own cost.
    """

    name: str = "random-mix"
    group: Group = "mix"

    def train(self, split: Split) -> Trained:
        """The hull is that of the training rows."""
        if not len(split.train):
            return Trained(NO_CURVE, _no_play)
        points = split.alone.points()
        corner = [points.index(p) for p in hull(points)]
        mixes = {
            self._setting(split, a, b, k): (a, b, k)
            for a, b in pairwise(corner)
            for k in range(MIX_STEPS + 1)
        }
        chosen = [self._tiers(list(split.train.ids), mix, split.seed) for mix in mixes.values()]

        def play(setting: Setting, rows: Ints | None) -> Replayed:
            ids = list(split.test.ids[_at(split.test, rows)])
            return _assigned(split.test, rows, self._tiers(ids, mixes[narrow(setting, MixShare)], split.seed))

        return Trained(Curve(tuple(mixes), _points(chosen, split.alone)), play)

    def _setting(self, split: Split, a: int, b: int, k: int) -> MixShare:
        names = split.train.tiers
        return MixShare(k / MIX_STEPS, dearer=names[b], cheaper=names[a])

    def _tiers(self, ids: Sequence[object], mix: tuple[int, int, int], seed: int) -> Ints:
        a, b, k = mix
        digests = (sha256(f"mix:{seed}:{i}".encode("utf-8", "surrogatepass")).digest()[:4] for i in ids)
        drawn = np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.float64)
        tiers: Ints = np.where(drawn / 2**32 < k / MIX_STEPS, b, a)
        return tiers


def _no_play(setting: Setting, rows: Ints | None) -> Replayed:
    raise ValueError(f"a policy without settings cannot be set to {setting}")


@dataclass(frozen=True, slots=True)
class SelfConsistency:
    """All votes, and escalate below one half (AutoMix's self-consistency rule); nothing is learned."""

    name: str = "self-consistency"
    group: Group = "rule"

    def train(self, split: Split) -> Trained:
        """Its point in training."""
        bought = [self._votes(split, j) for j in range(len(split.train.tiers) - 1)]
        policy = ThresholdPolicy(tuple(Rule(votes, (0.5,), (True, False)) for votes in bought))
        seen = replay(policy, split.train)
        point = (
            Point(float(seen.cost.mean()), float(seen.score.mean())) if len(split.train) else Point(0.0, 0.0)
        )
        curve = Curve((Threshold(max(bought, default=0), 0.5),), (point,))
        return Trained(curve, lambda _, rows: replay(policy, split.test, rows), fixed=True)

    def _votes(self, split: Split, j: int) -> int:
        votes = min(split.settings.max_votes, split.train.max_votes[j])
        return {"votes": votes, "verdict": 1}.get(split.train.signals[j], 0)


# ------------------------------------------------------------------ what looks at answers


@dataclass(frozen=True, slots=True)
class OfFamily:
    """A family of policies as `calibrate` has them: cross-fitted curve, one policy per setting."""

    name: str
    family: Callable[[Split], Any]  # a `Family`, or what has its shape
    group: Group = "rule"

    def train(self, split: Split) -> Trained:
        """Cross-fit the curve; each setting that is played is fitted on all training rows."""
        family = self.family(split)

        def play(setting: Setting, rows: Ints | None) -> Replayed:
            policy = family.policy(split.train, setting)
            return replay(policy, split.test, rows, abstain_value=split.abstain_value)

        return Trained(_curve(split, family), play)


def _curve(split: Split, family: Any, table: TraceTable | None = None) -> Curve:
    """Cross-fitted on the training rows, in the form in which the policy sees them."""
    if len(split.train) < LEAST_ROWS:
        return NO_CURVE
    worth, rows = split.abstain_value, split.train if table is None else table
    return crossfit(rows, family, folds=split.folds, seed=split.seed, abstain_value=worth)


@dataclass(frozen=True, slots=True)
class Pomdp:
    """The fitted model's exact plans; `at_once`: all votes of a tier in one round."""

    at_once: bool = False
    group: Group = "pomdp"

    @property
    def name(self) -> str:
        """As the results call it."""
        return "pomdp:all-at-once" if self.at_once else "pomdp"

    def train(self, split: Split) -> Trained:
        """Fit once; a plan per setting."""
        family = PomdpFamily(settings=split.settings, at_once=self.at_once)
        settings = replace(split.settings, batch=()) if self.at_once else split.settings
        fitted, kept = fit(split.train, split.settings), _Kept(settings)

        def play(setting: Setting, rows: Ints | None) -> Replayed:
            policy = kept.policy(fitted, setting)
            return replay(policy, split.test, rows, abstain_value=split.abstain_value)

        return Trained(
            _curve(split, family), play, path=True, policy=lambda setting: kept.policy(fitted, setting)
        )


class _Kept:
    """The policy of the setting last played: its plans serve again where it is played again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._last: tuple[Setting, Policy[Any]] | None = None

    def policy(self, fitted: Fitted, setting: Setting) -> Policy[Any]:
        if self._last is None or self._last[0] != setting:
            self._last = setting, fitted.policy(_weight(setting), self.settings)
        return self._last[1]


class _Learned(NamedTuple):
    """The training rows with the classes that a source tells, its router, and the curve that they draw."""

    table: TraceTable
    asked: Asked | None
    curve: Curve


@dataclass(frozen=True, slots=True)
class PomdpQuery:
    """The union of both papers: the query-side router's class of a question supplies the prior.

    `wanted` is a kind of router, or `auto`: the one, or none, that serves the `objective` best on
    the training rows; its name then stands in the setting.
    """

    wanted: Wanted
    objective: Objective
    name: str = "pomdp+query"
    group: Group = "pomdp"

    def train(self, split: Split) -> Trained:
        """Classes of training rows come from models that never saw their labels."""
        if len(split.train) < LEAST_ROWS:
            return Trained(NO_CURVE, _no_play)
        each = {source: self._learned(split, source) for source in sources_of(self.wanted)}
        source = self._best({source: seen.curve for source, seen in each.items()}, split)
        table, asked, curve = each[source]
        fitted, kept = fit(table, split.settings), _Kept(split.settings)

        def play(setting: Setting, rows: Ints | None) -> Replayed:
            test, classes = split.test, np.zeros(len(split.test), dtype=np.intp)
            if asked is not None:
                test, classes[_at(test, rows)] = asked.test, asked.read(rows)[1]
            policy = kept.policy(fitted, setting)
            return replay(policy, test, rows, question_classes=classes, abstain_value=split.abstain_value)

        if self.wanted == "auto":
            settings = tuple(CostWeight(_weight(setting), source) for setting in curve.settings)
            curve = curve._replace(settings=settings)
        return Trained(curve, play, path=True)

    def _learned(self, split: Split, source: ClassSource) -> _Learned:
        asked, table = None, split.train
        if source != "none":
            asked = split.router(source)
            table = replace(
                asked.train, question_classes=asked.fitted.classes, n_classes=asked.router.n_classes
            )
        family = PomdpFamily(settings=split.settings)
        return _Learned(table, asked, _curve(split, family, table))

    def _best(self, curves: Mapping[ClassSource, Curve], split: Split) -> ClassSource:
        points = split.alone.points()
        found = choose_each(curves, split.train.tiers, points, self.objective)
        return best_source(found, points, self.objective)


# ------------------------------------------------------------------ what looks at questions


@dataclass(frozen=True, slots=True)
class Query:
    """A query-side router with one of its selection rules."""

    kind: QueryRouterKind
    rule: Selection
    group: Group = "query"

    @property
    def name(self) -> str:
        """As the results call it; clusters and neighbours have one rule only."""
        return f"{self.kind}:{self.rule}" if self.kind in ("multilabel", "separate") else self.kind

    def train(self, split: Split) -> Trained:
        """Training points are of probabilities from models that never saw the row."""
        if len(split.train) < LEAST_ROWS:
            return Trained(NO_CURVE, _no_play)
        asked, weights = split.router(self.kind), split.weights

        def tiers(probs: Floats, weight: float, ids: Sequence[object]) -> Ints:
            return asked.router.choose(probs, self.rule, cost_weight=weight, ids=ids)

        def play(setting: Setting, rows: Ints | None) -> Replayed:
            ids = list(split.test.ids[_at(split.test, rows)])
            return _assigned(asked.test, rows, tiers(asked.read(rows)[0], _weight(setting), ids))

        chosen = [tiers(asked.fitted.probs, weight, list(split.train.ids)) for weight in weights]
        return Trained(Curve(_weighted(weights), asked.points(chosen, split.alone)), play)


# ------------------------------------------------------------------ bounds


@dataclass(frozen=True, slots=True)
class Oracle:
    """One who knows every score: the best tier of each row. With a cost_weight it draws a curve."""

    name: str = "oracle"
    group: Group = "bound"

    def train(self, split: Split) -> Trained:
        """Set to cost_weight 0, the highest bound."""
        weights = split.weights
        chosen = [oracle(*split.alone, weight).tier for weight in weights]
        known = singles(split.test)

        def play(setting: Setting, rows: Ints | None) -> Replayed:
            at = _at(split.test, rows)
            best = oracle(known.score[at], known.cost[at], _weight(setting)).tier
            return _assigned(split.test, rows, best)

        points = _points(chosen, split.alone) if len(split.train) else (Point(0.0, 0.0),)
        return Trained(Curve(_weighted(weights), points), play, fixed=True)


@dataclass(frozen=True, slots=True)
class Bound:
    """A router's own upper bound: the best choice among the tiers that it takes for capable."""

    kind: QueryRouterKind
    group: Group = "bound"

    @property
    def name(self) -> str:
        """As the results call it."""
        return f"bound:{self.kind}"

    def train(self, split: Split) -> Trained:
        """Set to cost_weight 0, the highest bound."""
        if len(split.train) < LEAST_ROWS:
            return Trained(NO_CURVE, _no_play)
        asked, weights = split.router(self.kind), split.weights
        probs, alone = asked.fitted.probs, split.alone
        chosen = [asked.router.bound(probs, alone.score, cost_weight=w).tier for w in weights]

        def play(setting: Setting, rows: Ints | None) -> Replayed:
            at = _at(split.test, rows)
            scores = split.test.score[at]
            best = asked.router.bound(asked.read(rows)[0], scores, cost_weight=_weight(setting))
            return _assigned(asked.test, rows, best.tier)

        return Trained(Curve(_weighted(weights), asked.points(chosen, alone)), play, fixed=True)


# ------------------------------------------------------------------ the table


def _threshold(split: Split, *, double: bool = False) -> ThresholdFamily:
    return ThresholdFamily(settings=split.settings, max_votes=split.max_votes, double=double)


def everyone(
    tiers: Sequence[str],
    query_router: Wanted = "multilabel",
    majorities: Sequence[Majority] = (),
    objective: Objective = Objective(),  # noqa: B008
) -> tuple[PolicyEntry, ...]:
    """Every policy there is, in the order in which results show them; the objective is for `auto`."""
    queries = [
        Query(kind, rule)
        for kind in QUERY_ROUTER_KINDS
        for rule in (SELECTIONS if kind in ("multilabel", "separate") else SELECTIONS[:1])
    ]
    return (
        *(SingleTier(tier) for tier in tiers),
        *majorities,
        RandomMix(),
        SelfConsistency(),
        OfFamily("threshold", _threshold),
        OfFamily("double-threshold", lambda split: _threshold(split, double=True)),
        OfFamily("paper-pomdp", lambda split: PaperFamily(max_votes=split.max_votes)),
        *queries,
        Pomdp(at_once=True),
        Pomdp(),
        PomdpQuery(query_router, objective),
        Oracle(),
        *(Bound(kind) for kind in QUERY_ROUTER_KINDS),
    )


def majorities(asked: str, tiers: Sequence[str], samples: Sequence[int]) -> tuple[Majority, ...]:
    """MAJ@k of every tier with samples enough, for odd k; and whatever else of it a list of names asks for.

    Beyond 9 only the largest odd k has a place, so that many samples do not make a long table.
    `maj@5` stands for all tiers with that many samples, `maj` for all there are; where there is
    none they stand for what cannot take part.

    Args:
        asked: as `--policies` has it.
        tiers: their names.
        samples: the fewest judged samples on any row, per tier.

    Example:
        >>> [m.name for m in majorities("all, maj@4:s", ["s", "l"], [5, 0])]
        ['maj@1:s', 'maj@3:s', 'maj@4:s', 'maj@5:s']
    """
    there = {
        (tier, k)
        for tier, most in zip(tiers, samples, strict=True)
        if most >= FEWEST
        for k in (*range(1, min(most, 9) + 1, 2), most - 1 + most % 2)
    }
    for name in (name.strip() for name in asked.split(",")):
        match = _MAJORITY.fullmatch(name)
        if match is None or (match["tier"] is not None and match["tier"] not in tiers):
            continue
        k = int(match["k"] or FEWEST)
        able = [tier for tier, most in zip(tiers, samples, strict=True) if most >= k]
        there |= {(tier, k) for tier in ([match["tier"]] if match["tier"] else able or tiers)}
    return tuple(Majority(k, tier) for tier, k in sorted(there, key=lambda t: (tiers.index(t[0]), t[1])))


_MAJORITY = re.compile(r"maj(?:@(?P<k>[1-9][0-9]{0,4})(?::(?P<tier>.+))?)?", re.ASCII)


def needs_router(contender: PolicyEntry) -> bool:
    """Whether it looks at the question, for which scikit-learn and question texts are needed."""
    return isinstance(contender, Query | Bound | PomdpQuery)


def unable(contender: PolicyEntry, table: TraceTable) -> str:
    """Why a policy cannot take part on these rows; "" where it can."""
    if contender.group == "single tier":
        return ""
    if isinstance(contender, Majority):
        return _no_majority(contender, table)
    if len(table.tiers) == 1:
        return "there is one tier, so there is nothing to choose"
    if needs_router(contender) and not any(table.texts):
        return "no question texts are recorded"
    if needs_router(contender) and find_spec("sklearn") is None:
        return "scikit-learn is not installed (python -m pip install 'automix-cli[routers]')"
    if contender.name in _OF_SIGNALS and not shows_something(table):
        return "no votes and no confidence are recorded"
    if contender.name == "paper-pomdp" and len(table.tiers) != 2:
        return "it handles two tiers"
    return ""


def _no_majority(contender: Majority, table: TraceTable) -> str:
    """Why k samples of a tier cannot be compared; "" where they can."""
    j = table.tiers.index(contender.tier)
    samples = table.samples[j] if table.samples else None
    if samples is None:
        return f"no samples of {contender.tier} are recorded beside what is expected"
    held = samples.held
    if held.min() >= contender.k:
        return ""
    few = table.ids[int(held.argmin())]
    return f"row {few!r} records {held.min()} samples of {contender.tier} that can be judged"


_OF_SIGNALS = ("self-consistency", "threshold", "double-threshold", "paper-pomdp", "pomdp:all-at-once")


def shows_something(table: TraceTable) -> bool:
    """Whether any tier but the last has a signal on any row."""
    votes, confidence = table.votes[:, :-1], table.confidence[:, :-1]
    return bool(votes.any() or not np.isnan(confidence).all())


def invited(asked: str, known: Sequence[PolicyEntry]) -> tuple[PolicyEntry, ...]:
    """The contenders that a list of names asks for; single tiers are always there.

    `multilabel` stands for `multilabel:argmax` and its other rules, `maj` for every `maj@k:TIER`;
    `all` for everyone.

    Raises:
        UsageError: for a name that is nobody's.
    """
    names = [name.strip() for name in asked.split(",") if name.strip()]
    wanted: set[str] = set()
    for name in names:
        exact = {c.name for c in known if c.name == name}
        found = exact or {
            c.name for c in known if name == "all" or c.name.startswith((f"{name}:", f"{name}@"))
        }
        if not found:
            there = [
                *dict.fromkeys(part for c in known for part in (c.name, c.name.partition(":")[0])),
                "all",
            ]
            raise UsageError(
                f"--policies: no policy {name!r}{did_you_mean(name, there)}",
                hint=f"there are {', '.join(there)}",
            )
        wanted |= found
    return tuple(c for c in known if c.name in wanted or c.group == "single tier")
