"""The comparison: every policy learns from the same rows and is measured on the same others.

    table ─▶ cuts ─▶ for each: train all ─▶ choose settings ─▶ play ─▶ figures ─▶ Bench
                      (training rows)   (training points)   (held-out rows)

Nothing that is chosen looks at a held-out label. A policy's settings are the corners of the
hull of its cross-fitted training points and the single tiers; its curve is those settings on
the held-out rows, and its point is the one that the objective takes. Every figure has a
paired-bootstrap interval: all policies meet the same resamples of the rows, and where
random splits are repeated, rows are resampled once for all of them and figures averaged
over the splits within each draw.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from automix_cli.data.duplicates import Duplicates, Twin, near_duplicates, normal_form
from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError, UsageError
from automix_cli.evaluation.crossfit import CROSSFIT, Crossfit
from automix_cli.evaluation.metrics import (
    Ends,
    Interval,
    Measure,
    Point,
    Resamples,
    RoutingVerdict,
    aiq,
    apgr,
    cpt,
    curve_draws,
    gain_area,
    ibc_lift,
    interval,
    mix_quality,
    savings,
    verdict,
)
from automix_cli.evaluation.objective import Choice, Objective, best_single, choose, corners
from automix_cli.evaluation.policy_entry import (
    Group,
    PolicyEntry,
    TrainedPolicy,
    reads_questions,
    shows_signal,
)
from automix_cli.evaluation.replay import Replayed, replay
from automix_cli.evaluation.settings import Always, CostWeight, Setting
from automix_cli.evaluation.split import Split
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.arrays import Floats, Ints
from automix_cli.pomdp.plan import PlanRow
from automix_cli.pomdp.policy import PomdpPolicy
from automix_cli.pomdp.rules import AlwaysPolicy

Runs = Literal["all", "chosen", "none"]

PARITIES = (99, 95)
NEAR_ROWS = 50_000  # with more, only equal questions are looked for
_TIMED = 25  # rows on which a policy's own time is taken
_DRAWS = 1000

MEASURES = (
    "quality",
    "cost",
    "edge",
    "lead",
    "escalated",
    "votes",
    "abstained",
    "helped",
    "hurt",
    "ibc_lift",
    "aiq",
    "apgr",
    "cpt_50",
    "cpt_80",
    "gain_area",
    *(f"savings_at_{p}" for p in PARITIES),
    *(f"parity_at_{p}" for p in PARITIES),
    "latency",
    "router_latency",
)


# ------------------------------------------------------------------ splitting


class Cut(NamedTuple):
    """Which rows are learned from and which are held out; `seed` drew them, or draws what follows."""

    train: Ints
    test: Ints
    seed: int


def has_own_split(table: TraceTable) -> bool:
    """Whether the rows say themselves which to learn from and which are held out."""
    return bool((table.splits == "train").any() and (table.splits == "test").any())


def cuts_of(table: TraceTable, share: float | None, *, repeat: int = 1, seed: int = 0) -> list[Cut]:
    """The rows' own split, or random ones: one per seed from `seed` on.

    A random split orders the rows by SHA-256(seed, id), so it does not depend on the order of
    the file.

    Args:
        table: the rows.
        share: of training rows; None takes the rows' own split where there is one, else one half.
        repeat: how many random splits.
        seed: of the first.

    Raises:
        UsageError: for repeats of a split that the rows bring along.
    """
    if share is None and has_own_split(table):
        if repeat > 1:
            raise UsageError("--repeat draws splits, and these rows bring their own", hint="add --split 0.5")
        own = [np.flatnonzero(table.splits == name) for name in ("train", "test")]
        return [Cut(own[0], own[1], seed)]
    return [_drawn_cut(table, 0.5 if share is None else share, s) for s in range(seed, seed + repeat)]


def _drawn_cut(table: TraceTable, share: float, seed: int) -> Cut:
    keys = [sha256(f"split:{seed}:{i}".encode("utf-8", "surrogatepass")).digest() for i in table.ids]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.intp)
    learned = min(round(share * len(order)), len(order) - 1)  # one row at least is held out
    return Cut(np.sort(order[:learned]), np.sort(order[learned:]), seed)


def duplicates_of(table: TraceTable, cut: Cut) -> Duplicates:
    """Held-out questions that also stand in training; of very many rows only equal ones."""
    train, test = ([str(t) for t in table.texts[rows]] for rows in (cut.train, cut.test))
    if len(table) <= NEAR_ROWS:
        return near_duplicates(train, test)
    first = {form: i for i, form in reversed(list(enumerate(map(normal_form, train)))) if form}
    forms = [normal_form(text) for text in test]
    equal = tuple(Twin(i, first[form], 1.0) for i, form in enumerate(forms) if form in first)
    return Duplicates(equal, (), len(test))


# ------------------------------------------------------------------ what comes out


class Run(NamedTuple):
    """One policy at one setting on the held-out rows of one split."""

    policy: str
    setting: Setting
    seed: int
    table: TraceTable
    outcome: Replayed


class CurvePoint(NamedTuple):
    """A setting on a policy's curve: its point in training, and held out."""

    setting: Setting
    trained: Point
    cost: Measure
    quality: Measure


