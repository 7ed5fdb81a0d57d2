"""Bootstrap intervals: the same resamples of the questions for every policy.

Policies are compared on the same held-out rows, so a resample draws questions once and every
policy is averaged over the same draw. The interval of a difference is then that of paired values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from automix_cli.data.traces import TraceTable
from automix_cli.evaluation.curves import LEVEL, Measure
from automix_cli.pomdp.arrays import Bools, Floats, Ints
from automix_cli.texts import DUST, TOO_FEW_LABELS

POISSON_GROUPS = 20_000
NORMAL = 1.96  # standard deviations in a normal 95 % interval
_BLOCK = 256  # draws, and rows, of one product: its weights stay in a processor's cache


class Resamples(Struct, frozen=True, eq=False):
    """The same resamples of n rows for every policy, so that their differences are paired.

    Questions are drawn, each with all of its rows: `counts[d, i]` is how often the question of
    row i is in draw d, and a mean is a ratio of sums. Up to 20,000 questions these are exact
    bootstrap resamples (multinomial counts); above, 200 draws of independent Poisson(1)
    weights, which come to the same for many questions.

    Attributes:
        draw_counts: draws×m, how often each of the rows that were drawn is in a draw.
        groups: n, the question of each row.
        places: n, where these rows are among those that were drawn; None for all of them.
    """

    draw_counts: NDArray[np.uint8]
    groups: Ints
    places: Ints | None = None

    @classmethod
    def of(cls, groups: Ints, seed: int, draws: int = 1000) -> Resamples:
        """Draw resamples.

        Args:
            groups: the question of each row, 0..G-1; its number decides its weights, so all
                policies must keep these numbers, and the order of the rows.
            seed: of the draws.
            draws: how many.

        Raises:
            ValueError: without rows there is nothing to resample.
        """
        if not len(groups):
            raise ValueError("no rows to resample")
        rng, questions = np.random.default_rng(seed), int(groups.max()) + 1
        if questions > POISSON_GROUPS:
            blocks = _poisson(rng, min(draws, 200), questions)
        else:
            blocks = _multinomial(rng, draws, questions)
        if (np.bincount(groups) == 1).all():  # no copies: rows find their question
            return cls(np.concatenate(list(blocks)), groups, groups)
        return cls(np.concatenate([block[:, groups] for block in blocks]), groups)

    @classmethod
    def of_table(cls, table: TraceTable, seed: int, draws: int = 1000) -> Resamples:
        """Draw resamples of a table's questions; the order of its rows changes no weight."""
        return cls.of(table.groups, seed, draws)

    @property
    def questions(self) -> int:
        """How many questions these rows are of."""
        return int(np.count_nonzero(np.bincount(self.groups)))

    @property
    def counts(self) -> NDArray[np.uint8]:
        """How often each row is in each draw, draws×n; a draw without any of them has each once."""
        if self.places is None:
            return self.draw_counts
        counts = self.draw_counts.take(self.places, axis=1)
        counts[~counts.any(axis=1)] = 1
        return counts

    def means(self, columns: ArrayLike) -> Floats:
        """Mean of each column in each draw: n×K (or n) to draws×K (or draws).

        One matrix product for all columns, in blocks, so that a policy's every setting can
        be passed at once.
        """
        values = np.asarray(columns, dtype=float)
        own = np.column_stack([values, np.ones(len(values))])  # the last sum is that of the weights
        summands = own
        if self.places is not None:
            summands = np.zeros((self.draw_counts.shape[1], own.shape[1]))
            summands[self.places] = own
        sums = _sums(self.draw_counts, summands)
        sums[sums[:, -1] == 0] = own.sum(axis=0)
        means: Floats = sums[:, :-1] / sums[:, -1:]
        return means if values.ndim > 1 else means[:, 0]

    def on_rows(self, rows: Ints | Bools) -> Resamples | None:
        """The same resamples seen by some of the rows, each once; None for fewer than two questions.

        A draw that contains none of these rows would have no mean. It is replaced by one that
        contains each of them once, which is rare unless the rows are few.
        """
        groups = self.groups[rows]
        if len(groups) == len(self.groups) and np.array_equal(groups, self.groups):
            return self
        if not (groups != groups[:1]).any():
            return None
        places = np.arange(len(self.groups))[rows] if self.places is None else self.places[rows]
        part = Resamples(self.draw_counts, groups, places)
        # Of most rows a sum passes over the others; few are taken out, so that sums are short.
        return part if 2 * len(places) > self.draw_counts.shape[1] else Resamples(part.counts, groups)


