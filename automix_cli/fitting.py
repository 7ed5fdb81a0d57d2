"""From recorded traces to the router's model: counts, parameters, and how each is estimated.

`fit` looks at rows that score every tier and returns a `Fitted`: what the profile's
`router:` block keeps. It holds counts and parameters, never a policy, because planning takes
milliseconds: `Fitted.model` turns it into the planner's `Model` for any cost_weight.

Everything is estimated so that little data says little. Priors over states are counts plus
pseudo-counts, as many as leave-one-out likelihood asks for; votes are BetaBinomials with a
prior on both parameters; shares right over neighbouring bins are curves as stiff as held-out
likelihood asks for; mean scores are shrunk towards 1 and 0. With no rows at all
every state is equally likely and no signal is believed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from automix_cli.errors import DataError
from automix_cli.observations import (
    UNSEEN,
    Array,
    ConfidenceObservations,
    ConsistencyObservations,
    ObservationModel,
    VoteObservations,
    observations_from_dict,
)
from automix_cli.planner import FREE, Cost, Model, PomdpPolicy, TierModel
from automix_cli.traces import Floats, Ints, TraceTable

LEAST_ROWS = 5  # of right and of wrong answers, for a signal to be believed
PSEUDO_ROWS = 20.0  # with which a cell (s_i, s_N) is drawn to the fit of its s_i
MARGIN = 2.0  # log-likelihood by which held-out rows must prefer a less stiff curve
LAST_MARGIN = 3.0  # and a curve of the last tier's rightness: about twenty times likelier
FOLDS = 5  # of the test whether the last tier's rightness shows in a signal
_LOG_SHAPE_SD = 1.5
_LOG_SHAPE_MIN, _LOG_SHAPE_MAX = math.log(0.02), math.log(200.0)
_MOST_BINS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the profile decides and no data changes; see `Model` for the words.

    `pass_score`: from this score on an answer is right.
    """

    max_votes: int = 8
    batch: tuple[int, ...] = (1, 2, 4)
    abstain_value: float | None = None
    last_tier: bool = False
    value_of_time: float = 0.0
    pass_score: float = 0.5


class Scores(NamedTuple):
    """Sum of the scores of some answers, and how many there are."""

    total: float = 0.0
    answers: int = 0

    def mean(self, towards: float) -> float:
        """Mean score, shrunk with two pseudo-answers: (Σ + 2·towards)/(n + 2).

        Example:
            >>> Scores(3.5, 4).mean(1.0), Scores().mean(0.0)
            (0.9166666666666666, 0.0)
        """
        return (self.total + 2 * towards) / (self.answers + 2)