class Spent(NamedTuple):
    """USD per question that went to a tier's answers and to its votes."""

    tier: str
    answers: float
    votes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one policy.

    Attributes:
        name, group: who.
        chosen: the setting in each split, with its training point.
        measures: every name of `MEASURES`.
        by_split: the values of each measure in each split.
        curve: of the first split.
        slices: quality, cost and edge per dataset.
        spent: where the money went, mean over splits.
        seconds: the policy's own time for a question, alone.
        verdict: whether it pays; None with too few rows to say anything.
    """

    name: str
    group: Group
    chosen: tuple[Choice, ...]
    measures: Mapping[str, Measure]
    by_split: Mapping[str, tuple[float | None, ...]]
    curve: tuple[CurvePoint, ...]
    slices: Mapping[str, Mapping[str, Measure]]
    spent: tuple[Spent, ...]
    seconds: float
    verdict: RoutingVerdict | None


class Moved(NamedTuple):
    """A held-out row on which a later tier's answer was reported: the score of the first, and of that."""

    row: int
    first: str
    last: str
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The whole comparison.

    Attributes:
        tiers: their names, cheapest first; `small` and `large` are the cheapest and the dearest
            in training.
        cuts: the splits.
        outcomes: one per policy, in the order of the table.
        headline: the policy that the verdict is about.
        single: the tier to use where routing does not pay.
        duplicates: per split.
        moved: rows of the first split that the headline policy escalated, by name of what came
            of it: helped, hurt, or neither.
        plan: of the first split, where the headline policy has one.
        plan_cuts: per tier, the edges between the bins of a continuous confidence in it.
    """

    tiers: tuple[str, ...]
    small: str
    large: str
    objective: Objective
    cuts: tuple[Cut, ...]
    outcomes: tuple[Outcome, ...]
    headline: str
    single: str
    duplicates: tuple[Duplicates, ...]
    moved: tuple[Moved, ...] = ()
    plan: tuple[PlanRow, ...] = ()
    plan_cuts: tuple[tuple[float, ...], ...] = ()

    def outcome(self, name: str) -> Outcome:
        """What came of a policy.

        Raises:
            UsageError: for a name that did not take part.
        """
        for outcome in self.outcomes:
            if outcome.name == name:
                return outcome
        names = ", ".join(o.name for o in self.outcomes)
        raise UsageError(f"no policy {name!r} took part", hint=f"there were {names}")


# ------------------------------------------------------------------ figures with draws


class BootstrapFigure(NamedTuple):
    """A figure, and the same in every resample (NaN where it is undefined there)."""

    value: float | None
    reason: str
    draws: Floats

    def measure(self) -> Measure:
        """With its interval; where too many resamples leave it undefined there is none."""
        if self.value is None or not len(self.draws):
            return Measure(self.value, self.reason or "too few rows for an interval")
        known = self.draws[~np.isnan(self.draws)]
        if len(known) < 0.95 * len(self.draws):
            gone = len(self.draws) - len(known)
            return Measure(self.value, f"undefined in {gone} of {len(self.draws)} resamples")
        return Measure(self.value, "", *interval(known))


def _nothing(reason: str) -> BootstrapFigure:
    return BootstrapFigure(None, reason, np.empty(0))


def _of_measures(measure: Measure, draws: Sequence[Measure]) -> BootstrapFigure:
    values = [np.nan if draw.value is None else draw.value for draw in draws]
    return BootstrapFigure(measure.value, measure.reason, np.array(values, dtype=float))


def _averaged(figures: Sequence[BootstrapFigure]) -> BootstrapFigure:
    """The mean over splits, draw by draw; undefined where it is in any split."""
    undefined = [f for f in figures if f.value is None]
    if undefined:
        where = f" (in {len(undefined)} of {len(figures)} splits)" if len(figures) > 1 else ""
        return _nothing(undefined[0].reason + where)
    value = float(np.mean([f.value for f in figures]))
    return BootstrapFigure(value, "", np.mean([f.draws for f in figures], axis=0))


class _Seen(NamedTuple):
    """Means of some columns on the held-out rows, and in every resample of them."""

    mean: Floats
    draws: Floats

    @classmethod
    def of(cls, columns: Floats, resamples: Resamples | None) -> _Seen:
        """One row, or none, has no resamples that say anything."""
        none = np.empty((0, columns.shape[1]))
        return cls(columns.mean(axis=0), none if resamples is None else resamples.means(columns))

    def column(self, at: int, scale: float = 1.0) -> BootstrapFigure:
        """One of them as a figure."""
        return BootstrapFigure(float(scale * self.mean[at]), "", scale * self.draws[:, at])


def _resamples(table: TraceTable, cuts: Sequence[Cut], seed: int) -> list[Resamples | None]:
    """Resamples for each split: rows of the whole table drawn once for all splits, or of the only one."""
    if len(cuts) == 1:
        rows = len(cuts[0].test)
        return [Resamples.of(rows, seed, _DRAWS) if rows > 1 else None]
    whole = Resamples.of(len(table), seed, _DRAWS)
    return [_restricted(whole, cut.test) for cut in cuts]


def _restricted(whole: Resamples, rows: Ints | NDArray[np.bool_]) -> Resamples | None:
    """The resamples of some rows; a draw that has none of them stands for all of them."""
    counts = whole.counts[:, rows]
    if counts.shape[1] < 2:
        return None
    return Resamples(np.where(counts.any(axis=1, keepdims=True), counts, 1).astype(np.uint8))


# ------------------------------------------------------------------ playing


class _Played(NamedTuple):
    """A policy in one split: what was chosen in training, and what came of it held out."""

    contender: PolicyEntry
    chosen: Choice
    curve: tuple[Choice, ...]
    outcome: Replayed
    scores: Floats
    costs: Floats
    seconds: float
    trained: TrainedPolicy


class _Table:
    """One split with everything measured against: what each single tier does on the held-out rows."""

    def __init__(self, split: Split, objective: Objective, resamples: Resamples | None) -> None:
        self.split, self.objective, self.resamples = split, objective, resamples
        self.tiers = split.train.tiers
        zero = (Point(0.0, 0.0),) * len(self.tiers)
        self.trained = split.alone.points() if len(split.train) else zero
        runs = [self._always(j) for j in range(len(self.tiers))]
        self.scores = np.stack([r.score for r in runs], axis=1)
        self.costs = np.stack([r.cost for r in runs], axis=1)
        self.seen = _Seen.of(np.hstack([self.scores, self.costs]), resamples)
        order = np.argsort([p.cost for p in self.trained], kind="stable")
        self.small, self.large = int(order[0]), int(order[-1])

    def _always(self, tier: int) -> Replayed:
        return replay(AlwaysPolicy(len(self.tiers), tier), self.split.test)

    # ------------------------------------------------------------ one policy

    def play(self, contender: PolicyEntry, runs: Runs, on_run: Callable[[Run], None]) -> _Played:
        """Train a policy, choose its settings in training, and play them on the held-out rows."""
        trained = contender.train(self.split)
        fixed = trained.fixed and bool(trained.curve.settings)
        named = dict(zip(trained.curve.settings, trained.curve.points, strict=True))
        kept = corners(trained.curve, self.tiers, self.trained)
        if fixed:
            first = trained.curve.settings[0]
            chosen = Choice(first, named[first])
            kept = [chosen] if len(named) == 1 else kept
        else:
            chosen = choose(trained.curve, self.tiers, self.trained, self.objective)
        wanted = [c.setting for c in (chosen, *kept)]
        if runs == "all" and trained.path:
            wanted += trained.curve.settings
        found: dict[Setting, tuple[Floats, Floats]] = {}
        outcome = self._outcome(trained, chosen.setting)
        for setting in dict.fromkeys(wanted):
            seen = outcome if setting == chosen.setting else self._outcome(trained, setting)
            if runs == "all" or (runs == "chosen" and setting == chosen.setting):
                on_run(Run(contender.name, setting, self.split.seed, self.split.test, seen))
            found[setting] = seen.score, seen.cost
        on_curve = [found[c.setting] for c in kept]
        return _Played(
            contender=contender,
            chosen=chosen,
            curve=tuple(kept),
            outcome=outcome,
            scores=np.stack([score for score, _ in on_curve], axis=1),
            costs=np.stack([cost for _, cost in on_curve], axis=1),
            seconds=self._seconds(trained, chosen.setting) + self._look(contender, chosen.setting),
            trained=trained,
        )

    def _outcome(self, trained: TrainedPolicy, setting: Setting, rows: Ints | None = None) -> Replayed:
        if not isinstance(setting, Always):
            return trained.play(setting, rows)
        return replay(AlwaysPolicy(len(self.tiers), self.tiers.index(setting.tier)), self.split.test, rows)

    def _seconds(self, trained: TrainedPolicy, setting: Setting) -> float:
        """Median time to decide one question by itself, once everything is loaded and planned."""
        taken = []
        for row in range(min(_TIMED, len(self.split.test))):
            start = time.perf_counter()
            self._outcome(trained, setting, np.array([row]))
            taken.append(time.perf_counter() - start)
        return float(np.median(taken))

    def _look(self, contender: PolicyEntry, setting: Setting) -> float:
        """Mean time in which a question was embedded, for who reads embeddings before it decides."""
        embeddings = self.split.test.embeddings
        blind = isinstance(setting, Always) or (
            isinstance(setting, CostWeight) and setting.query_router == "none"
        )
        if embeddings is None or not reads_questions(contender) or blind:
            return 0.0
        return float(embeddings.latency.mean())

    # ------------------------------------------------------------ its figures

    def columns(self, played: _Played) -> Floats:
        """What is averaged of a policy: eight columns of its point, then its curve's scores and costs."""
        out = played.outcome
        rows = np.arange(len(out.score))
        first = self.scores[rows, out.asked.argmax(axis=1)]
        moved = out.escalated
        point = [
            out.score,
            out.cost,
            moved,
            out.votes.sum(axis=1),
            out.tier < 0,
            moved & (out.score > first + 1e-9),
            moved & (out.score < first - 1e-9),
            np.nan_to_num(out.latency),
        ]
        return np.column_stack([*point, played.scores, played.costs]).astype(float)

    def figures(
        self, played: _Played, seen: _Seen, ours: tuple[_Played, _Seen] | None
    ) -> dict[str, BootstrapFigure]:
        """Every measure of `MEASURES`."""
        names = ("quality", "cost", "escalated", "votes", "abstained", "helped", "hurt", "latency")
        found = {name: seen.column(at) for at, name in enumerate(names)}
        if np.isnan(played.outcome.latency).any():
            found["latency"] = _nothing("no latency is recorded")
        found["edge"] = _edge(self.seen, seen)
        found["lead"] = self._lead(seen, ours)
        found["ibc_lift"] = self._lift(seen)
        found |= self._curve_figures(played, seen)
        for parity in PARITIES:
            found |= self._savings(played, seen, parity)
        found["router_latency"] = self._router_latency(played)
        return {name: found[name] for name in MEASURES}

    def _ends(self, means: Floats) -> Floats:
        """Cost and quality of small, cost and quality of large: …×4."""
        n = len(self.tiers)
        places = [n + self.small, self.small, n + self.large, self.large]
        return means[..., places]

    def _lift(self, seen: _Seen) -> BootstrapFigure:
        def lift(ends: Floats, own: Floats) -> Measure:
            c0, q0, c1, q1 = ends.tolist()
            return ibc_lift(
                Point(float(own[_COST]), float(own[_QUALITY])), Ends(Point(c0, q0), Point(c1, q1))
            )

        draws = [lift(e, o) for e, o in zip(self._ends(self.seen.draws), seen.draws, strict=True)]
        return _of_measures(lift(self._ends(self.seen.mean), seen.mean), draws)

    def _curve(self, seen: _Seen) -> _Seen:
        """The curve's part of the columns: scores, then costs."""
        return _Seen(seen.mean[_POINT:], seen.draws[:, _POINT:])

    def _curve_figures(self, played: _Played, seen: _Seen) -> dict[str, BootstrapFigure]:
        names: dict[str, Callable[..., Measure]] = {
            "aiq": aiq,
            "apgr": apgr,
            "cpt_50": partial(_cpt, 0.5),
            "cpt_80": partial(_cpt, 0.8),
            "gain_area": gain_area,
        }
        if played.contender.group in ("single tier", "majority"):
            return dict.fromkeys(names, _nothing("a single tier draws no curve"))
        own, k = self._curve(seen), len(played.curve)
        ends = self._ends(self.seen.mean).tolist()
        pair = Ends(Point(*ends[:2]), Point(*ends[2:]))
        points = np.column_stack([own.mean[k:], own.mean[:k]])
        found = {}
        for name, measure in names.items():
            draws = curve_draws(measure, own.draws[:, k:], own.draws[:, :k], self._ends(self.seen.draws))
            found[name] = _of_measures(measure(points, pair), draws)
        return found

    def _lead(self, seen: _Seen, ours: tuple[_Played, _Seen] | None) -> BootstrapFigure:
        """Quality points above the curve of `pomdp` at the policy's own cost."""
        if ours is None:
            return _nothing("pomdp did not take part")
        curve, k = self._curve(ours[1]), len(ours[0].curve)

        def lead(tiers: Floats, line: Floats, own: Floats) -> float:
            costs = np.concatenate([line[k:], tiers[len(self.tiers) :]])
            qualities = np.concatenate([line[:k], tiers[: len(self.tiers)]])
            order = np.argsort(costs, kind="stable")
            best = np.maximum.accumulate(qualities[order])
            return float(100 * (own[_QUALITY] - np.interp(own[_COST], costs[order], best)))

        draws = map(lead, self.seen.draws, curve.draws, seen.draws)
        return BootstrapFigure(
            lead(self.seen.mean, curve.mean, seen.mean), "", np.fromiter(draws, dtype=float)
        )

    def _savings(self, played: _Played, seen: _Seen, parity: int) -> dict[str, BootstrapFigure]:
        """What the setting chosen in training saves against the tier that was the best there."""
        names = f"savings_at_{parity}", f"parity_at_{parity}"
        if played.contender.group in ("single tier", "majority", "bound"):
            return dict.fromkeys(names, _nothing("no setting of it is chosen by parity"))
        n, k = len(self.tiers), len(played.curve)
        own = self._curve(seen)
        best = max(range(n), key=lambda j: (self.trained[j].quality, -self.trained[j].cost))
        found = savings(
            parity / 100,
            [c.point for c in played.curve],
            [Point(float(c), float(q)) for c, q in zip(own.mean[k:], own.mean[:k], strict=True)],
            self.trained,
            [Point(float(c), float(q)) for c, q in zip(self.seen.mean[n:], self.seen.mean[:n], strict=True)],
        )
        if found.setting is None:
            level = np.full(len(seen.draws), np.nan if found.value is None else found.value)
            return {
                names[0]: BootstrapFigure(found.value, found.reason, level),
                names[1]: _nothing(found.reason),
            }
        cost, whole = own.draws[:, k + found.setting], self.seen.draws[:, n + best]
        quality, full = own.draws[:, found.setting], self.seen.draws[:, best]
        return {
            names[0]: BootstrapFigure(found.value, found.reason, 1 - _ratio(cost, whole)),
            names[1]: BootstrapFigure(found.parity, "the best tier scores nothing", _ratio(quality, full)),
        }

    def _router_latency(self, played: _Played) -> BootstrapFigure:
        """The policy's own time, embedding included, as a share of what an answer of the small tier takes."""
        latency = self.split.test.latency[:, self.small]
        known = latency[~np.isnan(latency)]
        if not len(known) or known.mean() <= 0:
            return _nothing("no latency is recorded")
        ratio = played.seconds / float(known.mean())
        return BootstrapFigure(ratio, "by the clock of this machine: no interval", np.empty(0))

    def slices(self, played: _Played) -> dict[str, dict[str, BootstrapFigure]]:
        """Quality, cost and edge on the rows of each dataset."""
        found = {}
        for name in _datasets(self.split.test):
            rows = self.split.test.datasets == name
            own = np.column_stack([played.outcome.score, played.outcome.cost])[rows]
            resamples = None if self.resamples is None else _restricted(self.resamples, rows)
            tiers = _Seen.of(np.hstack([self.scores, self.costs])[rows], resamples)
            seen = _Seen.of(own, resamples)
            found[name] = {"quality": seen.column(0), "cost": seen.column(1), "edge": _edge(tiers, seen)}
        return found