def split_resamples(test_rows: Sequence[Ints], table: TraceTable, seed: int) -> list[Resamples | None]:
    """Resamples for the held-out rows of each split.

    Held-out rows of repeated splits overlap. Questions of the whole table are therefore drawn
    once for all splits, so that a figure averaged over the splits within a draw has an interval
    that counts each question once.

    Args:
        test_rows: per split, the places of its held-out rows in the table.
        table: all rows.
        seed: of the draws.
    """
    if len(test_rows) == 1:
        only = table.grouping.subset(test_rows[0])
        return [Resamples.of(only.groups, seed) if len(only) > 1 else None]
    whole = Resamples.of_table(table, seed)
    return [whole.on_rows(own) for own in test_rows]


def _sums(counts: NDArray[np.uint8], summands: Floats) -> Floats:
    """The product of draws×n counts and n×K summands."""
    draws, rows = counts.shape
    sums = np.zeros((draws, summands.shape[1]))
    for start in range(0, rows, _BLOCK):
        own = summands[start : start + _BLOCK]
        for d in range(0, draws, _BLOCK):
            sums[d : d + _BLOCK] += counts[d : d + _BLOCK, start : start + _BLOCK].astype(float) @ own
    return sums


def _multinomial(rng: np.random.Generator, draws: int, groups: int) -> Iterator[NDArray[np.uint8]]:
    for _ in range(draws):
        yield np.bincount(rng.integers(groups, size=groups), minlength=groups).astype(np.uint8)[None]


def _poisson(rng: np.random.Generator, draws: int, groups: int) -> Iterator[NDArray[np.uint8]]:
    for _ in range(draws):
        yield rng.poisson(1.0, size=(1, groups)).astype(np.uint8)


class Interval(NamedTuple):
    """Bounds of a percentile interval."""

    low: float
    high: float


def interval(draws: ArrayLike, level: float = LEVEL) -> Interval:
    """The percentile interval of bootstrap draws, between draws by their distance, as `np.quantile` has it.

    Example:
        >>> interval(np.arange(101)[::-1], 0.5)
        Interval(low=25.0, high=75.0)
    """
    rising, tail = np.sort(np.asarray(draws, dtype=float)), (1 - level) / 2
    if math.isnan(rising[-1]):  # sorted last
        return Interval(math.nan, math.nan)
    return Interval(_quantile(rising, tail), _quantile(rising, 1 - tail))


def _quantile(rising: Floats, share: float) -> float:
    place = share * (len(rising) - 1)
    below = int(place)
    low, high = float(rising[below]), float(rising[min(below + 1, len(rising) - 1)])
    return low + (high - low) * (place - below)


# ---------------------------------------------------------------- figures with draws


class BootstrapFigure(NamedTuple):
    """A figure, and the same in every resample (NaN where it is undefined there).

    Attributes:
        value: None where it is undefined; `reason` then says why.
        draws: its value in every resample.
        is_corrected: whether the value is corrected for the bias of the draws.
        questions: of a mean score, how many it is of; 0 of what has no exact interval.
    """

    value: float | None
    reason: str
    draws: Floats
    is_corrected: bool = False
    questions: int = 0

    @classmethod
    def bias_corrected(cls, value: float, draws: Floats) -> BootstrapFigure:
        """A figure corrected for the bias that its draws show; its interval is normal around it."""
        present = draws[~np.isnan(draws)]
        bias = float(present.mean()) - value if len(present) else 0.0
        return cls(value - bias, "", draws, is_corrected=True)

    @classmethod
    def without_value(cls, reason: str) -> BootstrapFigure:
        """A figure without a value."""
        return cls(None, reason, np.empty(0))

    @classmethod
    def of(cls, measure: Measure, draws: Floats) -> BootstrapFigure:
        """A measure, and the same measure in every resample."""
        return cls(measure.value, measure.reason, draws)

    def points_above(self, other: BootstrapFigure) -> BootstrapFigure:
        """The difference of two shares in points, draw by draw."""
        reason = self.reason or other.reason
        if self.value is None or other.value is None or TOO_FEW_LABELS in (self.reason, other.reason):
            return BootstrapFigure.without_value(reason)
        return BootstrapFigure(100 * (self.value - other.value), "", 100 * (self.draws - other.draws))

    def measure(self) -> Measure:
        """The value with its interval: by percentiles, or a normal one around a figure that is corrected.

        Resamples in which the figure is undefined are left out of the interval. Where they are
        more than one in twenty there is no interval: it would be that of a chosen part only.
        """
        if self.value is None or not len(self.draws):
            return Measure(self.value, self.reason or "too few rows for an interval")
        values = self.draws[~np.isnan(self.draws)]
        if len(values) < 0.95 * len(self.draws):
            missing = len(self.draws) - len(values)
            return Measure(self.value, f"undefined in {missing} of {len(self.draws)} resamples")
        if self.is_corrected:
            width = NORMAL * float(values.std())
            return Measure(self.value, "", self.value - width, self.value + width)
        own = Measure(self.value, "", *interval(values))
        return exact_where_alike(own, self.questions) if self.questions else own