_NO_SCORES = Scores()


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedTier:
    """What was learned of one tier; costs as in `TierModel`.

    `note` says in words what could not be learned; "" where all could.
    """

    name: str
    right: Scores = _NO_SCORES
    wrong: Scores = _NO_SCORES
    observation: ObservationModel = UNSEEN
    max_votes: int = 0
    answer: Cost = FREE
    vote: Cost = FREE
    round: Cost = FREE
    answer_s: float = 0.0
    round_s: float = 0.0
    note: str = ""

    def model(self, max_votes: int) -> TierModel:
        """The planner's view of the tier."""
        return TierModel(
            right=self.right.mean(1.0),
            wrong=self.wrong.mean(0.0),
            observation=self.observation,
            max_votes=min(max_votes, self.max_votes),
            answer=self.answer,
            vote=self.vote,
            round=self.round,
            answer_s=self.answer_s,
            round_s=self.round_s,
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without the name, which is its key."""
        row: dict[str, Any] = {
            "right": list(self.right),
            "wrong": list(self.wrong),
            "observation": self.observation.to_dict(),
            "max_votes": self.max_votes,
            "costs": {key: list(getattr(self, key)) for key in _COSTS},
            "latency": [self.answer_s, self.round_s],
        }
        return {**row, "note": self.note} if self.note else row

    @classmethod
    def from_dict(cls, name: str, row: Mapping[str, Any]) -> FittedTier:
        """Read what `to_dict` wrote."""
        answer_s, round_s = map(float, row["latency"])
        return cls(
            name=name,
            right=_scores(row["right"]),
            wrong=_scores(row["wrong"]),
            observation=observations_from_dict(row["observation"]),
            max_votes=int(row["max_votes"]),
            answer_s=answer_s,
            round_s=round_s,
            note=str(row.get("note", "")),
            **{key: Cost(*map(float, row["costs"][key])) for key in _COSTS},
        )


_COSTS = ("answer", "vote", "round")


def _scores(row: Sequence[Any]) -> Scores:
    total, answers = row
    return Scores(float(total), int(answers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What was learned from traces.

    Attributes:
        tiers: cheapest first.
        counts: per class of questions, how many rows were in each of the 2^N states
            (bit i is set where tier i is right); one class unless a query-side router makes more.
        alpha: pseudo-counts that draw all classes' prior to the product of the marginals.
        kappa: pseudo-counts that draw a class's prior to that of all classes.
        mean_tokens: mean prompt tokens of a question; 0 where nobody counted.
    """

    tiers: tuple[FittedTier, ...]
    counts: tuple[tuple[int, ...], ...]
    alpha: float
    kappa: float = 0.0
    mean_tokens: float = 0.0

    @property
    def rows(self) -> int:
        """How many rows were fitted."""
        return sum(map(sum, self.counts))

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be learned, tier by tier."""
        return tuple(f"{tier.name}: {tier.note}" for tier in self.tiers if tier.note)

    def priors(self) -> tuple[tuple[float, ...], ...]:
        """Chances of the states, per class."""
        counts = np.array(self.counts, dtype=float)
        overall = shrunk(counts.sum(axis=0), independent(counts.sum(axis=0)), self.alpha)
        if len(counts) == 1:
            return (_probabilities(overall),)
        return tuple(_probabilities(shrunk(own, overall, self.kappa)) for own in counts)

    def model(self, cost_weight: float, settings: Settings) -> Model:
        """The decision problem at a cost_weight."""
        return Model(
            tiers=tuple(tier.model(settings.max_votes) for tier in self.tiers),
            priors=self.priors(),
            cost_weight=cost_weight,
            batch=settings.batch,
            abstain_value=settings.abstain_value,
            last_tier=settings.last_tier,
            value_of_time=settings.value_of_time,
            mean_tokens=self.mean_tokens,
        )

    def policy(self, cost_weight: float, settings: Settings, *, coarse: bool = False) -> PomdpPolicy:
        """The best policy at a cost_weight, under the model."""
        return PomdpPolicy(self.model(cost_weight, settings), coarse)

    def to_dict(self) -> dict[str, Any]:
        """The `prior` and `observations` of a profile's `router:` block."""
        return {
            "prior": {
                "counts": [list(row) for row in self.counts],
                "alpha": self.alpha,
                "kappa": self.kappa,
                "mean_tokens": self.mean_tokens,
            },
            "observations": {tier.name: tier.to_dict() for tier in self.tiers},
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Fitted:
        """Read a `router:` block.

        Raises:
            DataError: when it is not what `to_dict` writes.
        """
        try:
            prior = row["prior"]
            fitted = cls(
                tiers=tuple(FittedTier.from_dict(name, tier) for name, tier in row["observations"].items()),
                counts=tuple(tuple(map(int, counts)) for counts in prior["counts"]),
                alpha=float(prior["alpha"]),
                kappa=float(prior["kappa"]),
                mean_tokens=float(prior["mean_tokens"]),
            )
            fitted.model(0.0, Settings())
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            hint = "automix calibrate writes it anew"
            raise DataError(f"the router block cannot be read: {exc!r}", hint=hint) from exc
        return fitted


def _probabilities(values: Array) -> tuple[float, ...]:
    return tuple(map(float, values / values.sum()))


# ------------------------------------------------------------------ the prior


def independent(counts: Array) -> Array:
    """Product of the tiers' marginals, each (right + ½)/(n + 1), over the 2^N states.

    Args:
        counts: rows per state, shape (..., 2^N); bit i of the index is tier i.
    """
    tiers = counts.shape[-1].bit_length() - 1
    product = np.ones_like(counts)
    for i in range(tiers):
        right = (np.arange(counts.shape[-1]) >> i) & 1
        share = ((counts * right).sum(axis=-1, keepdims=True) + 0.5) / (
            counts.sum(axis=-1, keepdims=True) + 1
        )
        product = product * np.where(right, share, 1 - share)
    return product


def shrunk(counts: Array, towards: Array, weight: float) -> Array:
    """(counts + weight·towards)/(n + weight), over the last axis."""
    return np.asarray((counts + weight * towards) / (counts.sum(axis=-1, keepdims=True) + weight))


def weight_grid(rows: int) -> Array:
    """Pseudo-counts to choose from: 1 … 4n, geometric."""
    return np.geomspace(1.0, max(1.0, 4.0 * rows), 25)


def left_out(counts: Array, weights: Array) -> Array:
    """For each weight and state, the prior's chance of a row of that state, fitted without that row.

    Returns:
        shape (weights, states); the marginals are without the row, too.
    """
    states = len(counts)
    others = counts - np.eye(states)  # row s: the counts without one row of state s
    product = independent(np.maximum(others, 0.0))[np.arange(states), np.arange(states)]
    own = np.maximum(counts - 1, 0.0)
    return np.asarray((own + weights[:, None] * product) / (max(counts.sum() - 1, 0.0) + weights[:, None]))


def choose_alpha(counts: Array) -> float:
    """The pseudo-counts under which rows left out are likeliest; the most of equals."""
    weights = weight_grid(int(counts.sum()))
    return _best(weights, _log_likelihood(left_out(counts, weights), counts))


def choose_kappa(counts: Array, alpha: float) -> float:
    """The same for classes (one row of `counts` each), drawn to the prior of all."""
    weights = weight_grid(int(counts.sum()))
    overall = left_out(counts.sum(axis=0), np.array([alpha]))[0]
    own, rows = np.maximum(counts - 1, 0.0), np.maximum(counts.sum(axis=1, keepdims=True) - 1, 0.0)
    chances = (own + weights[:, None, None] * overall) / (rows + weights[:, None, None])
    return _best(weights, _log_likelihood(chances, counts))


def _log_likelihood(chances: Array, counts: Array) -> Array:
    """Σ counts·log(chances) over all but the first axis; states that no row is in do not count."""
    logs = np.log(np.where(counts > 0, chances, 1.0))
    return np.asarray((counts * logs).reshape(len(chances), -1).sum(axis=1))


def _best(weights: Array, likelihood: Array) -> float:
    """The weight with the highest likelihood; of equals the largest, which says least."""
    return float(weights[::-1][likelihood[::-1].argmax()])


# ------------------------------------------------------------------ votes


def fit_shapes(histogram: Array) -> Array:
    """BetaBinomial (a, b) by MAP, many problems at once.

    The likelihood of c of t votes is Σ_{i<c} log(a+i) + Σ_{i<t-c} log(b+i) - Σ_{i<t} log(a+b+i),
    so all data enter through how many rows exceed each i, and the cost does not grow with rows.
    The prior is log a, log b ~ N(0, 1.5²); both are clipped to [0.02, 200].

    Args:
        histogram: weights of (c, t), shape (problems, T + 1, T + 1).

    Returns:
        shape (problems, 2).

    Example:
        >>> one_yes_in_four = np.zeros((1, 5, 5)); one_yes_in_four[0, 1, 4] = 1000
        >>> a, b = fit_shapes(one_yes_in_four)[0]
        >>> round(float(a / (a + b)), 2)
        0.25
    """
    exceed = _exceedances(histogram)
    log_shapes = _grid_start(*exceed)
    damping = np.full(len(histogram), 1e-3)
    value, slope, curve = _posterior_of(log_shapes, *exceed)
    for _ in range(60):
        slope, curve = _held_at_bounds(log_shapes, slope, curve)
        if (np.abs(slope).max(axis=1, initial=0.0) < 1e-9 * (1 + histogram.sum(axis=(1, 2)))).all():
            break
        tried = np.clip(log_shapes + _step(slope, curve, damping), _LOG_SHAPE_MIN, _LOG_SHAPE_MAX)
        new_value, new_slope, new_curve = _posterior_of(tried, *exceed)
        better = new_value >= value
        damping = np.where(better, damping * 0.2, damping * 10)
        log_shapes = np.where(better[:, None], tried, log_shapes)
        value = np.where(better, new_value, value)
        slope = np.where(better[:, None], new_slope, slope)
        curve = np.where(better[:, None, None], new_curve, curve)
    return np.exp(log_shapes)


def _exceedances(histogram: Array) -> tuple[Array, Array, Array]:
    """How many rows have c > i, t - c > i and t > i, for i < T; each (problems, T)."""
    most = histogram.shape[-1] - 1
    c, t = np.meshgrid(np.arange(most + 1), np.arange(most + 1), indexing="ij")
    steps = np.arange(most)[:, None, None]
    return tuple(np.einsum("pct,ict->pi", histogram, (n > steps).astype(float)) for n in (c, t - c, t))


def _grid_start(yes: Array, no: Array, all_: Array) -> Array:
    """The best point of a coarse grid, so that Newton starts on the right hill."""
    grid = np.linspace(_LOG_SHAPE_MIN, _LOG_SHAPE_MAX, 14)
    a, b = np.exp(grid)[:, None], np.exp(grid)[None, :]
    i = np.arange(yes.shape[1])
    value = (yes @ np.log(a + i).T)[:, :, None] + (no @ np.log(b.T + i).T)[:, None, :]
    value = value - np.einsum("pi,abi->pab", all_, np.log((a + b)[:, :, None] + i))
    value = value - (grid[:, None] ** 2 + grid[None, :] ** 2) / (2 * _LOG_SHAPE_SD**2)
    best = value.reshape(len(value), -1).argmax(axis=1)
    return np.stack([grid[best // len(grid)], grid[best % len(grid)]], axis=1)


def _posterior_of(log_shapes: Array, yes: Array, no: Array, all_: Array) -> tuple[Array, Array, Array]:
    """Log posterior, its gradient and its Hessian in (log a, log b); shapes (p,), (p, 2), (p, 2, 2)."""
    i = np.arange(yes.shape[1])
    a, b = np.exp(log_shapes[:, :1]), np.exp(log_shapes[:, 1:])
    value = (yes * np.log(a + i) + no * np.log(b + i) - all_ * np.log(a + b + i)).sum(axis=1)
    value = value - (log_shapes**2).sum(axis=1) / (2 * _LOG_SHAPE_SD**2)
    both, both2 = (all_ / (a + b + i)).sum(axis=1), (all_ / (a + b + i) ** 2).sum(axis=1)
    first = np.stack([(yes / (a + i)).sum(axis=1) - both, (no / (b + i)).sum(axis=1) - both], axis=1)
    second = np.stack(
        [both2 - (yes / (a + i) ** 2).sum(axis=1), both2 - (no / (b + i) ** 2).sum(axis=1)], axis=1
    )
    shapes = np.exp(log_shapes)
    curve = np.empty((len(shapes), 2, 2))
    curve[:, 0, 1] = curve[:, 1, 0] = shapes.prod(axis=1) * both2
    diagonal = shapes**2 * second + shapes * first - 1 / _LOG_SHAPE_SD**2
    curve[:, 0, 0], curve[:, 1, 1] = diagonal[:, 0], diagonal[:, 1]
    return value, shapes * first - log_shapes / _LOG_SHAPE_SD**2, curve


def _held_at_bounds(log_shapes: Array, slope: Array, curve: Array) -> tuple[Array, Array]:
    """A parameter at its bound that would go further stays: no slope, no bearing on the other one."""
    held = ((log_shapes <= _LOG_SHAPE_MIN) & (slope < 0)) | ((log_shapes >= _LOG_SHAPE_MAX) & (slope > 0))
    curve = np.where(held[:, :, None] | held[:, None, :], 0.0, curve)
    return np.where(held, 0.0, slope), curve - held[:, :, None] * np.eye(2)


def _step(slope: Array, curve: Array, damping: Array) -> Array:
    """A damped Newton step uphill (Levenberg–Marquardt); short where the hill is not concave."""
    steep = np.abs(curve).sum(axis=2).max(axis=1)
    top = np.linalg.eigvalsh(curve)[:, -1]
    damp = damping * steep + np.maximum(top + 1e-3 * steep, 0.0)
    lifted = damp[:, None, None] * np.eye(2) - curve
    return np.linalg.solve(lifted, slope[:, :, None])[:, :, 0]


def votes_log_likelihood(shapes: Array, most: int) -> Array:
    """Log ℓ(c, t) per problem: shape (problems, most + 1, most + 1), 0 where c > t."""
    i = np.arange(most)
    logs = [np.log(x[:, None] + i) for x in (shapes[:, 0], shapes[:, 1], shapes.sum(axis=1))]
    yes, no, all_ = (np.concatenate([np.zeros((len(shapes), 1)), np.cumsum(x, axis=1)], axis=1) for x in logs)
    c, t = np.meshgrid(np.arange(most + 1), np.arange(most + 1), indexing="ij")
    value = yes[:, c] + no[:, np.maximum(t - c, 0)] - all_[:, t]
    return np.asarray(np.where(c <= t, value, 0.0))


# ------------------------------------------------------------------ bins


class Roughness(NamedTuple):
    """How much a curve of log odds over neighbouring bins is penalised: for rising, and for bending."""

    rising: float
    bending: float


_CONSTANT, _LINE = Roughness(1e7, 0.0), Roughness(0.0, 1e7)
# Ever less stiff; a later one must be clearly likelier.
_CURVES = (_CONSTANT, _LINE, Roughness(0.0, 1e3), Roughness(0.0, 1e2), Roughness(0.0, 10.0))
_WALKS = (_CONSTANT, Roughness(300.0, 0.0), Roughness(100.0, 0.0), Roughness(30.0, 0.0))
_TIE = 1e6  # holds the curves of two groups at one distance


def smooth_shares(hits: Array, rows: Array) -> Array:
    """Share of hits per bin, smoothed across neighbours: penalised log odds.

    Of the stiffnesses in `_CURVES` the stiffest but for those under which held-out folds are
    likelier by `MARGIN`. Half a hit and half a miss are spread evenly over the bins.

    Args:
        hits: per fold and bin, shape (folds, bins).
        rows: the same, hits and misses.

    Returns:
        shape (bins,); constant where the bins tell nothing.

    Example:
        >>> hits = np.array([[0.0, 5.0, 10.0]] * 5)
        >>> smooth_shares(hits, np.full((5, 3), 10.0)).round(2).tolist()
        [0.0, 0.5, 1.0]
    """
    hits, rows = hits[:, None], rows[:, None]
    curve = _likeliest(hits, rows, _CURVES, MARGIN)
    return np.asarray(_penalised(hits.sum(axis=0)[None], rows.sum(axis=0)[None], curve)[0, 0])


def _likeliest(hits: Array, rows: Array, curves: tuple[Roughness, ...], margin: float) -> Roughness:
    """The first curve, but for a later one under which rows of held-out folds are likelier by the margin."""
    train_hits, train_rows = hits.sum(axis=0) - hits, rows.sum(axis=0) - rows
    best, most = curves[0], -math.inf
    for curve in curves:
        shares = _penalised(train_hits, train_rows, curve)
        likelihood = float((hits * np.log(shares) + (rows - hits) * np.log(1 - shares)).sum())
        if likelihood > most + margin:
            best, most = curve, likelihood
    return best


def _penalised(hits: Array, rows: Array, curve: Roughness) -> Array:
    """Shares whose log odds maximise likelihood less half the penalty, by Newton.

    Shapes are (problems, groups, bins). Log odds are a_group + f(bin): the groups share the curve.
    """
    problems, groups, bins = hits.shape
    hits, rows = hits + 0.5 / bins, rows + 1.0 / bins
    rise, bend = np.diff(np.eye(bins), axis=0), np.diff(np.eye(bins), n=2, axis=0)
    rough = (curve.rising * rise.T @ rise + curve.bending * bend.T @ bend) / groups
    apart = groups * np.eye(groups) - 1
    penalty = np.kron(np.eye(groups), rough) + _TIE * np.kron(apart, rise.T @ rise)
    level = np.log(hits.sum(axis=2) / (rows - hits).sum(axis=2))
    odds, hits, rows = np.repeat(level, bins, axis=1), hits.reshape(problems, -1), rows.reshape(problems, -1)
    for _ in range(30):
        shares = 1 / (1 + np.exp(-odds))
        slope = hits - rows * shares - odds @ penalty
        steepness = np.eye(groups * bins) * (rows * shares * (1 - shares))[:, None, :] + penalty
        step = np.linalg.solve(steepness, slope[:, :, None])[:, :, 0]
        odds = np.clip(odds + np.clip(step, -2.0, 2.0), -12.0, 12.0)
        if np.abs(step).max() < 1e-8:
            break
    return np.asarray(1 / (1 + np.exp(-odds))).reshape(problems, groups, bins)


def fit_bins(counts: Array, *, alone: bool) -> Array:
    """Distributions over bins per cell, from how often each bin is right.

    P(bin | state) is P(bin)·P(state | bin), up to its sum. The shares right per bin are smooth
    curves; where the last tier shows, so are the shares where it is right (`last_tier_shares`).

    Args:
        counts: rows by (fold, 2·s_i + s_N, bin), shape (folds, 4, bins).
        alone: look at s_i only.

    Returns:
        shape (2, bins) or (4, bins).
    """
    bins = counts.shape[-1]
    pairs = counts.reshape(len(counts), 2, 2, bins)
    own, rows = pairs.sum(axis=2), counts.sum(axis=(0, 1))
    right = smooth_shares(own[:, 1], own.sum(axis=1))
    weight = (rows + 1 / bins) * np.stack([1 - right, right])
    last = None if alone else last_tier_shares(pairs)
    if last is not None:
        weight = (weight[:, None] * np.stack([1 - last, last], axis=1)).reshape(4, bins)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def last_tier_shares(pairs: Array) -> Array | None:
    """How often the last tier is right, among wrong and among right answers of each bin.

    One curve for both, at two levels, because a curve of its own for each is learned from too few
    rows: it turns the order of the bins round, and with it decisions. The curve is drawn to a
    constant (a random walk from bin to bin), and is one unless held-out rows are likelier by
    `LAST_MARGIN`.

    Args:
        pairs: rows by (fold, s_i, s_N, bin), shape (folds, 2, 2, bins).

    Returns:
        shape (2, bins); None where the bins tell no more of the last tier than s_i does.
    """
    hits, rows = pairs[:, :, 1], pairs.sum(axis=2)
    curve = _likeliest(hits, rows, _WALKS, LAST_MARGIN)
    if curve is _CONSTANT:
        return None
    return np.asarray(_penalised(hits.sum(axis=0)[None], rows.sum(axis=0)[None], curve)[0])


def quantile_cuts(values: Floats) -> tuple[float, ...]:
    """Edges that cut values into bins of 8 rows or more (2 to 20 bins); equal values share a bin."""
    bins = min(max(len(values) // 8, 2), _MOST_BINS)
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins, method="higher"))
    return tuple(map(float, edges[edges > values.min()]))


# ------------------------------------------------------------------ which cells


def last_tier_shows(counts: Array) -> bool:
    """Whether votes are likelier, on held-out folds, when the last tier's rightness is taken into account.

    Args:
        counts: rows by (fold, 2·s_i + s_N, correct, parsed), shape (folds, 4, T + 1, T + 1).
    """
    train = counts.sum(axis=0) - counts
    own = train.reshape(len(train), 2, 2, *train.shape[2:]).sum(axis=2)
    drawn = np.stack([_drawn_to_own(fold) for fold in train])
    two, four = (_log_likelihoods(cells) for cells in (own, drawn))
    return bool((counts * (four - np.repeat(two, 2, axis=1))).sum() > 0)


def _log_likelihoods(counts: Array) -> Array:
    """Log ℓ(c, t) under the shapes fitted to each fold and cell; the shape of `counts`."""
    most = counts.shape[-1] - 1
    return votes_log_likelihood(fit_shapes(counts.reshape(-1, most + 1, most + 1)), most).reshape(
        counts.shape
    )


def _fold_of(rows: int) -> Ints:
    """Folds of the test, the same for the same number of rows: shuffled, because files are often sorted."""
    return np.random.default_rng(rows).permutation(rows) % FOLDS


def _drawn_to_own(counts: Array) -> Array:
    """Counts of four cells, each with pseudo-rows from its s_i; shape (4, …)."""
    pairs = counts.reshape(2, 2, *counts.shape[1:])
    own = pairs.sum(axis=1)
    rows = own.reshape(2, -1).sum(axis=1).reshape(2, *(1,) * (own.ndim - 1))
    drawn = pairs + PSEUDO_ROWS * (own / np.maximum(rows, 1e-300))[:, None]
    return np.asarray(drawn.reshape(counts.shape))


# ------------------------------------------------------------------ one tier


def fit_votes(correct: Ints, parsed: Ints, bought: Ints, right: Ints, last: Ints | None) -> VoteObservations:
    """A tier's votes from rows with all their recorded votes counted.

    Args:
        correct: votes per row that say CORRECT, shape (n,).
        parsed: votes that say something.
        bought: all votes.
        right: 1 where the tier is right, shape (n,).
        last: the same of the last tier, or None for the last tier itself.
    """
    most = int(parsed.max(initial=0))
    lost = int(bought.sum() - parsed.sum())
    unparsed = (lost + 0.5) / (int(bought.sum()) + 1) if lost else 0.0
    codes = (most + 1) ** 2
    counts = _cell_counts(correct * (most + 1) + parsed, codes, right, last).reshape(
        FOLDS, 4, most + 1, most + 1
    )
    total = counts.sum(axis=0)
    if last is not None and last_tier_shows(counts):
        cells = _drawn_to_own(total)
    else:
        cells = total.reshape(2, 2, most + 1, most + 1).sum(axis=1)
    shapes = fit_shapes(cells)
    return VoteObservations(shapes=tuple((float(a), float(b)) for a, b in shapes), unparsed=unparsed)


def _cell_counts(code: Ints, codes: int, right: Ints, last: Ints | None) -> Array:
    """Rows by (fold, 2·s_i + s_N, code); without `last`, s_N is s_i."""
    cell = 2 * right + (right if last is None else last)
    places = (_fold_of(len(code)) * 4 + cell) * codes + code
    return np.bincount(places, minlength=FOLDS * 4 * codes).reshape(FOLDS, 4, codes).astype(float)


def _fit_table(code: Ints, bins: int, right: Ints, last: Ints | None) -> tuple[tuple[float, ...], ...]:
    """Distributions over bins, per cell."""
    counts = _cell_counts(code, bins, right, last)
    return tuple(_probabilities(cell) for cell in fit_bins(counts, alone=last is None))


def fit_consistency(count: Ints, k: int, right: Ints, last: Ints | None) -> ConsistencyObservations:
    """The plurality's count among k samples, per row (1..k)."""
    return ConsistencyObservations(probabilities=_fit_table(np.clip(count, 1, k) - 1, k, right, last))


def fit_confidence(
    values: Floats, right: Ints, last: Ints | None, *, with_answer: bool
) -> ConfidenceObservations:
    """A continuous confidence, NaN where it is missing."""
    known = ~np.isnan(values)
    cuts = quantile_cuts(values[known])
    code = np.searchsorted(cuts, values[known], side="right")
    table = _fit_table(code, len(cuts) + 1, right[known], None if last is None else last[known])
    missing: tuple[float, ...] = ()
    if not known.all():
        cell = right if len(table) == 2 or last is None else 2 * right + last
        gone = np.bincount(cell[~known], minlength=len(table))
        missing = tuple(map(float, (gone + 0.5) / (np.bincount(cell, minlength=len(table)) + 1)))
    return ConfidenceObservations(cuts=cuts, probabilities=table, missing=missing, with_answer=with_answer)


def fit_cost(dollars: Floats, tokens: Floats) -> Cost:
    """Dollars of a call as a + b·(prompt tokens), by least squares where the prompt's length shows.

    Where it does not (no counts, or a slope within two standard errors of 0), the mean.

    Example:
        >>> fit_cost(np.array([1.0, 3.0]), np.array([np.nan, np.nan]))
        Cost(fixed=2.0, per_token=0.0)
    """
    known = ~np.isnan(dollars)
    y = dollars[known]
    if not len(y):
        return FREE
    flat = Cost(float(y.mean()))
    x = tokens[known]
    if len(y) < 10 or np.isnan(x).any() or float(x.std()) < 1e-9:
        return flat
    spread = x - x.mean()
    slope = float(spread @ y / (spread @ spread))
    left = y - y.mean() - slope * spread
    error = math.sqrt(float(left @ left) / (len(y) - 2) / float(spread @ spread))
    if slope <= 2 * error:
        return flat
    fixed = float(y.mean() - slope * x.mean())
    return Cost(fixed, slope) if fixed >= 0 else Cost(0.0, float(y.mean() / x.mean()))


# ------------------------------------------------------------------ all of it


def fit(table: TraceTable, settings: Settings) -> Fitted:
    """Learn the model from recorded rows that score every tier.

    Args:
        table: the rows, with their query-side classes; also none, or one.
        settings: what the profile decides.

    Raises:
        DataError: when a cost that a plan needs is not recorded on any row.
    """
    right = (table.score >= settings.pass_score).astype(np.intp)
    states = right @ (1 << np.arange(len(table.tiers)))
    size, cells = 2 ** len(table.tiers), table.n_cells
    own = states if table.cells is None else table.cells * size + states
    counts = np.bincount(own, minlength=cells * size).reshape(cells, size).astype(float)
    alpha = choose_alpha(counts.sum(axis=0))
    tokens = table.prompt_tokens
    return Fitted(
        tiers=tuple(_fit_tier(table, j, right, tokens, settings) for j in range(len(table.tiers))),
        counts=tuple(tuple(map(int, row)) for row in counts),
        alpha=alpha,
        kappa=choose_kappa(counts, alpha) if cells > 1 else 0.0,
        mean_tokens=float(np.nanmean(tokens)) if (~np.isnan(tokens)).any() else 0.0,
    )


def _fit_tier(
    table: TraceTable, j: int, right: NDArray[np.intp], tokens: Floats, settings: Settings
) -> FittedTier:
    score, own = table.score[:, j], right[:, j].astype(bool)
    looked_at = j < len(table.tiers) - 1 or settings.last_tier or settings.abstain_value is not None
    observation, max_votes, note = _fit_signal(table, j, right, settings) if looked_at else (UNSEEN, 0, "")
    latency = table.latency[:, j]
    seconds = float(np.nanmean(latency)) if (~np.isnan(latency)).any() else 0.0
    return FittedTier(
        name=table.tiers[j],
        right=Scores(float(score[own].sum()), int(own.sum())),
        wrong=Scores(float(score[~own].sum()), int((~own).sum())),
        observation=observation,
        max_votes=max_votes,
        answer=_needed(
            table.cost[:, j], tokens, f"an answer of tier {table.tiers[j]!r}", f"--costs {table.tiers[j]}=1"
        ),
        vote=_vote_cost(table, j, tokens) if max_votes else FREE,
        round=fit_cost(table.round_cost[:, j], tokens) if max_votes else FREE,
        answer_s=seconds,
        round_s=seconds if max_votes else 0.0,
        note=note,
    )


def _vote_cost(table: TraceTable, j: int, tokens: Floats) -> Cost:
    name = table.tiers[j]
    return _needed(table.vote_cost[:, j], tokens, f"a vote of tier {name!r}", f"--vote-costs {name}=1")


def _needed(dollars: Floats, tokens: Floats, what: str, hint: str) -> Cost:
    if len(dollars) and np.isnan(dollars).all():
        raise DataError(f"no row records what {what} costs", hint=hint)
    return fit_cost(dollars, tokens)


def _fit_signal(
    table: TraceTable, j: int, right: NDArray[np.intp], settings: Settings
) -> tuple[ObservationModel, int, str]:
    """A tier's observation model, how many votes may be planned, and what went wrong."""
    own = right[:, j]
    last = right[:, -1] if j < len(table.tiers) - 1 else None
    signal, usable = table.signals[j], _usable(table, j)
    seen = [int((own[usable] == s).sum()) for s in (0, 1)]
    if not usable.any():
        return UNSEEN, 0, f"no {_WORDS[signal]} recorded" if len(table) else ""
    if min(seen) < LEAST_ROWS:
        kind = "wrong" if seen[0] < LEAST_ROWS else "right"
        few = f"only {min(seen)} {kind} answers, {LEAST_ROWS} needed"
        return UNSEEN, 0, f"{_WORDS[signal]} not used: {few}"
    if signal == "votes":
        return _fit_bag(table, j, own, last, settings)
    if signal == "consistency":
        k = int(np.median(table.sampled[:, j]))
        agreeing = np.rint(table.confidence[:, j] * k).astype(np.intp)
        return fit_consistency(agreeing, k, own, last), 0, ""
    with_answer = signal == "logprob"
    model = fit_confidence(table.confidence[:, j], own, last, with_answer=with_answer)
    return model, 0 if with_answer else min(settings.max_votes, 1), ""


_WORDS = {"votes": "votes", "consistency": "samples", "logprob": "confidence", "verdict": "confidence"}


def _usable(table: TraceTable, j: int) -> NDArray[np.bool_]:
    """Rows on which a tier's signal shows something."""
    if table.signals[j] == "votes":
        return np.asarray(table.votes[:, j, :2].sum(axis=1) > 0)
    return np.asarray(~np.isnan(table.confidence[:, j]))


def _fit_bag(
    table: TraceTable, j: int, own: Ints, last: Ints | None, settings: Settings
) -> tuple[ObservationModel, int, str]:
    votes = table.votes[:, j].astype(np.intp)
    parsed, bought = votes[:, :2].sum(axis=1), votes.sum(axis=1)
    model = fit_votes(votes[:, 0], parsed, bought, own, last)
    most = min(settings.max_votes, table.max_votes[j])
    fewer = f"at most {most} votes are planned: some row holds no more" if most < settings.max_votes else ""
    return model, most, fewer