_QUALITY, _COST, _POINT = 0, 1, 8


def _edge(tiers: _Seen, seen: _Seen) -> BootstrapFigure:
    """Quality points above the best random mix of single tiers at the same cost."""

    def points(means: Floats, own: Floats) -> Floats:
        n = means.shape[-1] // 2
        mix = mix_quality(means[..., n:], means[..., :n], own[..., _COST])
        difference: Floats = 100 * (own[..., _QUALITY] - mix)
        return difference

    return BootstrapFigure(float(points(tiers.mean, seen.mean)), "", points(tiers.draws, seen.draws))


def _cpt(share: float, points: Floats, ends: Ends) -> Measure:
    return cpt(points, ends, share)


def _ratio(above: Floats, below: Floats) -> Floats:
    """NaN where there is nothing to divide by."""
    ratio: Floats = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
    return ratio


def _datasets(table: TraceTable) -> list[str]:
    """Names of the datasets that rows carry; one alone is no slice."""
    names = sorted({str(name) for name in table.datasets if name is not None})
    return names if len(names) > 1 else []


# ------------------------------------------------------------------ all of it


def bench(
    table: TraceTable,
    contenders: Sequence[PolicyEntry],
    settings: Settings,
    objective: Objective,
    *,
    cuts: Sequence[Cut],
    options: Crossfit = CROSSFIT,
    runs: Runs = "none",
    on_run: Callable[[Run], None] = lambda run: None,
    on_policy: Callable[[str], None] = lambda name: None,
) -> Bench:
    """Compare policies on held-out rows.

    Args:
        table: rows that score every tier.
        contenders: who takes part; every single tier of the table must.
        settings: what the profile decides.
        objective: how each policy's setting is chosen, on training rows.
        cuts: the splits, see `cuts_of`.
        options: of cross-fitting in training.
        runs: of which settings each row is handed to `on_run`.
        on_run: takes what each setting did, as it happens.
        on_policy: is told who plays next.

    Raises:
        DataError: no row is held out, or a cost is not recorded.
    """
    if not all(len(cut.test) for cut in cuts):
        raise DataError("no row is held out", hint="--split 0.5")
    table.require_costs()
    parts: list[dict[str, _Part]] = []
    for cut, resamples in zip(cuts, _resamples(table, cuts, cuts[0].seed), strict=True):
        split = Split.of(table, cut.train, cut.test, seed=cut.seed, options=options, settings=settings)
        parts.append(_one_split(_Table(split, objective, resamples), contenders, runs, on_run, on_policy))
    rows = (min(len(c.train) for c in cuts), min(len(c.test) for c in cuts))
    outcomes = tuple(_outcome([part[c.name] for part in parts], rows, options) for c in contenders)
    headline = _headline(parts[0], table)
    first = parts[0][headline]
    plan = _plan(first)
    return Bench(
        tiers=table.tiers,
        small=table.tiers[first.at.small],
        large=table.tiers[first.at.large],
        objective=objective,
        cuts=tuple(cuts),
        outcomes=outcomes,
        headline=headline,
        single=_single(first.at),
        duplicates=tuple(duplicates_of(table, cut) for cut in cuts),
        moved=_moved(first),
        plan=tuple(plan.plan().rows()) if plan else (),
        plan_cuts=tuple(plan.cuts(j) for j in range(len(table.tiers))) if plan else (),
    )