def mean_figure(figures: Sequence[BootstrapFigure]) -> BootstrapFigure:
    """The mean over splits, draw by draw; undefined where it is undefined in any split.

    Without draws in some split (too few rows there) the mean has none, and so no interval.
    """
    no_value = [f for f in figures if f.value is None]
    if no_value:
        where = f" (in {len(no_value)} of {len(figures)} splits)" if len(figures) > 1 else ""
        return BootstrapFigure.without_value(no_value[0].reason + where)
    value = float(np.mean([f.value for f in figures]))
    without_draws = [f for f in figures if not len(f.draws)]
    draws = np.empty(0) if without_draws else np.mean([f.draws for f in figures], axis=0)
    reason = without_draws[0].reason if without_draws else ""
    fewest = min(f.questions for f in figures)
    return BootstrapFigure(value, reason, draws, figures[0].is_corrected, fewest)


def quality_gains(
    qualities: Mapping[str, BootstrapFigure], tiers: Sequence[str], questions: int
) -> dict[tuple[str, str], Measure]:
    """Quality points of each policy above each tier alone, by (policy, tier), with paired intervals.

    Args:
        qualities: mean scores by the policy's name, those of the tiers (`always:NAME`) among them.
        tiers: their names.
        questions: how many were measured.
    """
    gains = dict[tuple[str, str], Measure]()
    for name, own in qualities.items():
        for tier in tiers:
            other = f"always:{tier}"
            points = own.points_above(qualities[other]).measure()
            gains[name, tier] = points if name == other else _gain_of(points, questions)
    return gains


def _gain_of(points: Measure, questions: int) -> Measure:
    """Give two policies that came out alike on every question the exact interval of Clopper and Pearson.

    No resample shows a difference then, which says little of questions that were not seen.
    """
    if not points.value == points.low == points.high == 0:
        return points
    most = 100 * _most_otherwise(questions)
    return points._replace(low=-most, high=most)


def exact_where_alike(score: Measure, questions: int) -> Measure:
    """Give a mean score that is the same in every resample the exact interval of Clopper and Pearson.

    All questions score alike then, which says little of those that were not seen. Of scores between 0 and 1
    it is Gaffke's, which is the same where they are 0 or 1 alone.

    Example:
        >>> [round(bound, 3) for bound in exact_where_alike(Measure(1.0, "", 1.0, 1.0), 50)[2:]]
        [0.929, 1.0]
    """
    if score.value is None or score.low is None or score.high is None or score.high - score.low > DUST:
        return score
    most = _most_otherwise(questions)
    return score._replace(low=score.value * (1 - most), high=score.value + (1 - score.value) * most)


def _most_otherwise(questions: int) -> float:
    """The largest share of questions that may come out otherwise, where none of so many did."""
    return float(1 - ((1 - LEVEL) / 2) ** (1 / questions))


class Average(NamedTuple):
    """A mean over rows, and the same in each resample of the rows."""

    value: float
    draws: Floats

    def figure(self) -> BootstrapFigure:
        """The mean as a figure."""
        return BootstrapFigure(self.value, "", self.draws)


def with_interval(value: float | Floats, draws: Floats, questions: int = 0) -> Measure:
    """Return a figure with the percentile interval of its draws, or an exact one; see `BootstrapFigure`."""
    return BootstrapFigure(float(value), "", draws, questions=questions).measure()


class ColumnMeans(NamedTuple):
    """Means of K columns over some rows, and in each of D resamples of the rows.

    Attributes:
        mean: K.
        draws: D×K; D is 0 where there are too few rows to resample.
    """

    mean: Floats
    draws: Floats

    @classmethod
    def of(cls, columns: Floats, resamples: Resamples | None) -> ColumnMeans:
        """Average n×K columns."""
        none = np.empty((0, columns.shape[1]))
        return cls(columns.mean(axis=0), none if resamples is None else resamples.means(columns))

    def beside(self, other: ColumnMeans) -> ColumnMeans:
        """These columns, then those of another of the same rows."""
        return ColumnMeans(np.hstack([self.mean, other.mean]), np.hstack([self.draws, other.draws]))

    def part(self, start: int, stop: int) -> ColumnMeans:
        """The columns from `start` up to `stop`."""
        return ColumnMeans(self.mean[start:stop], self.draws[:, start:stop])

    def column(self, place: int) -> Average:
        """One of the columns."""
        return Average(float(self.mean[place]), self.draws[:, place])