class _Part(NamedTuple):
    """One policy in one split."""

    at: _Table
    played: _Played
    figures: dict[str, BootstrapFigure]
    slices: dict[str, dict[str, BootstrapFigure]]
    curve: tuple[CurvePoint, ...]


def _one_split(
    at: _Table,
    contenders: Sequence[PolicyEntry],
    runs: Runs,
    on_run: Callable[[Run], None],
    on_policy: Callable[[str], None],
) -> dict[str, _Part]:
    """Play everybody; the one that others are compared with at equal cost first."""
    parts: dict[str, _Part] = {}
    ours: tuple[_Played, _Seen] | None = None
    for contender in sorted(contenders, key=lambda c: c.name != "pomdp"):
        on_policy(contender.name)
        played = at.play(contender, runs, on_run)
        seen = _Seen.of(at.columns(played), at.resamples)
        ours = (played, seen) if contender.name == "pomdp" else ours
        figures = at.figures(played, seen, ours)
        parts[contender.name] = _Part(at, played, figures, at.slices(played), _curve_points(played, seen))
    return parts


def _curve_points(played: _Played, seen: _Seen) -> tuple[CurvePoint, ...]:
    k = len(played.curve)
    return tuple(
        CurvePoint(
            c.setting, c.point, seen.column(_POINT + k + i).measure(), seen.column(_POINT + i).measure()
        )
        for i, c in enumerate(played.curve)
    )


def _outcome(parts: Sequence[_Part], rows: tuple[int, int], options: Crossfit) -> Outcome:
    """One policy over all splits."""
    figures = {name: _averaged([p.figures[name] for p in parts]) for name in MEASURES}
    measures = {name: drawn.measure() for name, drawn in figures.items()}
    slices = {
        name: {
            key: _averaged([p.slices[name][key] for p in parts]).measure() for key in parts[0].slices[name]
        }
        for name in parts[0].slices
        if all(name in p.slices for p in parts)
    }
    first = parts[0].played
    spent = [_spent(p.played.trained.own_test or p.at.split.test, p.played.outcome) for p in parts]
    return Outcome(
        name=first.contender.name,
        group=first.contender.group,
        chosen=tuple(p.played.chosen for p in parts),
        measures=measures,
        by_split={name: tuple(p.figures[name].value for p in parts) for name in MEASURES},
        curve=parts[0].curve,
        slices=slices,
        spent=tuple(
            Spent(tier, *(float(x) for x in np.mean([s[j] for s in spent], axis=0)))
            for j, tier in enumerate(parts[0].at.tiers)
        ),
        seconds=float(np.median([p.played.seconds for p in parts])),
        verdict=_verdict(measures["edge"], rows, options),
    )


def _verdict(edge: Measure, rows: tuple[int, int], options: Crossfit) -> RoutingVerdict | None:
    """Whether the policy pays; rows are those learned from and those held out."""
    if not options.enough(min(rows)) or edge.value is None or edge.low is None or edge.high is None:
        return None
    return verdict(edge.value / 100, Interval(edge.low / 100, edge.high / 100), rows[1])


def _spent(table: TraceTable, outcome: Replayed) -> Floats:
    """Mean USD per question, N×2: of each tier's answers and of its votes."""
    votes = outcome.votes * _known(table.vote_cost) + outcome.rounds * _known(table.round_cost)
    both = np.stack([outcome.asked * _known(table.cost), votes], axis=2)
    spent: Floats = both.mean(axis=0)
    return spent


def _known(costs: Floats) -> Floats:
    """Costs with the mean of the column where a row has none; 0 where none has, for it was not bought."""
    absent = np.isnan(costs)
    counts = np.maximum((~absent).sum(axis=0), 1)
    filled: Floats = np.where(absent, np.where(absent, 0.0, costs).sum(axis=0) / counts, costs)
    return filled


_UNROUTED = ("single tier", "majority", "mix", "bound")


def _headline(parts: Mapping[str, _Part], table: TraceTable) -> str:
    """Whom the verdict is about: `pomdp`, where it has answers to judge; else the best in training."""
    if "pomdp" in parts and shows_signal(table):
        return "pomdp"
    routing = [p for p in parts.values() if p.played.contender.group not in _UNROUTED]

    def edge(part: _Part) -> float:
        costs, qualities = np.array(part.at.trained).T
        point = part.played.chosen.point
        return float(point.quality - mix_quality(costs, qualities, point.cost))

    best = max(routing or parts.values(), key=lambda p: (edge(p), p.played.contender.name != "pomdp"))
    return best.played.contender.name


def _single(at: _Table) -> str:
    """The single tier that the objective takes, in training."""
    return best_single(at.tiers, at.trained, at.objective)


def _moved(part: _Part) -> tuple[Moved, ...]:
    """The rows that were escalated, those on which it changed most first."""
    out, at = part.played.outcome, part.at
    rows = np.flatnonzero(out.escalated & (out.tier >= 0))
    first = out.asked.argmax(axis=1)
    found = [
        Moved(
            int(at.split.rows[i]),
            at.tiers[first[i]],
            at.tiers[out.tier[i]],
            float(at.scores[i, first[i]]),
            float(out.score[i]),
        )
        for i in rows
    ]
    return tuple(sorted(found, key=lambda m: -abs(m.after - m.before)))


def _plan(part: _Part) -> PomdpPolicy | None:
    """The plan at the setting chosen, where there is one."""
    trained, setting = part.played.trained, part.played.chosen.setting
    if trained.policy is None or not isinstance(setting, CostWeight):
        return None
    policy = trained.policy(setting)
    return policy if isinstance(policy, PomdpPolicy) else None
